"""Ports for servers that the tests start."""

import itertools
import os
import socket

LOWEST, COUNT, WORKERS = 12_000, 20_000, 40

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
_candidates = itertools.count(os.getpid())


def free_port() -> int:
    """Return a port that is free, and stays free until the server has started.

    The system may give a port of its own range to an outgoing connection meanwhile. So these ports lie below
    that range, and each process of a parallel run has a part of them for itself.
    """
    size = COUNT // WORKERS
    for candidate in itertools.islice(_candidates, size):
        port = LOWEST + _worker * size + candidate % size
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue  # another program uses it
    raise RuntimeError("All ports for tests are in use.")
