"""SPICA_COMPAT is obeyed at the start of an interpreter, or the interpreter ends."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from environments import enable, make_environment, purelib_of

import spica
from spica.compat.startup import OFF, ON, STARTUP_LINE, is_on

WHO = "import starlette.requests; print(starlette.requests.__name__)"


@pytest.fixture
def run(enabled_python, tmp_path):
    def run(*arguments, python=enabled_python, **environment):
        return subprocess.run(
            [python, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | environment,
        )

    return run


@pytest.mark.parametrize("value", [*ON, "TRUE", " 1 "])
def test_values_that_turn_it_on(value, run):
    done = run("-c", WHO, SPICA_COMPAT=value)
    assert (done.stdout, done.stderr) == ("spica.requests\n", "")


@pytest.mark.parametrize("value", [*OFF, "FALSE", "Off", " "])
def test_values_that_leave_it_off(value, run):
    done = run("-c", WHO, SPICA_COMPAT=value)
    assert (done.stdout, done.stderr) == ("starlette.requests\n", "")


@pytest.mark.parametrize("value", ["maybe", "2", "tru", "-", "'"])
def test_another_value_ends_the_interpreter(value, run):
    done = run("-c", WHO, SPICA_COMPAT=value)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"spica.compat: SPICA_COMPAT is {value!r}. Set it to one of 1, true, yes, on to turn the switch on, "
        "or to one of 0, false, no, off to leave it off.\n"
    )


def test_a_long_value_is_shortened():
    with pytest.raises(ValueError, match=r"SPICA_COMPAT is 'x{79}\. Set"):
        is_on("x" * 1000)


@pytest.mark.parametrize("option", ["-I", "-E"])
@pytest.mark.parametrize("value", ["1", "maybe"])
def test_an_interpreter_that_ignores_the_environment_ignores_it(option, value, run):
    done = run(option, "-c", WHO, SPICA_COMPAT=value)
    assert (done.stdout, done.stderr) == ("starlette.requests\n", "")


@pytest.mark.parametrize("value", [None, "", "0", "off"])
def test_nothing_of_spica_is_loaded_where_it_is_off(value, run):
    code = "import sys; print([name for name in sys.modules if name.startswith('spica')])"
    environment = {} if value is None else {"SPICA_COMPAT": value}
    assert run("-c", code, **environment).stdout == "[]\n"


def test_it_works_only_where_it_was_enabled(run, tmp_path):
    python = make_environment(tmp_path / "other")
    assert run("-c", WHO, python=python, SPICA_COMPAT="1").stdout == "starlette.requests\n"


def broken_environment(directory, code):
    """An environment whose spica was replaced after the switch was enabled."""
    python = make_environment(directory)
    enable(python)
    purelib = purelib_of(directory)
    (purelib / "a_shared_packages.pth").unlink()
    for name, content in code.items():
        (purelib / name).parent.mkdir(parents=True, exist_ok=True)
        (purelib / name).write_text(content)
    return python


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ({}, "No module named 'spica'"),
        ({"spica/__init__.py": "import gone"}, "No module named 'gone'"),
        ({"spica/__init__.py": "def"}, "SyntaxError"),
        (
            {
                "spica/__init__.py": "",
                "spica/compat/__init__.py": "",
                "spica/compat/startup.py": "raise SystemExit(0)",
            },
            "SystemExit",
        ),
    ],
    ids=["removed", "an import fails", "a syntax error", "it exits"],
)
def test_a_spica_that_fails_to_import_ends_the_interpreter(code, text, run, tmp_path):
    python = broken_environment(tmp_path / "broken", code)
    done = run("-c", "print('still running')", python=python, SPICA_COMPAT="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert text in done.stderr
    assert "SPICA_COMPAT is set, but spica fails to import" in done.stderr
    assert run("-c", "print('off')", python=python, SPICA_COMPAT="0").stdout == "off\n"


def test_a_switch_that_comes_too_late_ends_the_interpreter(run, tmp_path):
    python = make_environment(tmp_path / "late")
    enable(python)
    # Start-up files are read in the order of their names.
    (purelib_of(tmp_path / "late") / "agent.pth").write_text("import starlette.requests")
    done = run("-c", "print('still running')", python=python, SPICA_COMPAT="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Starlette itself was already imported" in done.stderr


def test_an_unexpected_error_ends_the_interpreter_with_its_traceback(run, tmp_path):
    python = make_environment(tmp_path / "odd")
    enable(python)
    (purelib_of(tmp_path / "odd") / "b_breaks.pth").write_text(
        "import spica.compat.finder; del spica.compat.finder.Finder.__init__; "
        "spica.compat.switch.Finder = None"
    )
    done = run("-c", "print('still running')", python=python, SPICA_COMPAT="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" in done.stderr
    assert "the switch can't be turned on. Python stops here" in done.stderr


def test_the_line_is_one_that_python_executes():
    assert "\n" not in STARTUP_LINE
    assert STARTUP_LINE.startswith("import ")  # or `site` would take it for a directory
    assert STARTUP_LINE.isascii()


def test_the_package_installs_no_start_up_file():
    root = Path(spica.__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    assert "force-include" not in settings["tool"]["hatch"]["build"]["targets"].get("wheel", {})
    assert not list((root / "spica").rglob("*.pth"))
