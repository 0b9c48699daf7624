"""Two workers with one SQLite file: one computation for both, and a worker that is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from ports import free_port

HERE = Path(__file__).resolve().parent
START_SECONDS = 60


class Worker:
    """A server process."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = directory / f"log{port}"
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "--port", str(port), "service_app:app"],
                env={**os.environ, "PYTHONPATH": path, "SERVICE_FILE": f"{directory}/shop.db"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for_start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx2.get(self.url, timeout=60)
                return
            except httpx2.TransportError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(self.log.read_text())
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    try:
        for _ in range(2):
            started.append(Worker(tmp_path))
        for worker in started:
            worker.wait_for_start()
        yield started
    finally:
        for worker in started:
            if worker.process.poll() is None:
                worker.kill()


def runs(directory: Path) -> list[str]:
    return (directory / "shop.db.log").read_text().split()


def test_fifty_requests_to_two_workers_are_one_computation(
    workers: list[Worker], tmp_path: Path
) -> None:
    urls = [worker.url + "/report" for worker in workers] * 25
    host = {"host": "shop.example"}  # the workers have one name, and a port each
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda url: httpx2.get(url, headers=host, timeout=60), urls))
    assert [answer.text for answer in answers] == ["report"] * 50
    assert runs(tmp_path) == ["report"]


def test_a_worker_killed_before_it_stores_its_response_blocks_the_key_for_a_while(
    workers: list[Worker], tmp_path: Path
) -> None:
    first, second = workers
    key = {"idempotency-key": "k"}
    with httpx2.stream("POST", first.url + "/pay", headers=key, timeout=60) as response:
        assert next(response.iter_bytes()) == b"paid"
        first.kill()
    deadline = time.monotonic() + 60
    statuses = []
    while statuses[-1:] != [201] and time.monotonic() < deadline:
        answer = httpx2.post(second.url + "/pay", headers=key, timeout=60)
        statuses.append(answer.status_code)
        time.sleep(0.1)
    assert statuses[-1] == 201
    assert set(statuses) <= {409, 201}
    assert "idempotent-replayed" not in answer.headers
    again = httpx2.post(second.url + "/pay", headers=key, timeout=60)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.text, runs(tmp_path)) == ("paid", ["pay", "pay"])
