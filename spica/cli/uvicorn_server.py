"""Serve with uvicorn, in this process."""

from __future__ import annotations

import faulthandler
import math
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from spica.cli.logs import log_config
from spica.cli.options import MAX_MESSAGE_SIZE, ServeOptions


class GracefulServer(uvicorn.Server):
    """A server that ends with status 0 on SIGINT and SIGTERM, and that always ends.

    uvicorn raises the signal again after its shutdown, so that the process dies of it, and it waits for a
    lifespan or a thread without a limit.
    """

    def __init__(
        self, config: uvicorn.Config, stop_seconds: float, on_ready: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self.stop_seconds = stop_seconds
        self.on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the lifespan and accept connections."""
        await super().startup(sockets=sockets)
        if self.started and self.on_ready is not None:
            self.on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal, and without waiting for connections at the second."""
        if self.should_exit:
            self.force_exit = True
        else:
            # A thread of C: it works while Python is stuck, and shows where.
            faulthandler.dump_traceback_later(self.stop_seconds, exit=True)
        self.should_exit = True


def serve(
    app: Any, options: ServeOptions, sock: socket.socket, on_ready: Callable[[], None] | None = None
) -> bool:
    """Serve an app until a signal arrives, and return whether it had started.

    Args:
        app: The ASGI app.
        options: The settings.
        sock: The socket that listens.
        on_ready: A function to call once the lifespan has started.
    """
    config = uvicorn.Config(
        app,
        log_config=log_config(options),
        access_log=options.access_log,
        ws_max_size=MAX_MESSAGE_SIZE,
        server_header=False,
        proxy_headers=bool(options.trusted_proxies),
        forwarded_allow_ips=list(options.trusted_proxies),
        timeout_graceful_shutdown=math.ceil(options.graceful_seconds),
    )
    server = GracefulServer(config, options.stop_seconds, on_ready)
    try:
        server.run(sockets=[sock])
    except SystemExit:  # the lifespan failed at its start; uvicorn has logged why
        return False
    return server.started or server.should_exit
