"""Rate limits over several workers, and headers of a real proxy."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ports import free_port
from server_processes import ask, nginx_of, process_of

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


store = open_store("sqlite:///limits.db", timeout_seconds=10)
limit = Middleware(RateLimitMiddleware, Limit(Rate(40, 86400)), store=store)
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

NGINX = """
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
"""


def is_ready(port: int) -> bool:
    return ask(port, "/ping").status == 200


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
    with process_of(command, folder, "uvicorn", lambda: is_ready(port)):
        yield port


def test_all_workers_together_let_exactly_the_burst_through(upstream: int) -> None:
    with ThreadPoolExecutor(16) as threads:
        for client in range(2, 20):  # one worker may take all requests of a client
            source = f"127.0.0.{client}"
            requests = [
                threads.submit(ask, upstream, "/limited", source=source) for _ in range(REQUESTS)
            ]
            answers = [request.result() for request in requests]
            statuses = [answer.status for answer in answers]
            assert (statuses.count(200), statuses.count(429)) == (BURST, REQUESTS - BURST)
            if len({answer.text for answer in answers if answer.status == 200}) > 1:
                return
    pytest.fail("Only one worker has ever answered.")


@pytest.fixture(scope="module")
def proxy(folder: Path, upstream: int) -> Iterator[int]:
    """The port of nginx in front of it."""
    with nginx_of(folder, NGINX.format(upstream=upstream), is_ready) as port:
        yield port


def test_entries_that_the_client_forges_count_for_nothing(proxy: int) -> None:
    forged = {"Host": "example.org", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    assert (
        ask(proxy, "/who", forged).text
        == '["127.0.0.1","http://example.org/who","http://example.org/who"]'
    )


def test_a_prefix_that_nginx_strips_is_in_all_urls(proxy: int) -> None:
    url = "https://example.org/shop/who"
    answer = ask(proxy, "/shop/who", {"Host": "example.org", "X-Forwarded-Prefix": "/evil"})
    assert answer.text == f'["127.0.0.1","{url}","{url}"]'
