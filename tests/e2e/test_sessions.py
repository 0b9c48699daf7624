"""Sessions in a SQLite file that four workers of uvicorn share, with races and a worker that is killed."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
START_SECONDS = 60

PROGRAM = '''
import os, signal
import anyio
from spica import JSONResponse, Middleware, Spica
from spica.middleware.sessions import SessionMiddleware, Sessions
from spica.stores import open_store

store = open_store("sqlite:///sessions.db", timeout_seconds=10)
sessions = Sessions(store)


class Killer:
    """Kill the worker after the session was written, and before the response is sent."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def die(message):
            os.kill(os.getpid(), signal.SIGKILL)

        dies = scope["type"] == "http" and scope["query_string"] == b"die"
        await self.app(scope, receive, die if dies else send)


app = Spica(
    lifespan=[store.lifespan],
    middleware=[Middleware(Killer), Middleware(SessionMiddleware, secret_key="k" * 32, store=store)],
)


def answer(request):
    return JSONResponse({"pid": os.getpid(), **request.session})


@app.get("/")
async def show(request):
    return answer(request)


@app.get("/set/{key}")
async def set_key(request):
    request.session[request.path_params["key"]] = 1
    return answer(request)


@app.get("/slow/{key}")
async def set_slowly(request):
    request.session[request.path_params["key"]] = 1
    await anyio.sleep(0.5)
    return answer(request)


@app.get("/login")
async def login(request):
    request.session.bind("7")
    return answer(request)


@app.get("/logout")
async def logout(request):
    request.session.clear()
    return JSONResponse({})


@app.get("/revoke-all")
async def revoke_all(request):
    return JSONResponse(await sessions.revoke_all("7"))
'''


class Fleet:
    """Several workers behind one port."""

    def __init__(self, folder):
        (folder / "program.py").write_text(PROGRAM)
        self.port = free_port()
        self.log = folder / "log"
        command = [sys.executable, "-m", "uvicorn", "program:app", "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", str(WORKERS)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def started(self):
        """Return how many workers have started so far."""
        return len(re.findall("Application startup complete", self.log.read_text()))

    def wait_for_workers(self, count):
        deadline = time.monotonic() + START_SECONDS
        while self.started() < count:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(self.log.read_text()[-3000:])
            time.sleep(0.05)

    def get(self, path, cookie=""):
        """Return the JSON of a response, and the cookie that it sets."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"cookie": cookie, "connection": "close"})
            response = connection.getresponse()
            content = json.loads(response.read())
        finally:
            connection.close()
        return content, (response.headers["set-cookie"] or "").partition(";")[0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.wait_for_workers(WORKERS)
        yield fleet
    finally:
        fleet.stop()


def without_pid(content):
    return {key: value for key, value in content.items() if key != "pid"}


def test_no_write_of_40_concurrent_requests_is_lost(fleet):
    _, cookie = fleet.get("/login")
    pids = set()
    deadline = time.monotonic() + START_SECONDS
    with ThreadPoolExecutor(20) as threads:
        while len(pids) < 2 and time.monotonic() < deadline:  # one worker may take them all
            answers = [*threads.map(lambda n: fleet.get(f"/set/k{n}", cookie), range(40))]
            pids |= {content["pid"] for content, _ in answers}
    assert len(pids) > 1
    assert [set_cookie for _, set_cookie in answers if set_cookie] == []
    content, _ = fleet.get("/", cookie)
    assert without_pid(content) == {f"k{n}": 1 for n in range(40)}


@pytest.mark.parametrize("ending", ["/logout", "/revoke-all"])
def test_requests_that_run_during_a_logout_do_not_revive_the_session(fleet, ending):
    _, cookie = fleet.get("/login")
    with ThreadPoolExecutor(12) as threads:
        slow = [threads.submit(fleet.get, f"/slow/k{n}", cookie) for n in range(10)]
        time.sleep(0.25)  # until the slow requests have loaded their session
        fleet.get(ending, cookie)
        answers = [future.result() for future in slow]
    late = [set_cookie for content, set_cookie in answers if set_cookie]
    content, _ = fleet.get("/", cookie)
    assert without_pid(content) == {}
    # A request that began after the logout got a session of its own.
    assert cookie not in late


def test_a_worker_that_is_killed_before_it_answers_has_stored_the_session(fleet):
    _, cookie = fleet.get("/login")
    fleet.get("/set/before", cookie)
    started = fleet.started()
    with pytest.raises((http.client.HTTPException, OSError)):
        fleet.get("/set/killed?die", cookie)
    content, _ = fleet.get("/", cookie)
    assert without_pid(content) == {"before": 1, "killed": 1}
    fleet.wait_for_workers(started + 1)
    content, _ = fleet.get("/set/after", cookie)
    assert without_pid(content) == {"before": 1, "killed": 1, "after": 1}


def test_a_login_whose_worker_is_killed_leaves_the_client_logged_out(fleet):
    _, cookie = fleet.get("/set/basket")
    started = fleet.started()
    with pytest.raises((http.client.HTTPException, OSError)):
        fleet.get("/login?die", cookie)
    content, set_cookie = fleet.get("/", cookie)
    assert (without_pid(content), set_cookie) == ({}, "")
    fleet.wait_for_workers(started + 1)
    _, cookie = fleet.get("/login", cookie)
    assert cookie
