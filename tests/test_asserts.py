"""The tests say something also where Python leaves out asserts (``python -O``), as .ci/run runs them once."""

import subprocess
import sys

import pytest
from asgi_kit import Exchange

START = {"type": "http.response.start", "status": 200}


def test_an_assert_of_a_test_is_alive():
    """pytest writes the asserts of tests anew, as statements that ``-O`` does not leave out."""
    with pytest.raises(AssertionError):
        assert not START


@pytest.mark.anyio
async def test_an_assert_of_the_kit_is_alive():
    exchange = Exchange()
    await exchange.send(START)
    with pytest.raises(AssertionError, match="a second response start"):
        await exchange.send(START)


def test_a_process_of_a_test_leaves_them_out_as_well():
    program = "import sys; print(sys.flags.optimize)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(result.stdout) == sys.flags.optimize
