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

    def run(*arguments, python=sys.executable, **environment):
        environment = {**os.environ, "PYTHONPATH": "", **environment}
        return subprocess.run(
            [python, *arguments],
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


def test_the_hidden_sitecustomize_runs_too(run, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text("print('hidden', __name__)")
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys; subprocess.run([sys.executable, 'who.py'])"
    )
    done = run("-m", "spica.compat", "parent.py", PYTHONPATH=str(tmp_path / "hidden"))
    assert done.stdout.split("\n") == [
        "hidden sitecustomize",  # of the parent
        "hidden sitecustomize",
        "__main__ spica.requests []",
        "",
    ]


def test_processes_are_switched_once_where_it_is_enabled(run, tmp_path, enabled_python):
    (tmp_path / "parent.py").write_text(
        "import os, subprocess, sys\n"
        "print(os.environ.get('PYTHONPATH'), flush=True)\n"
        "subprocess.run([sys.executable, 'who.py'])"
    )
    done = run("-m", "spica.compat", "parent.py", python=enabled_python)
    assert done.stdout == "None\n__main__ spica.requests []\n"


def test_a_process_that_ignores_the_environment_is_warned_of(run):
    done = run("-I", "-m", "spica.compat", "platform")
    assert done.returncode == 0
    assert "Python was started with -I or -E" in done.stderr


@pytest.mark.parametrize("command", ["doctor", "enable", "disable"])
def test_commands_take_no_arguments(command, run):
    done = run("-m", "spica.compat", command, "--now")
    assert (done.returncode, done.stderr) == (2, f"spica.compat: {command} takes no arguments.\n")
