"""Runs on two workers that share a SQLite file, and a WebSocket that polls, on real servers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from ports import free_port
from websockets.sync.client import ClientConnection, connect

from spica.testclient.events import EventDecoder

HERE = Path(__file__).resolve().parent
START_SECONDS = 60


class Worker:
    """A server process."""

    def __init__(self, directory: Path, *command: str, **environment: str) -> None:
        self.port = free_port()
        self.log = directory / f"log{self.port}"
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, "--port", str(self.port), "runs_app:app"],
                env={**os.environ, "PYTHONPATH": path, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = f"http://127.0.0.1:{self.port}"

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

    def read(self, id: str, count: int, after: str = "") -> list[tuple[str, str, str]]:
        """Return the next events of a run, and leave."""
        found = []
        headers = {"last-event-id": after} if after else {}
        with httpx2.stream("GET", f"{self.url}/runs/{id}", headers=headers, timeout=60) as response:
            for event in decode(response):
                found.append(event)
                if len(found) == count:
                    break
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


def decode(response: httpx2.Response) -> Iterator[tuple[str, str, str]]:
    decoder = EventDecoder()
    for chunk in response.iter_bytes():
        for event in decoder.feed(chunk):
            yield event.event, event.data, event.id


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    file = f"sqlite:///{tmp_path}/app.db"
    started: list[Worker] = []
    try:
        for _ in range(2):
            started.append(Worker(tmp_path, "uvicorn", "--no-access-log", RUNS_FILE=file))
        for worker in started:
            worker.wait_for_start()
        yield started
    finally:
        for worker in started:
            if worker.process.poll() is None:
                worker.stop(signal.SIGKILL)


def numbers(events: list[tuple[str, str, str]]) -> list[int]:
    return [int(data) for kind, data, _ in events if kind == "message"]


def test_a_run_is_read_on_any_worker_and_lost_with_its_own(workers: list[Worker]) -> None:
    first, second = workers
    id = httpx2.post(f"{first.url}/start").json()
    assert httpx2.post(f"{second.url}/start").json() == id
    early = first.read(id, 10)
    back = second.read(id, 10, after=early[-1][2])
    assert numbers(early + back) == list(range(1, 21))
    assert numbers(second.read(id, 20)) == list(range(1, 21))
    first.stop(signal.SIGKILL)
    rest = second.read(id, 10_000, after=back[-1][2])
    assert rest[-1][0] == "lost"
    assert numbers(rest) == list(range(21, 21 + len(rest) - 1))
    assert httpx2.post(f"{second.url}/start").json() != id


def test_a_run_is_cancelled_by_another_worker_and_lost_at_a_shutdown(
    workers: list[Worker],
) -> None:
    first, second = workers
    id = httpx2.post(f"{first.url}/start").json()
    assert httpx2.delete(f"{second.url}/runs/{id}").json() is True
    assert first.read(id, 10_000)[-1][0] == "cancelled"
    id = httpx2.post(f"{first.url}/start").json()
    first.stop()
    events = second.read(id, 10_000)
    assert events[-1][:2] == ("lost", "{}")
    assert numbers(events) == list(range(1, len(events)))


@pytest.mark.parametrize(
    "command",
    [("uvicorn",), ("uvicorn", "--ws", "wsproto"), ("granian", "--interface", "asgi")],
    ids=" ".join,
)
def test_receiving_with_a_time_limit_loses_no_message(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    worker = Worker(tmp_path, *command)
    try:
        worker.wait_for_start()
        with connect(f"ws://127.0.0.1:{worker.port}/poll") as session:
            sent: list[str] = []
            while len(sent) < 200 or not has_waited_often(session):
                sent.append(str(len(sent)))
                session.send(sent[-1])
                time.sleep(0.0015 * (len(sent) % 2))
            session.send("end")
            while (answer := session.recv(timeout=60)) == "waited often":
                pass
    finally:
        worker.stop()
    assert json.loads(answer) == [*sent, "end"]


def has_waited_often(session: ClientConnection) -> bool:
    """Whether the server has just said that several waits have ended without a message."""
    try:
        return session.recv(timeout=0) == "waited often"
    except TimeoutError:
        return False
