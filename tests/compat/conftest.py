"""What the tests of the switch share."""

import os
import subprocess
import sys
import textwrap

import pytest
from environments import enable, make_environment

from spica.compat import install


def is_starlette(name):
    return name.partition(".")[0] == "starlette"


@pytest.fixture
def unswitched():
    """No Starlette has been imported; what was is put back afterwards."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if is_starlette(name)}
    yield
    for name in list(sys.modules):
        if is_starlette(name):
            del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def switched(unswitched):
    """Starlette's name means spica."""
    with install():
        yield


@pytest.fixture(scope="session")
def enabled_python(tmp_path_factory):
    """The interpreter of an environment where SPICA_COMPAT=1 works."""
    python = make_environment(tmp_path_factory.mktemp("enabled"))
    enable(python)
    return python


@pytest.fixture
def run_python():
    """Run code in a Python of its own, and return what it prints."""

    def run(code, *, cwd=None, **environment):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=os.environ | environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
