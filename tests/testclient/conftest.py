"""Fixtures of the test client's own tests."""

from collections.abc import Callable
from typing import Any

import pytest

from spica.testclient import TestClient

ClientFactory = Callable[..., TestClient]


@pytest.fixture
def make_client(anyio_backend: str) -> ClientFactory:
    """Make clients whose applications run on the event loop of this test."""

    def make(app: Any, **options: Any) -> TestClient:
        return TestClient(app, backend=anyio_backend, **options)

    return make
