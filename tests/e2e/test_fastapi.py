"""A FastAPI application that knows nothing of spica, served by uvicorn on spica."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from environments import enable, make_environment
from ports import free_port
from websockets.sync.client import connect

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
START_SECONDS = 60
STOP_SECONDS = 60

# The application itself, and who serves it: told by a module that the application does not know.
WITNESS = """
import os, sys
from fastapi_app.app import app as application

async def app(scope, receive, send):
    if scope["type"] != "http" or scope["path"] != "/witness":
        return await application(scope, receive, send)
    import starlette.requests
    genuine = [n for n, m in list(sys.modules.items()) if n.partition(".")[0] == "starlette"
               and not (getattr(m, "__file__", None) or "").startswith(os.environ["SPICA_FOLDER"])]
    text = f"{os.getpid()} {starlette.requests.Request.__module__} {genuine}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""

COMMANDS = {
    "command": [sys.executable, "-m", "spica.compat", "uvicorn"],
    "environment": ["-m", "uvicorn"],  # of an environment where the switch was enabled
    "genuine": [sys.executable, "-m", "uvicorn"],
}


@contextlib.contextmanager
def serve(directory, how, *options):
    """Start uvicorn in one of the ways, and give its URL."""
    (directory / "witness.py").write_text(WITNESS)
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(directory)]),
        "SPICA_COMPAT": "1" if how == "environment" else "0",
        "SPICA_FOLDER": str(EXAMPLES.parent / "spica"),
    }
    command = COMMANDS[how]
    if how == "environment":
        python = make_environment(directory / "enabled")
        enable(python)
        command = [str(python), *command]
    command = [*command, "witness:app", "--port", str(port), *options]
    log_path = directory / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_answer(process, port, log_path)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def wait_for_answer(process, port, log_path):
    deadline = time.monotonic() + START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/witness")
            connection.getresponse().read()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(log_path.read_text(errors="replace")[-3000:])
            time.sleep(0.05)
        finally:
            connection.close()


@pytest.fixture(scope="module", params=["command", "environment", "genuine"])
def how(request):
    return request.param


@pytest.fixture(scope="module")
def url(how, tmp_path_factory):
    with serve(tmp_path_factory.mktemp(how), how) as url:
        yield url


@pytest.fixture
def client(url):
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def test_the_process_has_no_starlette_but_spica(client, how):
    _, module, genuine = client.get("/witness").text.split(" ", 2)
    if how == "genuine":
        assert module == "starlette.requests"
    else:
        assert (module, genuine) == ("spica.requests", "[]")


def test_the_application_does_not_know_of_spica():
    source = (EXAMPLES / "fastapi_app" / "app.py").read_text()
    code = source.split('"""', 2)[2]
    assert "spica" not in code


# What follows holds on spica as on Starlette itself.


def test_dependencies_and_state(client):
    assert client.get("/").json() == {"items": f"{client.base_url}/items", "open": True}
    assert client.get("/items", params={"dearer_than": 2}).json()[0]["name"] == "Tea"
    assert client.post("/items/1/order").json() == {"ordered": "Tea"}
    assert client.get("/letters").json()[-2:] == ["till opened", "till closed"]


def test_security_and_background_tasks(client):
    item = {"name": "Milk", "price": 2.5}
    assert client.post("/items", json=item).status_code in (401, 403)
    wrong = {"authorization": "Bearer wrong"}
    assert client.post("/items", json=item, headers=wrong).json() == {"detail": "not yours"}
    right = {"authorization": "Bearer let-me-in"}
    answer = client.post("/items", json=item, headers=right)
    assert answer.status_code == 201
    number = answer.json()["number"]
    assert client.get(f"/items/{number}").json() == item
    assert "keeper added Milk" in client.get("/letters").json()


def test_validation_and_errors(client):
    right = {"authorization": "Bearer let-me-in"}
    answer = client.post("/items", json={"name": "", "price": 0}, headers=right)
    assert answer.status_code == 422
    assert {each["loc"][-1] for each in answer.json()["detail"]} == {"name", "price"}
    answer = client.post("/items", content=b"{", headers=right)
    assert answer.status_code == 422
    assert client.get("/items/x").status_code == 422
    assert client.get("/items/99").json() == {"detail": "no item 99"}
    assert client.post("/items/99/order").status_code == 409
    assert client.put("/items").status_code == 405
    assert client.get("/nowhere").status_code == 404
    assert client.get("/fail").status_code == 500


def test_middleware(client):
    answer = client.get("/openapi.json", headers={"origin": "https://shop.example"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["server-timing"].startswith("app;dur=")
    assert "/items/{number}" in answer.json()["paths"]
    assert client.get("/docs").headers["content-type"].startswith("text/html")


def test_uploads(client):
    pages = [("pages", ("a.txt", b"a" * 3_000_000)), ("pages", ("../b.txt", b"b"))]
    answer = client.post("/catalogue", data={"title": "Teas"}, files=pages)
    assert answer.json() == {"title": "Teas", "pages": {"a.txt": 3_000_000, "b.txt": 1}}
    assert client.post("/catalogue", data={"title": "Teas"}).status_code == 422


def test_a_stream(client):
    assert client.get("/stream").text.count("line") == 100


def test_a_websocket(url):
    address = url.replace("http", "ws") + "/orders?customer=ann"
    with connect(address) as websocket:
        websocket.send("Tea")
        assert websocket.recv() == '{"customer":"ann","ordered":"Tea"}'


@pytest.mark.parametrize("how", ["command", "environment"], indirect=True, scope="function")
@pytest.mark.parametrize("options", [["--workers", "2"], ["--reload"]], ids=["workers", "reload"])
def test_workers_and_reloaders_are_switched(options, how, tmp_path):
    with serve(tmp_path, how, *options) as url:
        text = httpx2.get(f"{url}/witness", timeout=60).text
        assert text.split(" ", 1)[1] == "spica.requests []"
        assert httpx2.get(f"{url}/items", timeout=60).status_code == 200
