"""Settings: where they are looked up, how they are read, and that they stay what they were."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spica import config as config_module
from spica.config import Config, Environ, EnvironError, environ
from spica.exceptions import SpicaConfigurationWarning

WriteFile = Callable[[str], Path]


@pytest.fixture
def env_file(tmp_path: Path) -> WriteFile:
    def write(text: str) -> Path:
        path = tmp_path / ".env"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_environment_comes_before_the_file_and_the_file_before_the_default(
    env_file: WriteFile,
) -> None:
    config = Config(env_file("A=file\nB=file"), environ={"A": "environ"})

    assert config("A", default="default") == "environ"
    assert config("B", default="default") == "file"
    assert config("C", default="default") == "default"


def test_get_is_the_same_as_a_call() -> None:
    config = Config(environ={"A": "1"})

    assert config.get("A", cast=int) == config("A", cast=int) == 1


def test_a_setting_that_is_nowhere_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="Config 'A' is missing, and has no default"):
        Config(environ={})("A")


def test_none_is_a_default() -> None:
    config = Config(environ={})

    assert config("A", default=None) is None
    assert config("A", cast=int, default=None) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("True", True), ("1", True), ("false", False), ("FALSE", False), ("0", False)],
)
def test_a_bool_is_read(text: str, value: bool) -> None:
    assert Config(environ={"A": text})("A", cast=bool) is value


def test_the_default_is_cast_as_well() -> None:
    config = Config(environ={})

    assert config("A", cast=int, default="5") == 5
    assert config("A", cast=bool, default="0") is False
    assert config("A", cast=bool, default=1) is True


@pytest.mark.parametrize(
    ("cast", "message"),
    [
        (bool, "Config 'A' is not a valid bool: it must be true, false, 1 or 0"),
        (int, "Config 'A' is not a valid int"),
        (float, "Config 'A' is not a valid float"),
    ],
)
def test_a_bad_value_is_a_value_error_that_does_not_show_it(cast: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Config(environ={"A": "secret"})("A", cast=cast)

    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_prefix_stands_before_keys_in_the_environment_and_in_the_file(
    env_file: WriteFile,
) -> None:
    config = Config(env_file("APP_B=2\nC=3"), environ={"APP_A": "1"}, env_prefix="APP_")

    assert (config("A"), config("B")) == ("1", "2")
    with pytest.raises(KeyError, match="Config 'APP_C' is missing"):
        config("C")


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("A=1", {"A": "1"}),
        ("  A  =  1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=b=c", {"A": "b=c"}),
        ("A=b # c", {"A": "b"}),
        ("A=b#c", {"A": "b#c"}),
        ("A=#c", {"A": "#c"}),
        ("A= #c", {"A": ""}),
        ("A=b\t# c # d", {"A": "b"}),
        ('A="b c"', {"A": "b c"}),
        ("A='b'", {"A": "b"}),
        ("""A="'b'" """, {"A": "'b'"}),
        ('A="b" # c', {"A": "b"}),
        ("A='b'#c", {"A": "b"}),
        ('A="b # c"', {"A": "b # c"}),
        ('A=b"c"', {"A": 'b"c"'}),
        (r'A="a\n\r\t\"\\b"', {"A": 'a\n\r\t"\\b'}),
        (r'A="\q\$"', {"A": r"\q\$"}),
        (r"A='a\nb\'\\'", {"A": "a\\nb'\\"}),
        (r"A=a\nb\"", {"A": 'a\\nb\\"'}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ("A='one\n#two\n' # c\nB=3", {"A": "one\n#two\n", "B": "3"}),
        ("A=1\r\nB='2\r\n3'\r\n", {"A": "1", "B": "2\n3"}),
        ("\ufeffA=1", {"A": "1"}),
        ("export\tA=1\nexport=2", {"A": "1", "export": "2"}),
        ("A=1\nB=${A}2", {"A": "1", "B": "12"}),
        ('A=1\nB="${A}\\n${HOME}"', {"A": "1", "B": "1\n/root"}),
        ("A=1\nB='${A}'", {"A": "1", "B": "${A}"}),
        ("A=${B:-c}", {"A": "c"}),
        ("B=\nA=${B:-c d}", {"B": "", "A": "c d"}),
        ("A=${B:-}", {"A": ""}),
        ("A=$B$$${}${B-c}${1}", {"A": "$B$$${}${B-c}${1}"}),
        ("A=é", {"A": "é"}),
        ("export A=1", {"A": "1"}),
        ("A=1\nA=2", {"A": "2"}),
        ("# A=1\n\n", {}),
    ],
)
def test_a_line_of_the_file_is_read(env_file: WriteFile, line: str, values: dict[str, str]) -> None:
    """Docker compose and python-dotenv agree on these, or the text stays as it is."""
    assert Config(env_file(line), environ={"HOME": "/root"}).file_values == values


def test_a_key_in_pem_format_survives(env_file: WriteFile) -> None:
    """Its value was its first line, with the quote."""
    key = "-----BEGIN PRIVATE KEY-----\nMIIE+/=\n-----END PRIVATE KEY-----\n"
    config = Config(env_file(f'KEY="{key}"\nB=1'), environ={})
    assert config.file_values == {"KEY": key, "B": "1"}


@pytest.mark.parametrize("value", ['"b', "'b", '"b\\"', '"b"c', "'a' 'b'"])
def test_a_quote_that_is_not_closed_stays_with_a_warning_that_does_not_show_the_value(
    env_file: WriteFile, value: str
) -> None:
    path = env_file(f'A="1\n2"\nSECRET={value}\nC=1\n')
    message = r"\.env:3: the value of 'SECRET' begins with a quote"
    with pytest.warns(SpicaConfigurationWarning, match=message) as seen:
        config = Config(path, environ={})
    assert config.file_values["SECRET"][0] == value[0]
    assert config.file_values["C"] == "1"
    assert value not in str(seen[0].message).replace("'SECRET'", "")


def test_a_variable_that_is_not_set_is_warned_of(env_file: WriteFile) -> None:
    path = env_file("\nA=x${NOWHERE}y")
    with pytest.warns(SpicaConfigurationWarning, match=r"\.env:2: \${NOWHERE} is not set") as seen:
        config = Config(path, environ={})
    assert config("A") == "xy"
    assert seen[0].filename == __file__


def test_variables_come_from_the_environment_first(env_file: WriteFile) -> None:
    config = Config(env_file("A=file\nB=${A}"), environ={"A": "environ"})
    assert config("B") == "environ"


def test_the_encoding_of_the_file_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=\xe9")

    assert Config(path, encoding="latin-1").file_values == {"A": "é"}


@pytest.mark.parametrize("line", ["A 1", "=1"])
def test_a_line_that_sets_nothing_is_warned_of_with_its_number(
    env_file: WriteFile, line: str
) -> None:
    path = env_file(f"B=1\n{line}\n")

    with pytest.warns(SpicaConfigurationWarning, match=r"\.env:2: the line is not KEY=value"):
        config = Config(path)

    assert config.file_values == {"B": "1"}


def test_a_missing_file_is_warned_of_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="Config file 'no-such-file' not found") as seen:
        config = Config("no-such-file", environ={"A": "1"})

    assert seen[0].filename == __file__
    assert config("A") == "1"


@pytest.mark.parametrize(
    "read",
    [
        lambda env: env["A"],
        lambda env: env.get("A"),
        lambda env: "A" in env,
        lambda env: Config(environ=env)("A"),
    ],
    ids=["item", "get", "in", "config"],
)
@pytest.mark.parametrize("verb", ["set", "delete"])
def test_a_key_that_was_read_cannot_be_changed(read: Callable[[Environ], Any], verb: str) -> None:
    env = Environ({"A": "1"})
    read(env)

    with pytest.raises(EnvironError) as raised:
        if verb == "set":
            env["A"] = "2"
        else:
            del env["A"]

    message = str(raised.value)
    assert f"Attempting to {verb} environ['A'], but the value has already been read" in message
    assert f"That was at {__file__}:" in message
    assert "call reload() on the Config" in message
    assert env["A"] == "1"


def test_a_key_that_was_looked_for_in_vain_cannot_be_set() -> None:
    env = Environ({})
    with pytest.raises(KeyError):
        env["A"]

    with pytest.raises(EnvironError):
        env["A"] = "1"


def test_a_key_that_was_not_read_can_be_changed() -> None:
    raw: dict[str, str] = {}
    env = Environ(raw)

    env["A"] = "1"
    env["B"] = "2"
    del env["A"]

    assert raw == {"B": "2"}


def test_going_through_the_keys_does_not_read_the_values() -> None:
    env = Environ({"A": "1"})

    assert list(env) == ["A"]
    assert len(env) == 1
    env["A"] = "2"


def test_after_a_reload_variables_and_file_are_read_anew(env_file: WriteFile) -> None:
    env = Environ({"A": "1"})
    config = Config(env_file("B=1"), environ=env)
    assert (config("A"), config("B")) == ("1", "1")

    config.reload()
    env["A"] = "2"
    env_file("B=2")
    config.reload()

    assert (config("A"), config("B")) == ("2", "2")


def test_a_reload_works_with_any_mapping() -> None:
    config = Config(environ={"A": "1"})

    config.reload()

    assert config("A") == "1"


def test_environ_is_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPICA_TEST_CONFIG", "1")

    assert Config()("SPICA_TEST_CONFIG") == "1"
    assert environ["SPICA_TEST_CONFIG"] == os.environ["SPICA_TEST_CONFIG"]
    environ.forget_reads()


def test_undefined_is_what_a_missing_default_is() -> None:
    with pytest.raises(KeyError):
        Config(environ={}).get("A", default=config_module.undefined)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("\ufeffKEY=value\nOTHER=1\n", "utf-8")
    config = Config(path, environ={})
    assert config.file_values == {"KEY": "value", "OTHER": "1"}


@pytest.mark.parametrize("cast", [list, tuple, set, frozenset])
def test_a_cast_that_splits_a_string_into_letters_warns(cast: Any) -> None:
    config = Config(environ={"HOSTS": "a.org,b.org"})
    with pytest.warns(
        SpicaConfigurationWarning, match="Write cast=CommaSeparatedStrings"
    ) as caught:
        config("HOSTS", cast=cast)
    assert caught[0].filename == __file__
    assert config("OTHERS", cast=cast, default=["a"]) == cast(["a"])  # a default of yours is none
