"""The pytest plugin of spica: the fixture ``spica_client``.

Write ``pytest_plugins = ["spica.pytest_plugin"]`` in the ``conftest.py`` at the root of your tests. There is
no entry point: pytest would import every module of spica through its own loader, also for users who do not
use the plugin, and `spica.compat` could not switch those modules. The plugin loads no other module of spica
until a test takes the fixture.
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
