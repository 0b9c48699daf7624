"""Serve with uvicorn, in this process."""

from __future__ import annotations

import asyncio
import faulthandler
import math
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from spica.checks.loading import find_inner
from spica.cli.logs import StopFilter, log_config
from spica.cli.options import MAX_MESSAGE_SIZE, ServeOptions
from spica.cli.serving import settle
from spica.shutdown import Shutdown

THREADS_SECONDS = 5.0
"""The time that threads have to end after everything else has."""


class GracefulServer(uvicorn.Server):
    """A server that ends with status 0 on SIGINT and SIGTERM, and that always ends.

    uvicorn raises the signal again after its shutdown, so that the process dies of it, and it waits for a
    lifespan or a thread without a limit.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        stop_seconds: float,
        on_ready: Callable[[], None] | None,
        shutdown: Shutdown | None = None,
    ) -> None:
        super().__init__(config)
        self.shutdown_of_app = shutdown
        self.stop_seconds = stop_seconds
        self.on_ready = on_ready
        self.signals = 0
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the lifespan and accept connections."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        if self.started and self.on_ready is not None:
            self.on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal, end the drain at the second, and skip the lifespan at the third."""
        self.signals += 1
        if self.signals == 1:
            StopFilter.is_stopping = True
            if self.shutdown_of_app is not None:
                # The lifespan has a handler that does this. But a layer may keep the lifespan from the app.
                self.shutdown_of_app.begin(signal.Signals(sig).name)
            # A thread of C: it works while Python is stuck, and shows where.
            faulthandler.dump_traceback_later(self.stop_seconds, exit=True)
        elif self.signals == 2 and self.loop is not None:
            self.loop.call_soon_threadsafe(self._cancel_requests)
        else:
            self.force_exit = True
        self.should_exit = True

    def _cancel_requests(self) -> None:
        if self.shutdown_of_app is not None:
            self.shutdown_of_app._cut_short()
        for task in list(self.server_state.tasks):
            task.cancel()


def stop_at_hangup() -> None:
    """Treat SIGHUP like SIGTERM, for example when the terminal is closed. ``nohup`` still ignores it."""
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, lambda number, frame: signal.raise_signal(signal.SIGTERM))


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
    options = settle(app, options)
    config = uvicorn.Config(
        app,
        log_config=log_config(options),
        access_log=bool(options.access_log),
        ws_max_size=MAX_MESSAGE_SIZE,
        server_header=False,
        proxy_headers=bool(options.trusted_proxies),
        forwarded_allow_ips=list(options.trusted_proxies),
        timeout_graceful_shutdown=math.ceil(options.graceful_seconds),
    )
    shutdown = getattr(find_inner(app), "shutdown", None)
    if not isinstance(shutdown, Shutdown):
        shutdown = None
    server = GracefulServer(config, options.stop_seconds, on_ready, shutdown)
    stop_at_hangup()
    try:
        server.run(sockets=[sock])
    except SystemExit:  # the lifespan failed at its start; uvicorn has logged why
        return False
    # Only threads are left, which Python waits for: an endpoint that hangs must not hold up the end.
    faulthandler.dump_traceback_later(THREADS_SECONDS, exit=True)
    return server.started or server.should_exit
