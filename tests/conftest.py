"""Fixtures every test may use."""

import pytest

# What they assert is then alive under `python -O` as well: see tests/test_asserts.py.
pytest.register_assert_rewrite("asgi_kit", "stacks")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run an async test once on each event loop that spica supports."""
    return str(request.param)
