"""What the tests of the switch share."""

import sys

import pytest

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
