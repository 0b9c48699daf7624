"""Load on servers: what wrk prints, and what is promised. No server is started here."""

import pytest

from benchmarks.load import LOADS, broken_promises, ratio, read_rate

PLAIN, MIDDLEWARES = LOADS[0], LOADS[2]


def test_the_rate_is_read():
    assert read_rate("  100 requests in 1.00s\nRequests/sec:   9876.54\n") == 9876.54


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("unable to connect", id="nothing measured"),
        pytest.param("Non-2xx or 3xx responses: 7\nRequests/sec: 9.0\n", id="errors answered"),
        pytest.param(
            "Socket errors: connect 0, read 6\nRequests/sec: 9.0\n", id="connections lost"
        ),
    ],
)
def test_a_load_that_failed_is_an_error(output):
    with pytest.raises(RuntimeError, match="wrk did not measure what was meant"):
        read_rate(output)


def test_the_ratio_is_that_of_the_middle_round():
    assert ratio({"spica": [10, 30, 100], "bare": [20, 30, 50]}, "spica", "bare") == 1


@pytest.mark.parametrize(
    ("server", "load", "rates", "broken"),
    [
        ("uvicorn", MIDDLEWARES, {"spica": [100], "starlette": [10], "bare": [200]}, []),
        (
            "uvicorn",
            MIDDLEWARES,
            {"spica": [99], "starlette": [10], "bare": [200]},
            ["5 middlewares under uvicorn: 9.9 times Starlette, not 10"],
        ),
        ("granian", PLAIN, {"spica": [85], "starlette": [60], "bare": [100]}, []),
        (
            "granian",
            PLAIN,
            {"spica": [84], "starlette": [60], "bare": [100]},
            ["plain text under granian: 0.84 of bare ASGI, not 0.85"],
        ),
        ("uvicorn", PLAIN, {"spica": [1], "starlette": [60], "bare": [100]}, []),
    ],
)
def test_promises_are_held(server, load, rates, broken):
    assert broken_promises(server, load, rates) == broken
