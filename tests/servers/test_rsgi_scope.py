"""ASGI scopes from RSGI scopes."""

import pytest
from rsgi_kit import RSGIScope

from spica.servers.rsgi_scope import (
    make_http_scope,
    make_websocket_scope,
    split_address,
    split_server,
)


def test_an_http_scope_has_the_parts_of_the_request():
    request = RSGIScope("PUT", "/a b/é", "q=%20", (("x-a", "1"), ("x-a", "2")), scheme="https")
    scope = make_http_scope(request, None)
    assert {key: scope[key] for key in ("type", "method", "path", "query_string", "scheme")} == {
        "type": "http",
        "method": "PUT",
        "path": "/a b/é",
        "query_string": b"q=%20",
        "scheme": "https",
    }
    assert scope["headers"] == [(b"x-a", b"1"), (b"x-a", b"2")]
    assert (scope["client"], scope["server"]) == (("192.0.2.1", 4000), ("127.0.0.1", 8000))


def test_each_scope_has_its_own_state():
    state = {"a": 1}
    scope = make_http_scope(RSGIScope(), state)
    scope["state"]["b"] = 2
    assert state == {"a": 1}


@pytest.mark.parametrize("authority", ["example.org", "user@example.org"])
def test_the_host_of_an_absolute_target_replaces_the_header(authority):
    """RFC 9112 s.3.2.2; over HTTP/2 it is the only one (RFC 9113 s.8.3.1)."""
    request = RSGIScope(fields=(("host", "other"), ("x-a", "1")), authority=authority)
    headers = make_http_scope(request, None)["headers"]
    assert headers == [(b"host", b"example.org"), (b"x-a", b"1")]


def test_a_websocket_scope_has_scheme_and_subprotocols():
    request = RSGIScope(
        proto="ws", scheme="https", fields=(("sec-websocket-protocol", "a, b"),) * 1
    )
    scope = make_websocket_scope(request, None)
    assert (scope["type"], scope["scheme"], scope["subprotocols"]) == (
        "websocket",
        "wss",
        ["a", "b"],
    )
    assert "method" not in scope


@pytest.mark.parametrize(
    ("address", "found"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("", None), ("unix", None)],
)
def test_addresses_are_split(address, found):
    assert split_address(address) == found


def test_the_address_of_a_unix_socket_is_its_path():
    assert split_server("/run/app.sock") == ("/run/app.sock", None)
