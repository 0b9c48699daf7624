"""The socket that all workers of a server accept connections from."""

from __future__ import annotations

import errno
import os
import socket

_REASONS = {
    errno.EADDRINUSE: "the port is in use. Stop the other program, or choose another with --port",
    errno.EACCES: "this user may not use the port. Choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "this machine does not have the address. Choose another with --host",
}


class ListenError(Exception):
    """Explain why the address can't be used."""


def open_socket(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens on an address.

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
