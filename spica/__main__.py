"""The command line: ``python -m spica``, or ``spica``.

    spica dev [module:app]        serve an application and reload it on save
    spica run [module:app]        serve an application in production
    spica check [module:app]      find the mistakes in an application
    spica routes [module:app]     list its routes
    spica static build SRC OUT    hash and compress static files for production
    spica --version

``--help`` after a command lists its options. The exit status is 0 without errors, 1 with errors, and 2 if the
command could not run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import spica

_PROXY = "Put a proxy such as nginx or Caddy in front, which ends TLS."
_RUN = "Write spica run."
_FIXES = {
    "--bind": "Write --host and --port.",
    "--env-file": 'Read the file in the program: Config(".env").',
    "--forwarded-allow-ips": "Write --trusted-proxy ADDRESS.",
    "--proxy-headers": "Write --trusted-proxy ADDRESS.",
    "--reload": "spica dev reloads on save.",
    "--ssl-certfile": _PROXY,
    "--ssl-keyfile": _PROXY,
    "--timeout": "A route takes timeout_seconds. --drain is the time for a shutdown.",
    "--workers": "spica dev has one worker. Use spica run.",
    "-b": "Write --host and --port.",
    "-p": "Write --port.",
    "-w": "Write --workers.",
    "build": "Write spica static build SRC OUT.",
    "collectstatic": "Write spica static build SRC OUT.",
    "runserver": "Write spica dev.",
    "serve": _RUN,
    "server": _RUN,
    "shell": "Run python, and import the application.",
    "start": _RUN,
    "test": "Run pytest.",
}
"""Options and commands of other servers and frameworks, and how to write the same with spica."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors name the fix for options and commands of other tools."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with status 2."""
        if message.startswith("unrecognized arguments") or "argument COMMAND" in message:
            words = message.replace("'", " ").replace("=", " ").split()
            fix = next((_FIXES[word] for word in words if word in _FIXES), "")
            message = f"{message}. {fix}" if fix else message
        super().error(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit status."""
    from spica.checks import command as checks
    from spica.cli import command as cli
    from spica.cli import staticbuild

    parser = _Parser(
        prog="spica",
        description="Run and check ASGI applications.",
        epilog='"spica COMMAND --help" explains a command.',
    )
    parser.add_argument("--version", action="version", version=f"spica {spica.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    cli.add_commands(commands)
    checks.add_commands(commands)
    staticbuild.add_commands(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # The reader closed the pipe, for example `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
