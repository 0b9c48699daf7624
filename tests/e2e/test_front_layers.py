"""The layers of the front of a service on real servers, and behind nginx."""

import base64
import gzip
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

import pytest
from ports import free_port
from server_processes import Answer, ask, connect, nginx_of, process_of

PROGRAM = """\
import asyncio

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.admission import AdmissionGauges, AdmissionMiddleware
from spica.middleware.compression import CompressionMiddleware, DecompressionMiddleware
from spica.middleware.crossorigin import CrossOriginMiddleware
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.middleware.securityheaders import SecurityHeadersMiddleware
from spica.middleware.timeout import TimeoutMiddleware
from spica.responses import JSONResponse, PlainTextResponse, StreamingResponse
from spica.responses.events import EventSourceResponse
from spica.routing import Mount, Route, WebSocketRoute
from spica.servers.rsgi import RSGI
from spica.staticfiles import StaticFiles

gate = asyncio.Event()
gauges = AdmissionGauges()
queue = Middleware(
    AdmissionMiddleware, max_active=1, max_waiting=1, max_wait_seconds=600, gauges=gauges
)


async def who(request):
    return JSONResponse([request.client.host, str(request.url), request.scope["root_path"]])


async def rows(request):
    return PlainTextResponse("row " * 1000)


async def size(request):
    return PlainTextResponse(str(len(await request.body())))


async def gated_events():
    for number in range(3):
        yield str(number)
        await gate.wait()


async def events(request):
    return EventSourceResponse(gated_events())


async def hold(request):
    await gate.wait()
    return PlainTextResponse("held")


async def queued(request):
    return JSONResponse([gauges.active, gauges.waiting])


async def open_gate(request):
    gate.set()
    gate.clear()
    return PlainTextResponse("open")


async def slow(request):
    await asyncio.sleep(60)


async def starts(request):
    async def body():
        yield "start "
        await asyncio.sleep(1.2)
        yield "end"

    return StreamingResponse(body())


async def chat(websocket):
    await websocket.accept()
    await websocket.send_json([websocket.client.host, str(websocket.url)])
    await websocket.close()


app = Spica(
    routes=[
        Route("/who", who),
        Route("/rows", rows),
        Route("/size", size, methods=["POST"]),
        Route("/events", events),
        Route("/hold", hold, middleware=[Middleware(AdmissionMiddleware, max_active=1)]),
        Route("/queued", queued),
        Mount(
            "/queue", routes=[Route("/hold", hold), WebSocketRoute("/chat", chat)], middleware=[queue]
        ),
        Route("/open", open_gate, methods=["POST"]),
        Route("/slow", slow, timeout_seconds=0.2),
        Route("/starts", starts, middleware=[Middleware(TimeoutMiddleware, seconds=1.0)]),
        WebSocketRoute("/chat", chat),
        Mount("/static", StaticFiles(directory="static", precompressed=["gzip"])),
    ],
    middleware=[
        Middleware(
            ProxyHeadersMiddleware,
            trusted=["127.0.0.1"],
            field="forwarded",
            host=True,
            prefix=True,
        ),
        Middleware(SecurityHeadersMiddleware, hsts_seconds=60),
        Middleware(CrossOriginMiddleware),
        Middleware(CompressionMiddleware),
        Middleware(DecompressionMiddleware),
    ],
)
rsgi_app = RSGI(app)
"""

# As the documentation of nginx shows it, but for IPv4 only. The client's own Forwarded comes before.
NGINX = """
        proxy_http_version 1.1;
        proxy_set_header Host app;
        proxy_set_header Forwarded "$http_forwarded, for=$remote_addr;proto=https;host=\\"$http_host\\"";
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $http_connection;
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
        location /events {{
            proxy_http_version 1.0;  # the default of nginx for many years; it collects more then
            proxy_pass http://127.0.0.1:{upstream};
        }}
        location /shop/ {{
            proxy_http_version 1.1;
            proxy_set_header Host app;
            proxy_set_header Forwarded "$http_forwarded, for=$remote_addr;proto=https;host=$http_host";
            proxy_set_header X-Forwarded-Prefix /shop;
            proxy_pass http://127.0.0.1:{upstream}/;
        }}
"""
CLIENT = "127.0.0.2"
"""The address of the client, which the program does not trust."""

