"""What the tests of the switch share."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from environments import enable, make_environment

from spica.compat import install

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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


@pytest.fixture
def run_example(run_python, tmp_path):
    """Run code in the block that ends ``start``, which uses an example, and return the list ``found``."""

    def run(start, code):
        lines = [f"    {line}" for line in code.strip().splitlines()]
        source = "\n".join([start, *lines, "print(json.dumps(found))"])
        path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])
        return json.loads(run_python(source, cwd=tmp_path, PYTHONPATH=path))

    return run
