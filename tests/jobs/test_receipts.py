"""A worker of procrastinate is killed in a job. scripts/jobs runs this in an environment of its own."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("procrastinate", reason="scripts/jobs installs procrastinate")
ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 40


def wait_for(condition):
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answers(url):
    try:
        return httpx2.get(f"{url}/livez").status_code == 200
    except httpx2.TransportError:
        return False


class Processes:
    """The processes of the example."""

    def __init__(self, folder, database):
        self.environment = {
            **os.environ,
            "DATABASE_URL": database,
            "STALLED_SECONDS": "3",
            "RECEIPTS": str(folder),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "examples"), str(ROOT)]),
        }
        self.started = []

    def start(self, *command):
        process = subprocess.Popen([sys.executable, "-m", *command], env=self.environment)
        self.started.append(process)
        return process

    def start_worker(self):
        return self.start("procrastinate", "--app", "jobs.receipts.engine", "worker")

    def stop(self):
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path, postgres_server):
    found = Processes(tmp_path / "receipts", postgres_server.url)
    yield found
    found.stop()


def test_a_job_whose_worker_was_killed_runs_again(processes, tmp_path):
    assert processes.start("jobs.receipts").wait(WAIT_SECONDS) == 0
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    processes.start("uvicorn", "jobs.receipts:app", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(url))
    worker = processes.start_worker()
    response = httpx2.post(f"{url}/orders/7?seconds=2")
    assert response.status_code == 202
    wait_for((tmp_path / "receipts" / "7.started").exists)
    worker.kill()
    worker.wait()
    assert not (tmp_path / "receipts" / "7.txt").exists()
    processes.start_worker()
    wait_for((tmp_path / "receipts" / "7.txt").exists)
    id = response.headers["x-request-id"]
    assert (tmp_path / "receipts" / "7.txt").read_text() == f"Receipt 7 of request {id}\n"
    assert httpx2.get(f"{url}/readyz").status_code == 200
