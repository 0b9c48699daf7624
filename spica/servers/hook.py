"""The attributes by which an RSGI server recognizes an application.

The adapter is imported when a server asks for them, so that an application under ASGI never loads it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from spica.servers.rsgi import RSGI


class ServesRSGI:
    """Base of an ASGI application that can be passed to an RSGI server as it is."""

    __slots__ = ()

    @property
    def __rsgi__(self) -> Callable[[Any, Any], Awaitable[None]]:
        """The function that an RSGI server calls for each connection."""
        return _adapter_of(self).__rsgi__

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the application; an RSGI server calls it before ``loop`` runs."""
        _adapter_of(self).__rsgi_init__(loop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Shut the application down; an RSGI server calls it after ``loop`` has stopped."""
        _adapter_of(self).__rsgi_del__(loop)


def _adapter_of(app: Any) -> RSGI:
    """Return the one adapter of ``app``, which knows its lifespans."""
    adapter: RSGI | None = getattr(app, "_rsgi_adapter", None)
    if adapter is None:
        from spica.servers.rsgi import RSGI

        adapter = app._rsgi_adapter = RSGI(app)
    return adapter
