"""Names of ``starlette.testclient`` that other packages import, though they are private there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spica.testclient.interface import as_asgi3

__all__ = ["RequestData", "is_asgi3"]

RequestData = Mapping[str, Any]
"""The type of form fields of a request."""


def is_asgi3(app: Any) -> bool:
    """Return whether ``app`` is an application of the form ``(scope, receive, send)``."""
    return as_asgi3(app) is app
