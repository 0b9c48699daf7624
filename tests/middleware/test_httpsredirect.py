"""Tests of spica/middleware/httpsredirect.py."""

import pytest

from spica.middleware.httpsredirect import HTTPSRedirectMiddleware
from spica.responses.base import PlainTextResponse

pytestmark = pytest.mark.anyio


async def passed(scope, receive, send):
    if scope["type"] == "http":
        await PlainTextResponse("passed")(scope, receive, send)
    else:
        await send({"type": "passed"})


async def ask(*hosts, kind="http", scheme="http", **fields):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "method": "GET",
        "scheme": scheme,
        "path": "/p",
        "query_string": b"q=1",
        "server": ("10.0.0.1", 80),
        "headers": [(b"host", host) for host in hosts],
        **fields,
    }
    await HTTPSRedirectMiddleware(passed)(scope, receive, send)
    return sent


def location(sent):
    assert sent[0]["status"] == 307
    return dict(sent[0]["headers"])[b"location"].decode()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (b"example.org", "https://example.org/p?q=1"),
        (b"example.org:", "https://example.org/p?q=1"),
        (b"example.org:80", "https://example.org/p?q=1"),
        (b"example.org:443", "https://example.org/p?q=1"),
        (b"example.org:8000", "https://example.org:8000/p?q=1"),
        (b"[::1]", "https://[::1]/p?q=1"),
        (b"[::1]:80", "https://[::1]/p?q=1"),
        (b"[::1]:8000", "https://[::1]:8000/p?q=1"),
    ],
)
async def test_http_is_redirected(host, url):
    assert location(await ask(host)) == url


async def test_https_passes():
    assert (await ask(b"example.org", scheme="https"))[1]["body"] == b"passed"


async def test_a_scope_without_a_scheme_is_http():
    """ASGI "HTTP Connection Scope": scheme is optional, "http" by default."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"a.b")]}
    sent = []

    async def send(message):
        sent.append(message)

    await HTTPSRedirectMiddleware(passed)(scope, None, send)
    assert location(sent) == "https://a.b/"


WRONG_HOSTS = [b"a:b:c", b"a b", b"", b"evil.org/", b"evil.org:65536", b"[:::]", b"\xff"]


@pytest.mark.parametrize("host", WRONG_HOSTS, ids=repr)
async def test_with_a_wrong_host_the_server_is_taken(host):
    assert location(await ask(host, server=("10.0.0.1", 8000))) == "https://10.0.0.1:8000/p?q=1"


@pytest.mark.parametrize("server", [None, ("/run/app.sock", None)], ids=["none", "socket"])
@pytest.mark.parametrize("host", WRONG_HOSTS, ids=repr)
async def test_a_wrong_host_and_no_server_are_400(host, server):
    """RFC 9112 s.3.2."""
    sent = await ask(host, server=server)
    assert (sent[0]["status"], sent[1]["body"]) == (400, b"Invalid host header")


async def test_contradicting_hosts_are_400():
    """RFC 9112 s.3.2."""
    sent = await ask(b"a.b", b"c.d")
    assert (sent[0]["status"], sent[1]["body"]) == (400, b"Invalid host header")


async def test_a_repeated_host_is_one():
    assert location(await ask(b"a.b", b"a.b")) == "https://a.b/p?q=1"


@pytest.mark.parametrize(
    ("server", "url"),
    [
        (("10.0.0.1", 80), "https://10.0.0.1/p?q=1"),
        (("10.0.0.1", 8000), "https://10.0.0.1:8000/p?q=1"),
        (("::1", 80), "https://[::1]/p?q=1"),
    ],
)
async def test_without_a_host_the_server_is_taken(server, url):
    assert location(await ask(server=server)) == url


@pytest.mark.parametrize("server", [None, ("/run/app.sock", None)], ids=["none", "socket"])
async def test_without_a_host_and_a_server_there_is_nowhere_to_go(server):
    assert (await ask(server=server))[0]["status"] == 400


DENIAL = {"extensions": {"websocket.http.response": {}}}


async def test_ws_is_redirected():
    sent = await ask(b"example.org", kind="websocket", scheme="ws", **DENIAL)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert location(sent) == "wss://example.org/p?q=1"


async def test_ws_is_closed_where_the_server_has_no_denial():
    sent = await ask(b"example.org", kind="websocket", scheme="ws")
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_wss_passes():
    assert await ask(b"a.b", kind="websocket", scheme="wss") == [{"type": "passed"}]


async def test_the_lifespan_passes():
    assert await ask(kind="lifespan") == [{"type": "passed"}]


@pytest.mark.parametrize("path", ["/p", "/api/p"])
async def test_a_prefix_that_the_proxy_strips_is_in_the_new_url(path):
    start, _ = await ask(b"a.org", path=path, root_path="/api")
    assert (b"location", b"https://a.org/api/p?q=1") in start["headers"]
