"""The async test client shows what a client of a real server sees: uvicorn over a socket."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirror_app import app

from spica.testclient import AsyncTestClient

START_SECONDS = 60
OF_SERVER = {"date", "server", "connection", "transfer-encoding"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the application with uvicorn, and return its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="wsproto"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(START_SECONDS)


def seen(responses: list[httpx2.Response]) -> list[Any]:
    """Return what both ways must have in common."""
    return [
        (
            response.status_code,
            str(response.url),
            sorted(pair for pair in response.headers.multi_items() if pair[0] not in OF_SERVER),
            response.content,
        )
        for response in responses
    ]


async def exchange(client: httpx2.AsyncClient, method: str, url: str, options: Any) -> Any:
    made = {name: value() if callable(value) else value for name, value in options.items()}
    response = await client.request(method, url, **made)
    return seen([*response.history, response]), dict(client.cookies)


async def both_ways(address: str, method: str, url: str, options: Any) -> tuple[Any, Any]:
    headers = {"user-agent": "testclient"}
    async with httpx2.AsyncClient(
        base_url=address, headers=headers, follow_redirects=True, verify=False, timeout=60
    ) as client:
        over_socket = await exchange(client, method, url, options)
    async with AsyncTestClient(
        app, address, raise_app_exceptions=False, timeout_seconds=60
    ) as client:
        in_memory = await exchange(client, method, url, options)
    return over_socket, in_memory


async def pieces() -> AsyncIterator[bytes]:
    for piece in (b"a", b"b" * 1000, b"c"):
        yield piece


CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((method, "/mirror", {}) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
    *((method, "/mirror", {}) for method in ("HEAD", "TRACE")),
    ("GET", "/mirror/a%20b/%C3%A9", {}),
    ("GET", "/mirror/a/../b", {}),
    ("GET", "/mirror/a%2Fb", {}),
    ("GET", "/mirror//double", {}),
    ("GET", "/mirror/\u00e9", {}),
    ("GET", "/mirror/a;b=c,d", {}),
    ("GET", "/mirror/", {}),
    ("GET", "/mirror?a=b&a=c", {}),
    ("GET", "/mirror?", {}),
    ("GET", "/mirror?q=%20+%2B", {}),
    ("GET", "/mirror#fragment", {}),
    ("GET", "/mirror", {"params": {"a": "\u00e9 &="}}),
    ("GET", "/mounted/a?b", {}),
    ("GET", "/mounted", {}),
    ("GET", "/missing", {}),
    ("GET", "/", {}),
    ("GET", "/mirror", {"headers": {"X-Upper": "Value"}}),
    ("GET", "/mirror", {"headers": [("x-a", "1"), ("x-a", "2")]}),
    ("GET", "/mirror", {"headers": {"x-empty": ""}}),
    ("GET", "/mirror", {"headers": [(b"x-latin", b"\xe9")]}),
    ("GET", "/mirror", {"headers": {"host": "example.org"}}),
    ("GET", "/mirror", {"auth": ("user", "pass")}),
    ("POST", "/mirror", {"content": b"body"}),
    ("POST", "/mirror", {"content": b""}),
    ("POST", "/mirror", {"content": b"\x00\xff" * 500}),
    ("POST", "/mirror", {"content": b"x" * 200_000}),
    ("POST", "/mirror", {"data": {"a": "b c"}}),
    ("POST", "/mirror", {"content": pieces}),
    ("POST", "/upper", {"content": pieces}),
    ("POST", "/upper", {"content": b"abc"}),
    ("GET", "/upper", {}),
    ("POST", "/form", {"data": {"a": ["1", "2"]}}),
    ("POST", "/form", {"files": {"f": ("n.txt", b"content")}, "data": {"a": "1"}}),
    ("POST", "/form", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
    *(("GET", f"/status/{code}", {}) for code in (200, 201, 204, 205, 304, 404, 418, 500, 599)),
    *(("GET", f"/fail/{code}", {}) for code in (400, 403, 404, 429, 503)),
    ("GET", "/broken", {}),
    *(("GET", f"/move/{code}", {}) for code in (301, 302, 303, 307, 308)),
    *(("POST", f"/move/{code}", {"content": b"again"}) for code in (301, 302, 303, 307, 308)),
    ("GET", "/cookies", {}),
    ("GET", "/cookies", {"cookies": {"c": "3"}}),
    ("GET", "/stream/0", {}),
    ("GET", "/stream/1", {}),
    ("GET", "/stream/1000", {}),
    ("HEAD", "/stream/3", {}),
]


@pytest.mark.filterwarnings("ignore:Setting per-request cookies")
@pytest.mark.parametrize(
    ("method", "url", "options"),
    [pytest.param(*case, id=f"{number}-{case[0]}") for number, case in enumerate(CASES)],
)
def test_a_request_has_the_same_response_on_a_server(
    address: str, method: str, url: str, options: Any
) -> None:
    over_socket, in_memory = anyio.run(both_ways, address, method, url, options)
    assert in_memory == over_socket


TEXT = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=9
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=TEXT,
    params=st.dictionaries(TEXT, TEXT, max_size=3),
    body=st.binary(max_size=300),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_request_has_the_same_response_on_a_server(
    address: str, method: str, path: str, params: dict[str, str], body: bytes
) -> None:
    url = f"/mirror/{quote(path)}"
    options = {"params": params, "content": body}
    over_socket, in_memory = anyio.run(both_ways, address, method, url, options)
    assert in_memory == over_socket
