"""Serve with granian, which starts its own worker processes."""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from spica.checks.loading import LoadError
from spica.cli.logs import configure_logs, log_config
from spica.cli.options import ServeOptions
from spica.cli.pool import find_terminal
from spica.cli.worker import EXIT_FAILED, EXIT_STOPPED, EXIT_UNUSABLE, follow_parent
from spica.types import Message, Receive, Scope, Send

logger = logging.getLogger("spica.run")

VARIABLE = "SPICA_RUN_OPTIONS"
"""The environment variable with the options, which the worker processes read."""


class LoggedApp:
    """Log the exceptions of an app, since granian logs neither their causes nor their notes.

    The responses to HEAD requests get no body.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection, and raise its exception again, so that granian ends the connection."""
        if scope.get("method") == "HEAD":
            send = _HeadSend(send)
        try:
            await self.app(scope, receive, send)
        except Exception:
            logger.exception("Exception in the application")
            raise


class _HeadSend:
    """Drop the body of the response to a HEAD request (RFC 9110 s.9.3.2).

    Over HTTP/2, granian would send it, and the client would take it for an error of the protocol.
    """

    __slots__ = ("_send",)

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        """Send ``message`` without its part of the body."""
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        elif message["type"] == "http.response.pathsend":
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


class Hangup:
    """Let SIGHUP stop granian if its terminal was closed. Otherwise granian reloads its workers."""

    def __init__(self) -> None:
        self._has_terminal = find_terminal() is not None
        self._is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup
        self._reload: Any = None

    def install(self) -> None:
        """Replace the handler that granian has installed."""
        self._reload = signal.getsignal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if self._is_ignored else self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGHUP."""
        if self._has_terminal and find_terminal() is None:
            signal.raise_signal(signal.SIGTERM)
        else:
            self._reload(number, frame)


def make_app() -> Any:
    """Return the app to serve; granian calls this in each worker process."""
    from spica.cli.serving import load_served, settle

    values = json.loads(os.environ[VARIABLE])
    options = ServeOptions(**{**values, "trusted_proxies": tuple(values["trusted_proxies"])})
    follow_parent(options.delay_seconds + options.graceful_seconds)
    if hasattr(signal, "SIGHUP"):  # the parent decides: see `Hangup`
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    configure_logs(options)
    app = load_served(options).app
    configure_logs(settle(app, options))
    app = LoggedApp(app)
    if options.trusted_proxies:
        from granian.utils.proxies import wrap_asgi_with_proxy_headers

        app = wrap_asgi_with_proxy_headers(app, trusted_hosts=list(options.trusted_proxies))
    return app


def serve(options: ServeOptions, announce: Callable[[], None]) -> int:
    """Serve until a signal arrives, and return the exit status.

    ``announce`` is called before the workers start.
    """
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    options, failure = try_to_load(options)
    if failure:
        print(f"spica: {failure}", file=sys.stderr)
        return EXIT_UNUSABLE
    announce()
    os.environ[VARIABLE] = json.dumps(asdict(options))
    server = Granian(
        f"{__name__}:make_app",
        factory=True,
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGI,
        workers=options.workers,
        workers_kill_timeout=max(1, math.ceil(options.delay_seconds + options.graceful_seconds)),
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
        log_access=bool(options.access_log),
        log_dictconfig=log_config(options),
    )
    if hasattr(signal, "SIGHUP"):  # not on Windows
        server.on_startup(Hangup().install)
    try:
        server.serve()
    except SystemExit as error:
        return EXIT_STOPPED if not error.code else EXIT_FAILED
    return EXIT_STOPPED


def try_to_load(options: ServeOptions) -> tuple[ServeOptions, str]:
    """Load the application in a process of its own; return its settings and why the load fails, or "".

    granian logs a failure of each worker with a traceback, and starts the worker again.
    """
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_try_to_load, args=(options, writer))
    process.start()
    writer.close()
    message = "The application can't be loaded: its import ended the process."
    try:
        options, message = reader.recv()
    except EOFError:
        pass
    process.join()
    return options, message


def _try_to_load(options: ServeOptions, pipe: Connection) -> None:
    from spica.cli.serving import load_served, settle

    try:
        options = settle(load_served(options).app, options)
    except LoadError as error:
        pipe.send((options, str(error)))
    else:
        pipe.send((options, ""))
    pipe.close()
    os._exit(0)  # threads of the application must not delay the start
