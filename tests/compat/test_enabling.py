"""``enable`` and ``disable`` write and remove the start-up file of one environment."""

import subprocess

import pytest
from environments import make_environment, purelib_of

from spica.compat import enabling
from spica.compat.startup import STARTUP_LINE


@pytest.fixture
def environment(tmp_path):
    directory = tmp_path / "environment"
    make_environment(directory)
    return directory


def run(environment, command):
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "spica.compat", command],
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def startup_file(environment):
    return purelib_of(environment) / "spica_compat.pth"


def test_it_is_enabled_and_disabled(environment):
    path = startup_file(environment)
    status, text = run(environment, "enable")
    assert (status, path.read_text()) == (0, STARTUP_LINE + "\n")
    assert text.startswith(f"Enabled: {path}\n")
    assert run(environment, "disable") == (0, f"Disabled: removed {path}\n")
    assert not path.exists()


def test_a_second_time_changes_nothing(environment):
    path = startup_file(environment)
    run(environment, "enable")
    before = path.stat()
    assert run(environment, "enable") == (0, f"Already enabled: {path}\n")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    run(environment, "disable")
    assert run(environment, "disable") == (0, f"Not enabled: there is no {path}\n")


def test_a_line_of_another_version_is_replaced(environment):
    path = startup_file(environment)
    path.write_text("import os\n")
    status, text = run(environment, "enable")
    assert (status, path.read_text()) == (0, STARTUP_LINE + "\n")
    assert text.startswith("Enabled: ")


def test_nothing_else_is_left_in_the_directory(environment):
    before = set(purelib_of(environment).iterdir())
    run(environment, "enable")
    assert set(purelib_of(environment).iterdir()) == before | {startup_file(environment)}


def test_spica_must_be_installed(environment, tmp_path):
    """On the path of this process alone, spica would not be found by the next one."""
    (purelib_of(environment) / "a_shared_packages.pth").unlink()
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "spica.compat", "enable"],
        capture_output=True,
        text=True,
        cwd=enabling.__file__.partition("/spica/")[0],
    )
    assert done.returncode == 1
    assert "a new interpreter of this environment does not find spica" in done.stderr
    assert not startup_file(environment).exists()


@pytest.mark.parametrize("command", [enabling.enable, enabling.disable])
def test_without_the_permission_the_message_has_the_fix(command, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "spica_compat.pth"
    monkeypatch.setattr(enabling, "_path", lambda: path)
    monkeypatch.setattr(enabling.site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(enabling.Path, "write_text", refuse)
    monkeypatch.setattr(enabling.Path, "unlink", refuse)
    monkeypatch.setattr(enabling, "_write", refuse)
    text = command()
    assert f"{path}: Permission denied. Run the command as the user who owns" in text
    assert "`python -m spica.compat MODULE ...` needs no start-up file" in text


def test_a_directory_that_python_does_not_look_into_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(enabling, "_path", lambda: tmp_path / "spica_compat.pth")
    assert "Python reads no start-up files in" in enabling.enable()
    assert not list(tmp_path.iterdir())


def test_a_file_outside_of_the_environment_is_named(monkeypatch, tmp_path):
    other = tmp_path / "user" / "spica_compat.pth"
    monkeypatch.setattr(enabling, "_path", lambda: tmp_path / "spica_compat.pth")
    monkeypatch.setattr(enabling, "find_startup_file", lambda: other)
    assert enabling.disable() == (
        f"spica.compat: still enabled by {other}, which is outside of this environment."
    )
