"""Rate limits over several workers, and headers of a real proxy."""

import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30
BURST, REQUESTS, WORKERS = 40, 160, 4

PROGRAM = """\
import os
import time

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.middleware.ratelimit import Limit, Rate, RateLimitMiddleware
from spica.responses import JSONResponse, PlainTextResponse
from spica.routing import Route
from spica.stores import open_store


async def ping(request):
    return PlainTextResponse("pong")


async def limited(request):
    time.sleep(0.01)  # the other workers take the next requests
    return PlainTextResponse(str(os.getpid()))


async def who(request):
    return JSONResponse([request.client.host, str(request.url), str(request.url_for("who"))])


store = open_store("sqlite:///limits.db")
limit = Middleware(RateLimitMiddleware, Limit(Rate(40, 3600)), store=store)
app = Spica(
    routes=[
        Route("/ping", ping),
        Route("/limited", limited, middleware=[limit]),
        Route("/who", who),
    ],
    middleware=[Middleware(ProxyHeadersMiddleware, hops=0, prefix=True)],
    lifespan=[store.lifespan],
)
"""

NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Prefix "";
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
        location /shop/ {{
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Prefix /shop;
            proxy_set_header X-Forwarded-Proto https;
            proxy_pass http://127.0.0.1:{upstream}/;
        }}
    }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"Connection": "close", **fields})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if is_so():
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"It does not answer:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def run(command: list[str], folder: Path, name: str) -> tuple[subprocess.Popen[Any], Path]:
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    return process, log


def stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("front")
    (path / "main.py").write_text(PROGRAM)
    return path


@pytest.fixture(scope="module")
def upstream(folder: Path) -> Iterator[int]:
    """The port of uvicorn with several workers."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "main:app",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--workers", str(WORKERS), "--no-proxy-headers", "--no-access-log"]
    command += ["--app-dir", str(folder)]
    process, log = run(command, folder, "uvicorn")
    try:
        started = b"startup complete"
        wait_until(lambda: log.read_bytes().count(started) == WORKERS, process, log)
        yield port
    finally:
        stop(process)


def test_all_workers_together_let_exactly_the_burst_through(upstream: int) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: get(upstream, "/limited"), range(REQUESTS)))
    statuses = [status for status, _ in answers]
    assert (statuses.count(200), statuses.count(429)) == (BURST, REQUESTS - BURST)
    assert len({pid for status, pid in answers if status == 200}) > 1


@pytest.fixture(scope="module")
def proxy(folder: Path, upstream: int) -> Iterator[int]:
    """The port of nginx in front of it."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    process, log = run([program, "-p", str(folder), "-c", str(config)], folder, "nginx")
    try:
        wait_until(lambda: get(port, "/ping")[0] == 200, process, log)
        yield port
    finally:
        stop(process)


def test_entries_that_the_client_forges_count_for_nothing(proxy: int) -> None:
    _, body = get(
        proxy, "/who", Host="example.org", X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="https"
    )
    assert body == '["127.0.0.1","http://example.org/who","http://example.org/who"]'


def test_a_prefix_that_nginx_strips_is_in_all_urls(proxy: int) -> None:
    _, body = get(proxy, "/shop/who", Host="example.org", X_Forwarded_Prefix="/evil")
    assert body == '["127.0.0.1","https://example.org/shop/who","https://example.org/shop/who"]'
