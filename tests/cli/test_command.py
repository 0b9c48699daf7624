"""The options of ``spica run`` and ``spica dev``, and the mistakes in them."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spica.__main__ import main
from spica.cli import command
from spica.cli.dev import is_source
from spica.cli.options import ServeOptions


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeOptions]:
    """The options of what would be served."""
    options: list[ServeOptions] = []

    def serve(found: ServeOptions) -> int:
        options.append(found)
        return 0

    monkeypatch.setattr(command, "_run", serve)
    return options


def test_the_defaults_are_for_production(served: list[ServeOptions]) -> None:
    assert main(["run", "main:app", "--app-dir", "/"]) == 0
    assert served == [ServeOptions("main:app", app_dir="/")]
    assert served[0].graceful_seconds == 10  # drain + 2
    assert not served[0].is_dev


def test_all_options(served: list[ServeOptions]) -> None:
    words = "run --host ::1 --port 0 --workers 3 --server granian --log json --log-level error"
    words += " --no-access-log --drain 0.5 --factory --compat --trusted-proxy 10.0.0.1"
    assert main(words.split()) == 0
    options = served[0]
    assert (options.target, options.host, options.port) == (None, "::1", 0)
    assert (options.workers, options.server, options.drain_seconds) == (3, "granian", 0.5)
    assert (options.log, options.log_level, options.access_log) == ("json", "error", False)
    assert options.is_factory
    assert options.compat
    assert options.trusted_proxies == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("words", "expected"), [("", None), ("--access-log", True), ("--no-access-log", False)]
)
def test_the_access_log_depends_on_the_application_by_default(
    served: list[ServeOptions], words: str, expected: bool | None
) -> None:
    assert main(["run", "main:app", *words.split()]) == 0
    assert served[0].access_log is expected


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--port", "65536", "'65536' is not a number from 0 to 65535"),
        ("--port", "http", "'http' is not a number from 0 to 65535"),
        ("--workers", "0", "'0' is not a number from 1"),
        ("--drain", "-1", "'-1' is not a number of seconds"),
        ("--drain", "nan", "'nan' is not a number of seconds"),
        ("--drain", "inf", "'inf' is not a number of seconds"),
        ("--server", "hypercorn", "invalid choice: 'hypercorn'"),
    ],
)
def test_a_value_that_means_nothing(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", f"{option}={value}"])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "missing", "message"),
    [
        (["run"], "uvicorn", "needs uvicorn: pip install 'spica[standard]'"),
        (["run", "--server", "granian"], "granian", "needs granian: pip install 'spica[granian]'"),
        (["dev"], "watchfiles", "needs watchfiles: pip install 'spica[standard]'"),
    ],
)
def test_a_missing_package_names_its_extra(
    arguments: list[str],
    missing: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == missing else name)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"spica: This command {message}.\n"


@pytest.fixture
def log() -> Iterator[None]:
    """Restore the configuration of the log."""
    handlers, level = [*logging.root.handlers], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.usefixtures("log")
def test_a_wrong_target_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere:app", "--port", "0", "--app-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("spica: There is no module 'nowhere' in ")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("name", ["run", "dev"])
def test_a_port_in_use_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([name, "main:app", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"spica: Can't listen on 127.0.0.1, port {port}: the port is in use."
        " Stop the other program, or choose another with --port.\n"
    )


def test_a_directory_to_watch_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dev", "main:app", "--watch", "/nowhere"]) == 2
    assert capsys.readouterr().err == "spica: --watch '/nowhere' is not a directory.\n"


@pytest.mark.parametrize(
    ("path", "is_watched"),
    [
        ("/shop/main.py", True),
        ("/shop/templates/index.html", True),
        ("/shop/.env", True),
        ("/shop/.env.local", True),
        ("/shop/notes.sqlite3", False),
        ("/shop/main.pyc", False),
        ("/shop/.venv/lib/thing.py", False),
        ("/shop/node_modules/thing.html", False),
    ],
)
def test_the_files_that_cause_a_reload(path: str, is_watched: bool) -> None:
    assert is_source(path) is is_watched


def test_help_names_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("default: 127.0.0.1", "default: 8000", "default: uvicorn", "default: 8)"):
        assert words in text
