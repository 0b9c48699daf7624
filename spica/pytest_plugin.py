"""The pytest plugin of spica: the fixture ``spica_client``. pytest loads it by its entry point.

It is outside of `spica.testclient` because pytest imports it in every test run of an environment with
spica, so it must not load the rest of spica.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from spica.testclient import AsyncTestClient


@pytest.fixture
def spica_client_options() -> dict[str, Any]:
    """Return the options of `spica_client`. Override this fixture to change them."""
    return {}


@pytest.fixture
async def spica_client(
    app: Any, anyio_backend: Any, spica_client_options: dict[str, Any]
) -> AsyncIterator["AsyncTestClient"]:
    """Run the application of your fixture ``app``, and return a client for it.

    The plugin of AnyIO runs the fixture and the test on the event loop of ``anyio_backend``.
    """
    from spica.testclient import AsyncTestClient

    async with AsyncTestClient(app, **spica_client_options) as client:
        yield client
