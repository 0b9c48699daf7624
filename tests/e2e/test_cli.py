"""``spica run`` and ``spica dev`` as a user starts them: in a terminal, with a stream open."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
PROGRAM = """\
import asyncio
import os
from contextlib import asynccontextmanager

from spica.applications import Spica
from spica.responses import JSONResponse, StreamingResponse
from spica.routing import Route, WebSocketRoute


@asynccontextmanager
async def lifespan(app):
    if app.drain_seconds == 100:
        app.tasks.start(asyncio.sleep, 3600)
    print("lifespan began", flush=True)
    yield
    print("lifespan ended", flush=True)


async def index(request):
    facts = {"text": "first", "pid": os.getpid(), "scheme": request.url.scheme, "debug": app.debug}
    return JSONResponse(facts)


async def ticks():
    try:
        while True:
            yield "data: tick\\n\\n"
            await asyncio.sleep(0.05)
    finally:
        print("stream ended", flush=True)


async def events(request):
    return StreamingResponse(ticks(), media_type="text/event-stream")


async def chat(websocket):
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


app = Spica(
    routes=[Route("/", index), Route("/events", events), WebSocketRoute("/chat", chat)],
    lifespan=lifespan,
)
"""
HANDSHAKE = (
    "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def _restore_hangup() -> None:
    """Undo an ignored SIGHUP, which a child inherits, for example of tests that run under ``nohup``."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Run:
    """A process of ``python -m spica`` in a directory with a program."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.main = directory / "main.py"
        self.main.write_text(PROGRAM)
        self.port = free_port()
        self.log = directory / "log"
        self.sockets: list[socket.socket] = []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spica", *arguments, "--port", str(self.port)],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_restore_hangup,
            )

    def get(self, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/?token=secret", headers={"connection": "close", **headers})
            response = connection.getresponse()
            assert response.getheader("server") in (None, "granian")
            return response.status, response.read()
        finally:
            connection.close()

    def facts(self, **headers: str) -> dict[str, Any]:
        return json.loads(self.get(**headers)[1])

    def open(self, path: str, headers: str = "") -> socket.socket:
        """Begin a request that does not end, and return its connection once it has an answer."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.sockets.append(sock)
        sock.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n".encode())
        assert sock.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 101")
        return sock

    def has(self, **expected: Any) -> bool:
        """Whether the answer has these members; a request during a reload may be cut."""
        try:
            facts = self.facts()
        except (OSError, http.client.HTTPException, ValueError):
            return False
        return all(facts[name] == value for name, value in expected.items())

    def fails_with(self, message: bytes) -> bool:
        try:
            status, body = self.get()
        except (OSError, http.client.HTTPException):
            return False
        return status == 500 and message in body

    def wait_for(self, is_so: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"waited in vain; the log:\n{self.text()[-5000:]}")
            time.sleep(0.02)

    def is_answering(self) -> bool:
        try:
            return self.get()[0] > 0
        except OSError:
            return False

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self, number: int, seconds: float = START_SECONDS) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def group_is_empty(self) -> bool:
        """Whether no process of the session is left."""
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return True
        return False

    def wait_for_empty_group(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not self.group_is_empty():
            if time.monotonic() > deadline:
                pytest.fail(f"processes survive; the log:\n{self.text()[-5000:]}")
            time.sleep(0.02)

    def clean(self) -> None:
        for sock in self.sockets:
            sock.close()
        if not self.group_is_empty():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*arguments: str, waits: bool = True) -> Run:
        runs.append(Run(tmp_path, *arguments))
        if waits:
            runs[-1].wait_for(runs[-1].is_answering)
        return runs[-1]

    yield start
    for run in runs:
        run.clean()


COMMANDS = {
    "uvicorn": ["run", "main:app", "--drain", "0"],
    "uvicorn-workers": ["run", "--drain", "0", "--workers", "2"],
    "granian": ["run", "main", "--drain", "0", "--server", "granian"],
    "granian-workers": ["run", "main.py", "--drain", "0", "--server", "granian", "--workers", "2"],
    "dev": ["dev"],
}

