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

import spica


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit status."""
    from spica.checks import command as checks
    from spica.cli import command as cli
    from spica.cli import staticbuild

    parser = argparse.ArgumentParser(
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
