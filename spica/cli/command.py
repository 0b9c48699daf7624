"""The commands ``run`` and ``dev``: their options, and the servers that they start."""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from types import FrameType
from typing import Any

from spica.checks.command import add_target
from spica.checks.loading import LoadError
from spica.cli.logs import configure_logs
from spica.cli.options import ListenError, ServeOptions, open_socket, url_of
from spica.cli.worker import EXIT_FAILED, EXIT_STOPPED, EXIT_UNUSABLE

logger = logging.getLogger("spica.run")

_RUN = """\
Serve an application. The defaults are for production: no debug pages, no server header, WebSocket messages
of at most 1 MiB, and an end to every shutdown."""

_RUN_MORE = """\
SIGTERM or Ctrl-C stops the server: it accepts no more connections, gives those that are open --drain seconds,
then ends the lifespan and exits with status 0. A second Ctrl-C does not wait. Exit status 1 means that the
application failed at its start-up, 2 that it can't be served: a wrong target, a port in use."""

_DEV = """\
Serve an application while you write it: it is loaded again when you save a Python file, a template or a .env
file, and errors are shown in the browser. Prints the routes and the findings of "spica check"."""

_DEV_MORE = """\
A reload does not wait for open streams and WebSockets. If the saved file has an error, the error is shown and
the next save is tried. Do not use this in production: the debug pages show source code."""


def add_commands(commands: Any) -> None:
    """Add the two commands to the sub-parsers of a command line."""
    run = commands.add_parser(
        "run", help="serve an application", description=_RUN, epilog=_RUN_MORE
    )
    _add_common(run)
    run.add_argument(
        "--workers",
        type=_Number(int, 1, "a number from 1"),
        default=1,
        metavar="N",
        help="processes that serve (default: 1). They share no memory",
    )
    run.add_argument(
        "--server",
        choices=("uvicorn", "granian"),
        default="uvicorn",
        help="the server package (default: uvicorn)",
    )
    run.add_argument(
        "--drain",
        type=_Number(float, 0, "a number of seconds"),
        metavar="SECONDS",
        help="time that open connections have when the server stops (default: drain_seconds of the"
        " application, which is by default: 8)",
    )
    run.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy whose X-Forwarded-For and X-Forwarded-Proto count; may be repeated"
        " (default: none)",
    )
    run.set_defaults(run=run_run)

    dev = commands.add_parser(
        "dev", help="serve an application and reload it on save", description=_DEV, epilog=_DEV_MORE
    )
    _add_common(dev)
    dev.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="DIR",
        help="a directory to watch; may be repeated (default: the one of the application)",
    )
    dev.set_defaults(run=run_dev)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, only this"
        " machine; 0.0.0.0 is every interface)",
    )
    parser.add_argument(
        "--port",
        type=_Number(int, 0, "a number from 0 to 65535", 65535),
        default=8000,
        help="TCP port (default: 8000; 0 takes a free one)",
    )
    parser.add_argument(
        "--log", choices=("text", "json"), default="text", help="format of the log (default: text)"
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="lowest level that is logged (default: info)",
    )
    parser.add_argument(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        help="log a line for each request (default: unless the application has an"
        " AccessLogMiddleware)",
    )


class _Number:
    """Convert an option to a number in a range."""

    def __init__(
        self, kind: Callable[[str], Any], lowest: float, words: str, highest: float = math.inf
    ) -> None:
        self.kind, self.lowest, self.highest, self.words = kind, lowest, highest, words

    def __call__(self, text: str) -> Any:
        try:
            value = self.kind(text)
        except ValueError:
            value = math.nan
        if not self.lowest <= value <= self.highest or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not {self.words}")
        return value


def _options_of(arguments: argparse.Namespace, is_dev: bool) -> ServeOptions:
    return ServeOptions(
        target=arguments.target,
        app_dir=os.path.abspath(arguments.app_dir or os.curdir),
        is_factory=arguments.factory,
        compat=arguments.compat,
        host=arguments.host,
        port=arguments.port,
        workers=1 if is_dev else arguments.workers,
        server="uvicorn" if is_dev else arguments.server,
        log=arguments.log,
        log_level=arguments.log_level,
        access_log=arguments.access_log,
        drain_seconds=0.0 if is_dev else arguments.drain,
        trusted_proxies=() if is_dev else tuple(arguments.trusted_proxy),
        is_dev=is_dev,
    )


class Stopped(BaseException):
    """A signal arrived before the server handles signals itself."""


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def run_run(arguments: argparse.Namespace) -> int:
    """Serve until a signal arrives; return the exit status."""
    options = _options_of(arguments, is_dev=False)
    return _guard(_run, options, [options.server])


def run_dev(arguments: argparse.Namespace) -> int:
    """Serve and reload until a signal arrives; return the exit status."""
    options = _options_of(arguments, is_dev=True)
    folders = [os.path.abspath(folder) for folder in arguments.watch] or [options.app_dir]
    for folder in folders:
        if not os.path.isdir(folder):
            print(f"spica: --watch {folder!r} is not a directory.", file=sys.stderr)
            return EXIT_UNUSABLE
    return _guard(_Dev(folders), options, ["uvicorn", "watchfiles"])


def _guard(
    command: Callable[[ServeOptions], int], options: ServeOptions, packages: list[str]
) -> int:
    """Run a command, and turn the mistakes of its caller into one line and status 2."""
    for package in packages:
        if find_spec(package) is None:
            extra = "granian" if package == "granian" else "standard"
            print(
                f"spica: This command needs {package}: pip install 'spica[{extra}]'.",
                file=sys.stderr,
            )
            return EXIT_UNUSABLE
    before = [signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        return command(options)
    except (LoadError, ListenError) as error:
        print(f"spica: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    except Stopped:
        return EXIT_STOPPED
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, signal.SIG_IGN if handler is None else handler)


def _run(options: ServeOptions) -> int:
    configure_logs(options)
    with open_socket(options.host, options.port) as sock:
        return _run_on(sock, options)


def _run_on(sock: socket.socket, options: ServeOptions) -> int:
    announce = _Announcement(options, url_of(sock))
    if options.server == "granian":
        from spica.cli import granian_server

        port = sock.getsockname()[1]
        sock.close()  # granian opens its own; this one has shown that the address is free
        return granian_server.serve(replace(options, port=port), announce)
    if options.workers > 1:
        from spica.cli.pool import Pool

        return Pool(options, sock, announce).run()
    from spica.cli.serving import load_served
    from spica.cli.uvicorn_server import serve

    app = load_served(options).app
    return EXIT_STOPPED if serve(app, options, sock, announce) else EXIT_FAILED


class _Announcement:
    """Log the URL once the server accepts connections."""

    def __init__(self, options: ServeOptions, url: str) -> None:
        self.options, self.url = options, url

    def __call__(self) -> None:
        workers = f"{self.options.workers} workers" if self.options.workers > 1 else "1 worker"
        logger.info("Serving at %s with %s, %s", self.url, self.options.server, workers)


class _Dev:
    """The command ``dev``, for the folders to watch."""

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders

    def __call__(self, options: ServeOptions) -> int:
        from spica.cli.dev import Reloader

        with open_socket(options.host, options.port) as sock:
            return Reloader(options, sock, self.folders).run()