UVICORN = ["uvicorn", "--host", "127.0.0.1", "--no-proxy-headers", "--no-access-log", "main:app"]
SERVERS = {
    "uvicorn": UVICORN,
    "granian": ["granian", "--host", "127.0.0.1", "--interface", "asgi", "main:app"],
    "granian-rsgi": ["granian", "--host", "127.0.0.1", "--interface", "rsgi", "main:rsgi_app"],
}


def is_ready(port: int) -> bool:
    return ask(port, "/who").status == 200


@pytest.fixture(scope="module", params=list(SERVERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("front")
    (path / "main.py").write_text(PROGRAM)
    (path / "static").mkdir()
    (path / "static" / "app.js").write_text("run()\n" * 500)
    (path / "static" / "app.js.gz").write_bytes(gzip.compress(b"run()\n" * 500, mtime=0))
    (path / "server").write_text(request.param)
    return path


@pytest.fixture(scope="module")
def upstream(folder: Path) -> Iterator[int]:
    """The port of the server."""
    name, port = (folder / "server").read_text(), free_port()
    command = [sys.executable, "-m", *SERVERS[name], "--port", str(port)]
    with process_of(command, folder, name, lambda: is_ready(port)):
        yield port


@pytest.fixture(scope="module")
def proxy(folder: Path, upstream: int) -> Iterator[int]:
    """The port of nginx in front of it."""
    with nginx_of(folder, NGINX.format(upstream=upstream), is_ready) as port:
        yield port


# -- behind nginx ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forged",
    ["", "for=6.6.6.6;host=evil.example", 'for="6.6.6.6', 'for=127.0.0.1;by="', "for=127.0.0.1,"],
)
def test_nginx_reports_the_client_in_forwarded(proxy: int, forged: str) -> None:
    """RFC 7239 s.4: the client's own elements, whole or broken, change nothing."""
    headers = {"Host": "shop.example", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "ftp"}
    answer = ask(proxy, "/who", {**headers, "Forwarded": forged}, source=CLIENT)
    assert json.loads(answer.body) == [CLIENT, "https://shop.example/who", ""]
    assert answer.headers["strict-transport-security"] == "max-age=60"


def test_a_client_that_reaches_the_server_itself_reports_nothing(upstream: int) -> None:
    headers = {
        "Host": "app",
        "Forwarded": "for=6.6.6.6;proto=https;host=evil.example",
        "X-Forwarded-Prefix": "/evil",
    }
    answer = ask(upstream, "/who", headers, source=CLIENT)
    assert json.loads(answer.body) == [CLIENT, "http://app/who", ""]


def test_a_prefix_that_nginx_strips_is_in_the_url(proxy: int) -> None:
    headers = {"Host": "shop.example", "X-Forwarded-Prefix": "/evil"}
    answer = ask(proxy, "/shop/who", headers, source=CLIENT)
    assert json.loads(answer.body) == [CLIENT, "https://shop.example/shop/who", "/shop"]


def test_an_event_passes_nginx_at_once(proxy: int) -> None:
    """nginx collects other responses, but not one with X-Accel-Buffering: no."""
    with closing(connect(proxy)) as connection:
        connection.request("GET", "/events", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        for number in range(3):
            assert response.readline() == b"data: %d\n" % number
            assert response.readline() == b"\n"
            # The stream goes on only now, so nginx has not waited for more.
            assert ask(proxy, "/open", method="POST").text == "open"
        assert response.read() == b""


def test_the_origin_of_a_page_is_compared_with_the_reported_one(proxy: int) -> None:
    for origin, status in (("https://shop.example", 200), ("http://shop.example", 403)):
        headers = {"Host": "shop.example", "Origin": origin}
        assert (
            ask(proxy, "/size", headers, method="POST", source=CLIENT, body=b"a").status == status
        )


def handshake_request(path: str, origin: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        *("Host: shop.example", "Connection: Upgrade", "Upgrade: websocket"),
        *("Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", f"Origin: {origin}"),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def handshake(port: int, origin: str) -> tuple[int, bytes]:
    """Return the status of a WebSocket handshake, and the first message."""
    with socket.create_connection(("127.0.0.1", port), 60, (CLIENT, 0)) as connection:
        connection.sendall(handshake_request("/chat", origin))
        stream = connection.makefile("rb")
        status = int(stream.readline().split()[1])
        while stream.readline() != b"\r\n":
            pass
        if status != 101:
            return status, b""
        _, size = struct.unpack("!BB", stream.read(2))
        return status, stream.read(size)


def test_websockets_pass_nginx_with_the_same_rules(proxy: int) -> None:
    status, message = handshake(proxy, "https://shop.example")
    assert (status, json.loads(message)) == (101, [CLIENT, "wss://shop.example/chat"])
    assert handshake(proxy, "https://evil.example")[0] == 403


# -- on the server itself ----------------------------------------------------------------------------------


def test_responses_and_requests_are_compressed(upstream: int) -> None:
    answer = ask(upstream, "/rows", {"Accept-Encoding": "gzip;q=1, br;q=0.5"})
    assert answer.headers["content-encoding"] == "gzip"
    assert (gzip.decompress(answer.body), answer.headers["vary"]) == (
        b"row " * 1000,
        "Accept-Encoding",
    )
    bomb = gzip.compress(bytes(10_000_000))
    for body, status in ((gzip.compress(b"a" * 999), 200), (bomb, 413), (b"junk", 400)):
        headers = {"Content-Encoding": "gzip"}
        assert ask(upstream, "/size", headers, method="POST", body=body).status == status


def test_a_slow_endpoint_gets_a_504_and_a_started_response_goes_on(upstream: int) -> None:
    assert ask(upstream, "/slow").status == 504
    assert ask(upstream, "/starts").text == "start end"


def test_a_full_route_answers_503_and_lets_the_next_one_in(upstream: int) -> None:
    with ThreadPoolExecutor(3) as threads:
        first = [threads.submit(ask, upstream, "/hold") for _ in range(3)]
        done = as_completed(first, timeout=60)
        next(done), next(done)  # all but one are refused
        ask(upstream, "/open", method="POST")
        answers: list[Answer] = [answer.result() for answer in first]
    refused = [answer for answer in answers if answer.status == 503]
    assert len(refused) == 2
    assert {answer.headers["retry-after"] for answer in refused} <= {"1", "2", "3"}
    assert {answer.text for answer in answers} == {"held", "Service Unavailable"}


def wait_for_queue(port: int, active: int, waiting: int) -> None:
    deadline = time.monotonic() + 60
    while json.loads(ask(port, "/queued").body) != [active, waiting]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["request", "websocket"])
def test_a_client_that_leaves_gives_up_its_place_in_the_queue(
    folder: Path, upstream: int, kind: str
) -> None:
    """Otherwise it would keep the place for up to 600 seconds."""
    if kind == "websocket" and "granian" in (folder / "server").read_text():
        pytest.skip("granian does not report that a client leaves before its handshake is answered")
    request = b"GET /queue/hold HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    waiting = request
    if kind == "websocket":
        waiting = handshake_request("/queue/chat", "http://shop.example")
    address = ("127.0.0.1", upstream)
    with socket.create_connection(address) as first:
        first.sendall(request)
        wait_for_queue(upstream, 1, 0)
        with socket.create_connection(address) as second:
            second.sendall(waiting)
            wait_for_queue(upstream, 1, 1)
        wait_for_queue(upstream, 1, 0)
        ask(upstream, "/open", method="POST")
        wait_for_queue(upstream, 0, 0)


def test_a_compressed_sibling_is_served_with_ranges_and_its_own_tag(upstream: int) -> None:
    gzipped = {"Accept-Encoding": "gzip"}
    plain, packed = ask(upstream, "/static/app.js"), ask(upstream, "/static/app.js", gzipped)
    assert gzip.decompress(packed.body) == plain.body
    tag = packed.headers["etag"]
    assert tag != plain.headers["etag"]
    assert ask(upstream, "/static/app.js", {**gzipped, "If-None-Match": tag}).status == 304
    assert ask(upstream, "/static/app.js", {"If-None-Match": tag}).status == 200
    part = ask(upstream, "/static/app.js", {**gzipped, "Range": "bytes=0-1"})
    assert (part.status, part.body) == (206, b"\x1f\x8b")
    head = ask(upstream, "/static/app.js", gzipped, method="HEAD")
    assert (head.headers["content-length"], head.body) == (str(len(packed.body)), b"")
    assert ask(upstream, "/static/%2e%2e/main.py").status == 404
