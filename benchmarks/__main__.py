"""The command line: ``scripts/bench [VERB] [options]``.

Each verb is a module with ``add_options(parser)`` and ``run(options)``, which returns the exit status.
"""

import argparse
import importlib
import sys

VERBS = {
    "cases": ("compare", "requests in memory, one after the other (the default)"),
    "server": ("load", "requests a second on real servers, by wrk"),
    "cpu": ("cpu", "CPU time of a request on real servers, also over RSGI"),
    "fastapi": ("fastapi_compare", "FastAPI on spica beside FastAPI on Starlette"),
    "startup": ("startup", "time of the import and until the first answer"),
    "memory": ("memory", "memory of gigabytes, idle applications and open WebSockets"),
    "floor": ("floor", "what the time of a request goes to, from a bare ASGI app upwards"),
    "testclient": ("testclient", "a GET with each test client"),
    "front": ("front", "what the layers of the front of a service cost"),
    "service": ("service", "what a cache of responses costs and saves"),
    "plot": ("growth", "what grows with routes, middlewares, bodies, connections: docs/growth.md"),
    "state": (
        "state",
        "rate limits on each store, sessions, and server-sent events, beside others",
    ),
    "guard": ("guard", "hold the times, beside bare ASGI, to the bounds of benchmarks/guard.toml"),
    "figures": ("figures", "measure all that the documentation shows, and write it there"),
}
"""The verbs: the module of each, and what it does."""


def main(words: list[str]) -> int:
    """Carry out one verb and return the exit status."""
    if not words or words[0] not in (*VERBS, "-h", "--help"):
        words = ["cases", *words]  # the first verb may be left out
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure spica beside Starlette and its peers.",
        epilog="--python 3.12, as the first option, measures with another interpreter.",
    )
    verbs = parser.add_subparsers(dest="verb")
    for name, (module, purpose) in VERBS.items():
        verb = importlib.import_module(f"benchmarks.{module}")
        options = verbs.add_parser(name, help=purpose, description=verb.__doc__)
        verb.add_options(options)
        options.set_defaults(run=verb.run)
    arguments = parser.parse_args(words)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