FEW = {name: command for name, command in COMMANDS.items() if name != "granian-workers"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_a_signal_stops_with_status_0_while_streams_are_open(
    command: list[str], number: int, start: Callable[..., Run]
) -> None:
    run = start(*command)
    run.open("/events")
    run.open("/chat", HANDSHAKE)

    assert run.stop(number) == 0

    run.wait_for_empty_group()
    assert "Traceback" not in run.text()
    assert "token" not in run.text()  # the access log has no query strings
    if "granian" not in command:  # granian kills a worker with an open stream
        assert "stream ended" in run.text()
        assert "lifespan ended" in run.text()


def test_ctrl_c_reaches_the_whole_group(start: Callable[..., Run]) -> None:
    run = start("run", "--workers", "2", "--drain", "0")
    run.open("/events")
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(START_SECONDS) == 0
    run.wait_for_empty_group()
    assert "Traceback" not in run.text()


def test_a_second_signal_ends_the_drain(start: Callable[..., Run]) -> None:
    run = start("run", "--drain", "100")
    stream = run.open("/events")
    run.process.send_signal(signal.SIGINT)

    def refuses() -> bool:
        assert stream.recv(1)  # the stream goes on meanwhile
        try:
            socket.create_connection(("127.0.0.1", run.port)).close()
        except OSError:
            return True
        return False

    run.wait_for(refuses)
    assert run.stop(signal.SIGINT, 60) == 0  # the task of the program does not delay it either
    assert "lifespan ended" in run.text()
    assert "Traceback" not in run.text()


def test_a_hangup_stops_a_server_without_workers_in_good_order(start: Callable[..., Run]) -> None:
    run = start("run", "--drain", "0")
    run.open("/events")
    assert run.stop(signal.SIGHUP) == 0
    assert "stream ended" in run.text()
    assert "lifespan ended" in run.text()


def test_a_hangup_replaces_workers_if_the_new_code_starts(start: Callable[..., Run]) -> None:
    run = start("run", "--workers", "2", "--drain", "0")
    run.wait_for(lambda: "Serving at" in run.text())
    run.open("/events")
    run.main.write_text("broken(")
    run.process.send_signal(signal.SIGHUP)
    run.wait_for(lambda: "The old workers go on." in run.text())
    assert run.is_answering()
    assert "lifespan ended" not in run.text()

    run.main.write_text(PROGRAM)
    run.process.send_signal(signal.SIGHUP)
    run.wait_for(lambda: run.is_answering() and run.text().count("lifespan ended") == 2)
    assert run.text().count("lifespan began") == 4
    assert "stream ended" in run.text()
    assert run.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("command", FEW.values(), ids=list(FEW))
def test_no_child_survives_a_parent_that_is_killed(
    command: list[str], start: Callable[..., Run]
) -> None:
    run = start(*command)
    run.open("/events")
    run.stop(signal.SIGKILL)
    run.wait_for_empty_group()


def test_a_worker_that_dies_is_replaced(start: Callable[..., Run]) -> None:
    run = start("run", "--workers", "2", "--drain", "0")
    run.wait_for(lambda: "Serving at" in run.text())
    first = run.facts()["pid"]
    assert first != run.process.pid
    os.kill(first, signal.SIGKILL)
    run.wait_for(lambda: "A worker ended with status -9; another one starts" in run.text())
    run.wait_for(lambda: run.text().count("lifespan began") == 3)
    assert run.facts()["pid"] != first


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
@pytest.mark.parametrize(
    ("options", "scheme"),
    [([], "http"), (["--trusted-proxy", "127.0.0.1"], "https")],
    ids=["untrusted", "trusted"],
)
def test_the_headers_of_proxies(
    server: str, options: list[str], scheme: str, start: Callable[..., Run]
) -> None:
    run = start("run", "--drain", "0", "--server", server, *options)
    facts = run.facts(**{"x-forwarded-proto": "https", "x-forwarded-for": "10.0.0.1"})
    assert (facts["scheme"], facts["debug"]) == (scheme, False)


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_the_log_as_json(server: str, start: Callable[..., Run]) -> None:
    run = start("run", "--drain", "0", "--log", "json", "--server", server)
    assert run.stop(signal.SIGTERM) == 0
    lines = [line for line in run.text().splitlines() if not line.startswith("lifespan")]
    records = [json.loads(line) for line in lines]
    assert records[0]["message"].startswith(
        f"Serving at http://127.0.0.1:{run.port}/ with {server}"
    )
    assert any(record.get("path") == "/" and record["status"] == 200 for record in records)


@pytest.mark.parametrize("command", FEW.values(), ids=list(FEW))
def test_a_lifespan_that_fails_is_status_1(
    command: list[str], tmp_path: Path, start: Callable[..., Run]
) -> None:
    run = start("--version", waits=False)  # writes the program
    run.process.wait()
    (tmp_path / "broken.py").write_text(PROGRAM.replace("    yield\n", "    raise OSError(1)\n"))
    target = [word for word in command if not word.startswith("main")]
    run = start(target[0], "broken.py", *target[1:], waits=False)
    assert run.process.wait(START_SECONDS) == 1
    assert "broken.py" in run.text()
    run.wait_for_empty_group()


@pytest.mark.parametrize("command", FEW.values(), ids=list(FEW))
def test_a_wrong_target_is_one_line_and_status_2(
    command: list[str], start: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    words = [word for word in command if not word.startswith("main")]
    run = start(words[0], "bad:app", *words[1:], waits=False)
    assert run.process.wait(START_SECONDS) == 2
    assert run.text() == (
        "spica: Module 'bad' can't be imported: SyntaxError: invalid syntax"
        " (bad.py, line 1: def f(:)\n"
    )


def test_dev_prints_routes_findings_and_the_url(start: Callable[..., Run]) -> None:
    run = start("dev")
    assert run.facts()["debug"] is True
    run.wait_for(lambda: f"\nhttp://127.0.0.1:{run.port}/  (Ctrl-C stops)\n" in run.text())
    assert run.text().startswith("main:app\n  GET,HEAD   /        index   main.index\n")


def test_dev_reloads_while_a_stream_is_open(start: Callable[..., Run]) -> None:
    run = start("dev")
    run.open("/events")
    run.open("/chat", HANDSHAKE)
    before = run.facts()

    run.main.write_text(PROGRAM.replace('"first"', '"second"'))
    run.wait_for(lambda: run.has(text="second"))

    assert run.facts()["pid"] != before["pid"]
    # The polls of this test may log lines in between.
    lines = [line for line in run.text().splitlines() if "changed" in line or "ended" in line]
    assert lines == ["main.py changed: reloading.", "stream ended", "lifespan ended"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text + "def f(:\n", b"SyntaxError: invalid syntax"),
        (lambda text: text + "1 / 0\n", b"ZeroDivisionError: division by zero"),
        (
            lambda text: text.replace("    yield\n", "    raise OSError\n"),
            b"failed at its start-up",
        ),
        (lambda text: text.replace("app = Spica", "ap = Spica").replace("app.debug", "2"), b""),
    ],
    ids=["syntax", "import", "lifespan", "other-name"],
)
def test_dev_waits_for_the_next_save_after_an_error(
    damage: Callable[[str], str], message: bytes, start: Callable[..., Run]
) -> None:
    run = start("dev", "main:app" if message else "main")
    run.main.write_text(damage(PROGRAM))
    if message:
        run.wait_for(lambda: run.fails_with(message))
        assert "Waiting for a change." in run.text()
    else:  # the only application has another name now
        run.wait_for(lambda: run.has(debug=2))

    run.main.write_text(PROGRAM.replace('"first"', '"repaired"'))
    run.wait_for(lambda: run.has(text="repaired"))
    assert run.stop(signal.SIGINT) == 0


def test_dev_reloads_for_a_template_and_for_an_env_file(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    run = start("dev")
    for name in ("page.html", ".env"):
        pid = run.facts()["pid"]
        (tmp_path / name).write_text("changed")
        run.wait_for(lambda pid=pid: run.is_answering() and not run.has(pid=pid))
    assert len(re.findall("changed: reloading", run.text())) == 2


def test_a_fastapi_application_under_the_switch(tmp_path: Path, start: Callable[..., Run]) -> None:
    (tmp_path / "api.py").write_text(
        "from fastapi import FastAPI, Request\n"
        "api = FastAPI()\n"
        "@api.get('/')\n"
        "def index(request: Request):\n"
        "    return {'kind': type(request).__module__}\n"
    )
    run = start("run", "api", "--compat", "--drain", "0", "--workers", "2")
    assert run.facts() == {"kind": "spica.requests"}
    assert run.stop(signal.SIGTERM) == 0
