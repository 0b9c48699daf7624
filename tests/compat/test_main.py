"""``python -m spica.compat``: programs are run with the switch on, and so are those that they start."""

import os
import subprocess
import sys

import pytest

WHO = """
import sys
import starlette.requests
print(__name__, starlette.requests.__name__, sys.argv[1:])
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "who.py").write_text(WHO)

    def run(*arguments, **environment):
        environment = {**os.environ, "PYTHONPATH": "", **environment}
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={name: value for name, value in environment.items() if value},
        )

    return run


@pytest.mark.parametrize("program", ["who", "who.py"], ids=["module", "file"])
def test_a_program_runs_as_the_main_one(program, run):
    done = run("-m", "spica.compat", program, "a", "--b")
    assert done.stdout == "__main__ spica.requests ['a', '--b']\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_its_exit_status_is_passed_on(run, tmp_path):
    (tmp_path / "seven.py").write_text("raise SystemExit(7)")
    assert run("-m", "spica.compat", "seven").returncode == 7


def test_processes_that_it_starts_are_switched_too(run, tmp_path):
    (tmp_path / "parent.py").write_text(
        "import multiprocessing, subprocess, sys\n"
        "def child():\n"
        "    import starlette.requests\n"
        "    print('spawned', starlette.requests.__name__, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    subprocess.run([sys.executable, 'who.py'])\n"
    )
    for program in ("parent", "parent.py"):
        done = run("-m", "spica.compat", program)
        assert done.stdout == "spawned spica.requests\n__main__ spica.requests []\n", done.stderr


def test_a_module_that_is_not_there_is_said_so(run):
    done = run("-m", "spica.compat", "no_such_module")
    assert done.returncode == 1
    assert "there is no module 'no_such_module'" in done.stderr


def test_a_file_that_is_not_there_is_said_so(run):
    done = run("-m", "spica.compat", "no_such_file.py")
    assert done.returncode == 1
    assert done.stderr.startswith("spica.compat: there is no file 'no_such_file.py' in /")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["--help"], 0)])
def test_how_it_is_used(arguments, status, run):
    done = run("-m", "spica.compat", *arguments)
    assert done.returncode == status
    assert "python -m spica.compat MODULE" in done.stdout


@pytest.mark.parametrize(
    ("value", "module"),
    [("1", "spica"), ("yes", "spica"), ("0", "starlette"), ("", "starlette")],
)
def test_the_environment_turns_it_on(value, module, run):
    done = run("who.py", SPICA_COMPAT=value)
    assert done.stdout == f"__main__ {module}.requests []\n", done.stderr


def test_nothing_of_spica_is_loaded_where_the_variable_is_not_set(run):
    code = "import sys; print([name for name in sys.modules if name.startswith('spica')])"
    assert run("-c", code, SPICA_COMPAT="").stdout == "[]\n"


def test_the_start_up_file_is_one_line_that_python_executes():
    from spica.compat.startup import STARTUP_FILE, find_startup_file

    installed = find_startup_file()
    assert installed is not None
    assert installed.name == STARTUP_FILE
    lines = installed.read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("import ")  # or `site` would take it for a directory
