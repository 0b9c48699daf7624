"""The settings of ``spica run`` and ``spica dev``, as a value for the workers, and the socket."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Literal

MAX_MESSAGE_SIZE = 1024 * 1024
"""The largest WebSocket message, in bytes. A larger one closes the connection with code 1009."""

LIFESPAN_STOP_SECONDS = 30.0
"""The time that the end of a lifespan has after the connections are closed, before the process is ended."""

DRAIN_SECONDS = 8.0
"""The drain of an application that sets none: see ``spica.shutdown``."""

CLOSE_SECONDS = 2.0
"""The time that connections have after the drain, so that the server does not cut the last answers."""

_REASONS = {
    errno.EADDRINUSE: "the port is in use. Stop the other program, or choose another with --port",
    errno.EACCES: "this user may not use the port. Choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "this machine does not have the address. Choose another with --host",
}


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
        access_log: Log a line for each request. None: unless the application has an ``AccessLogMiddleware``.
        drain_seconds: The time that open connections have to end by themselves when the server stops. None:
            the time that the application sets, ``app.drain_seconds``.
        delay_seconds: The time between the request to stop and its effect on the server:
            ``app.readiness_delay_seconds``.
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
    access_log: bool | None = None
    drain_seconds: float | None = None
    delay_seconds: float = 0.0
    trusted_proxies: tuple[str, ...] = ()
    is_dev: bool = False

    @property
    def graceful_seconds(self) -> float:
        """The time between the end of the delay and the cancellation of open connections."""
        drain_seconds = DRAIN_SECONDS if self.drain_seconds is None else self.drain_seconds
        return 0.0 if self.is_dev else drain_seconds + CLOSE_SECONDS

    @property
    def stop_seconds(self) -> float:
        """The time between the request to stop and the forced end of the process."""
        return self.delay_seconds + self.graceful_seconds + LIFESPAN_STOP_SECONDS


# -- the socket -----------------------------------------------------------------------------------------


class ListenError(Exception):
    """No socket can listen on the address. The message names the reason and the option to change."""


def open_socket(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens on an address. All workers accept connections from it.

    Raises:
        ListenError: the host has no address, or the address can't be used.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(
            f"--host {host!r} has no address: {getattr(error, 'strerror', error)}."
        ) from None
    family, kind, protocol, _, address = infos[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # on Windows the option lets two programs share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        # Two sockets with SO_REUSEADDR can be bound to one address; only one of them can listen.
        sock.listen(2048)
    except OSError as error:
        sock.close()
        reason = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise ListenError(f"Can't listen on {host}, port {port}: {reason}.") from None
    return sock


def url_of(sock: socket.socket) -> str:
    """Return the URL of a bound socket, which a browser on this machine can open."""
    address, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, str(address))
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
