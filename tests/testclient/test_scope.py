from typing import Any

import pytest

from spica.testclient.interface import httpx
from spica.testclient.scope import http_scope, websocket_scope


def http(url: str, method: str = "GET", state: Any = None, **options: Any) -> Any:
    request = httpx.Request(method, url, **options)
    return http_scope(request, root_path="", client=("testclient", 50000), state=state or {})


def websocket(url: str, **options: Any) -> Any:
    request = httpx.Request("GET", url, **options)
    return websocket_scope(request, root_path="/r", client=("1.2.3.4", 5), state={"a": 1})


def test_an_http_scope_has_every_key() -> None:
    assert http("http://testserver/a?b=c", headers={"X-Y": "z"}) == {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"b=c",
        "root_path": "",
        "headers": [(b"host", b"testserver"), (b"x-y", b"z")],
        "client": ("testclient", 50000),
        "server": ["testserver", 80],
        "state": {},
        "extensions": {"http.response.debug": {}, "http.response.trailers": {}},
    }


def test_a_websocket_scope_has_every_key() -> None:
    assert websocket("ws://testserver/a?b=c") == {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"b=c",
        "root_path": "/r",
        "headers": [(b"host", b"testserver")],
        "client": ("1.2.3.4", 5),
        "server": ["testserver", 80],
        "state": {"a": 1},
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        pytest.param("/a b", "/a b", b"/a%20b", b"", id="space"),
        pytest.param("/é", "/é", b"/%C3%A9", b"", id="beyond ASCII"),
        pytest.param("/a%2Fb", "/a/b", b"/a%2Fb", b"", id="encoded slash"),
        pytest.param("/a%3Fb?c", "/a?b", b"/a%3Fb", b"c", id="encoded question mark"),
        pytest.param("/a%25b", "/a%b", b"/a%25b", b"", id="encoded percent"),
        pytest.param("/%FF", "/\ufffd", b"/%FF", b"", id="not UTF-8"),
        pytest.param("/?", "/", b"/", b"", id="empty query"),
        pytest.param("/?a?b", "/", b"/", b"a?b", id="question mark in the query"),
        pytest.param("", "/", b"/", b"", id="empty"),
    ],
)
def test_the_path_is_decoded_and_the_raw_path_is_not(
    target: str, path: str, raw_path: bytes, query: bytes
) -> None:
    scope = http("http://testserver" + target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


@pytest.mark.parametrize(
    ("url", "server", "host"),
    [
        pytest.param("http://h", ["h", 80], b"h", id="http"),
        pytest.param("https://h", ["h", 443], b"h", id="https"),
        pytest.param("https://h:8443", ["h", 8443], b"h:8443", id="port"),
        pytest.param("http://h:0", ["h", 0], b"h:0", id="port 0"),
        pytest.param("http://[::1]", ["::1", 80], b"[::1]", id="IPv6"),
        pytest.param("http://[::1]:9", ["::1", 9], b"[::1]:9", id="IPv6 and port"),
    ],
)
def test_the_server_is_that_of_the_url(url: str, server: list[Any], host: bytes) -> None:
    scope = http(url)
    assert scope["server"] == server
    assert scope["headers"] == [(b"host", host)]


@pytest.mark.parametrize(("scheme", "port"), [("ws", 80), ("wss", 443)])
def test_a_websocket_has_the_default_port_of_its_scheme(scheme: str, port: int) -> None:
    scope = websocket(f"{scheme}://h/")
    assert scope["scheme"] == scheme
    assert scope["server"] == ["h", port]


def test_headers_keep_their_order_and_repetitions_in_lower_case() -> None:
    scope = http("http://h", headers=[("X-B", "1"), ("X-A", "2"), ("x-b", "3")])
    assert scope["headers"][1:] == [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]


def test_a_host_header_of_the_test_replaces_that_of_the_url() -> None:
    assert http("http://h", headers={"Host": "other"})["headers"] == [(b"host", b"other")]


@pytest.mark.parametrize(
    ("header", "subprotocols"),
    [("a, b", ["a", "b"]), ("a,,b ,", ["a", "b"]), ("a", ["a"]), ("", [])],
)
def test_subprotocols_are_those_of_the_header(header: str, subprotocols: list[str]) -> None:
    scope = websocket("ws://h", headers={"Sec-WebSocket-Protocol": header})
    assert scope["subprotocols"] == subprotocols


def test_the_state_is_a_copy_one_level_deep() -> None:
    shared: dict[str, Any] = {"pool": []}
    scope = http("http://h", state=shared)
    scope["state"]["mine"] = 1
    assert shared == {"pool": []}
    assert scope["state"]["pool"] is shared["pool"]
