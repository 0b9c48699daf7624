"""The command line: ``python -m spica``, or ``spica``.

    spica check module:app        say what is wrong with an application
    spica routes module:app       list its routes
    spica --version

Each command says more with ``--help``. Exit status: 0, all is well; 1, something is wrong; 2, the command
could not be carried out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import spica


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status."""
    from spica.checks.command import add_commands

    parser = argparse.ArgumentParser(prog="spica", description="Look at spica applications.")
    parser.add_argument("--version", action="version", version=f"spica {spica.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_commands(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
