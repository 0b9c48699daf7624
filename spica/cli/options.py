"""The settings of ``spica run`` and ``spica dev``, as a value that worker processes receive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_MESSAGE_SIZE = 1024 * 1024
"""The largest WebSocket message, in bytes. A larger one closes the connection with code 1009."""

LIFESPAN_STOP_SECONDS = 30.0
"""The time that the end of a lifespan has after the connections are closed, before the process is ended."""

CLOSE_SECONDS = 2.0
"""The time that connections have after the drain, so that the server does not cut the last answers."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The application to serve and the settings of the server.

    Args:
        target: "module:attribute", a module, a file, or None for the usual places.
        app_dir: The directory to import from; "" is the working directory.
        is_factory: Call the attribute to get the application.
        compat: Make the name ``starlette`` mean spica.
        host: A name or an address of this machine.
        port: The TCP port; 0 takes a free one.
        workers: The number of processes that serve.
        server: The name of the server package.
        log: The format of the log.
        log_level: The lowest level that is logged.
        access_log: Log a line for each request.
        drain_seconds: The time that open connections have to end by themselves when the server stops.
        trusted_proxies: Addresses whose X-Forwarded-For and X-Forwarded-Proto headers count.
        is_dev: Serve with debug pages, and print the routes and findings.
    """

    target: str | None
    app_dir: str = ""
    is_factory: bool = False
    compat: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    server: Literal["uvicorn", "granian"] = "uvicorn"
    log: Literal["text", "json"] = "text"
    log_level: str = "info"
    access_log: bool = True
    drain_seconds: float = 8.0
    trusted_proxies: tuple[str, ...] = ()
    is_dev: bool = False

    @property
    def graceful_seconds(self) -> float:
        """The time between the request to stop and the cancellation of open connections."""
        return 0.0 if self.is_dev else self.drain_seconds + CLOSE_SECONDS

    @property
    def stop_seconds(self) -> float:
        """The time between the request to stop and the forced end of the process."""
        return self.graceful_seconds + LIFESPAN_STOP_SECONDS
