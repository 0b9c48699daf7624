"""Fixtures every test may use."""

import pytest
from hypothesis import HealthCheck, settings
from services import (  # noqa: F401
    own_postgres_server,
    own_redis_server,
    postgres_server,
    postgres_url,
    redis_server,
    redis_url,
)
from stable_ids import ADDRESS

# Each run has the same examples and no time limit, so that neither chance nor a busy machine fails a test.
# `pytest --hypothesis-profile explore` and scripts/fuzz look for new examples.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("spica", settings.get_profile("explore"), derandomize=True)
settings.load_profile("spica")

# What they assert is then alive under `python -O` as well: see tests/test_asserts.py.
pytest.register_assert_rewrite("asgi_kit", "stacks")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run an async test once on each event loop that spica supports."""
    return str(request.param)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refuse a test id that differs between processes: ``pytest -n`` compares the ids of all workers."""
    if ADDRESS.search(item.nodeid):
        raise pytest.UsageError(
            f"{item.nodeid}: pass ids=stable_id, so that the id has no address."
        )
