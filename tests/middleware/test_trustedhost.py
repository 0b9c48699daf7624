"""Tests of spica/middleware/trustedhost.py."""

import pytest

from spica.exceptions import SpicaConfigurationWarning
from spica.middleware.trustedhost import TrustedHostMiddleware
from spica.responses.base import PlainTextResponse

pytestmark = pytest.mark.anyio


async def passed(scope, receive, send):
    if scope["type"] == "http":
        await PlainTextResponse("passed")(scope, receive, send)
    else:
        await send({"type": "passed"})


async def ask(middleware, *hosts, kind="http", **fields):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "method": "GET",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": "/p",
        "query_string": b"q=1",
        "server": ("127.0.0.1", 80),
        "headers": [(b"host", host) for host in hosts],
        **fields,
    }
    await middleware(scope, receive, send)
    return sent


HOSTS = ["example.org", "*.example.com", "[::1]", "127.0.0.1"]


@pytest.mark.parametrize(
    "host",
    [
        b"example.org",
        b"EXAMPLE.org",
        b"example.org:8000",
        b"example.org:65535",
        b"example.org:65536",
        b"example.org:" + b"9" * 200,
        b"a.example.com",
        b"a.b.Example.com:80",
        b"[::1]",
        b"[::1]:8000",
        b"[::1]:100000",
        b"127.0.0.1",
    ],
)
async def test_allowed_hosts_pass(host):
    sent = await ask(TrustedHostMiddleware(passed, HOSTS), host)
    assert sent[1]["body"] == b"passed"


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"example.com",
        b"badexample.com",
        b".example.com.evil",
        b".example.com",
        b"example.org.evil",
        b"evil.example.org",
        b"example.org.",
        b"a:b:c",
        b"example.org:port",
        b"example.org:",
        b"[::1]:",
        b":",
        b"exa mple.org",
        b"user@example.org",
        b"example.org/a.example.com",
        b"\xff",
        b"[::2]",
        b"::1",
    ],
)
async def test_other_hosts_are_400(host):
    sent = await ask(TrustedHostMiddleware(passed, HOSTS), host)
    assert (sent[0]["status"], sent[1]["body"]) == (400, b"Invalid host header")


@pytest.mark.parametrize(
    "hosts", [(), (b"example.org", b"evil.org"), (b"evil.org", b"example.org")], ids=repr
)
async def test_no_host_and_contradicting_hosts_are_400(hosts):
    """RFC 9112 s.3.2."""
    sent = await ask(TrustedHostMiddleware(passed, HOSTS), *hosts)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("settings", [{}, {"allowed_hosts": ["*"]}, {"allowed_hosts": ["a", "*"]}])
@pytest.mark.parametrize("hosts", [(b"evil.org",), (b"a b",), ()], ids=repr)
async def test_a_star_lets_every_request_pass(settings, hosts):
    middleware = TrustedHostMiddleware(passed, **settings)
    assert middleware.allow_any
    assert (await ask(middleware, *hosts))[0]["status"] == 200


@pytest.mark.parametrize(
    ("host", "location"),
    [
        (b"example.org", b"http://www.example.org/p?q=1"),
        (b"Example.org:8000", b"http://www.example.org:8000/p?q=1"),
        (b"example.org:65535", b"http://www.example.org:65535/p?q=1"),
        (b"example.org:65536", b"http://www.example.org/p?q=1"),
    ],
)
async def test_www_is_put_before_a_host(host, location):
    sent = await ask(TrustedHostMiddleware(passed, ["www.example.org"]), host)
    assert sent[0]["status"] == 307
    assert dict(sent[0]["headers"])[b"location"] == location


async def test_a_prefix_that_the_proxy_strips_is_in_the_new_url():
    middleware = TrustedHostMiddleware(passed, ["www.example.org"])
    sent = await ask(middleware, b"example.org", root_path="/api")
    assert dict(sent[0]["headers"])[b"location"] == b"http://www.example.org/api/p?q=1"


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_hosts": ["www.example.org"], "www_redirect": False},
        {"allowed_hosts": ["*.example.org"]},
    ],
)
async def test_www_is_not_put_before_a_host(settings):
    sent = await ask(TrustedHostMiddleware(passed, **settings), b"example.org")
    assert sent[0]["status"] == 400


# WebSockets and the rest

DENIAL = {"extensions": {"websocket.http.response": {}}}


async def test_websockets_pass():
    sent = await ask(TrustedHostMiddleware(passed, HOSTS), b"example.org", kind="websocket")
    assert sent == [{"type": "passed"}]


async def test_websockets_are_denied():
    middleware = TrustedHostMiddleware(passed, HOSTS)
    sent = await ask(middleware, b"evil.org", kind="websocket", **DENIAL)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 400


async def test_websockets_are_redirected():
    middleware = TrustedHostMiddleware(passed, ["www.example.org"])
    sent = await ask(middleware, b"example.org", kind="websocket", **DENIAL)
    assert sent[0]["status"] == 307
    assert dict(sent[0]["headers"])[b"location"] == b"ws://www.example.org/p?q=1"


async def test_websockets_are_closed_where_the_server_has_no_denial():
    sent = await ask(TrustedHostMiddleware(passed, HOSTS), b"evil.org", kind="websocket")
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_the_lifespan_passes():
    sent = await ask(TrustedHostMiddleware(passed, HOSTS), kind="lifespan")
    assert sent == [{"type": "passed"}]


# The settings


def test_hosts_are_kept_in_lower_case():
    middleware = TrustedHostMiddleware(passed, ("Example.ORG", "*.Example.com"))
    assert middleware.allowed_hosts == ["example.org", "*.example.com"]
    assert not middleware.allow_any


async def test_a_name_in_another_script_is_matched_in_its_ascii_form():
    """RFC 5890 s.2.3.2.1."""
    middleware = TrustedHostMiddleware(passed, ["münchen.example", "*.köln.example"])
    assert (await ask(middleware, b"xn--mnchen-3ya.example"))[0]["status"] == 200
    assert (await ask(middleware, b"a.xn--kln-sna.example"))[0]["status"] == 200


@pytest.mark.parametrize("host", ["faß.de", "*.faß.de"])
def test_a_name_with_two_ascii_forms_is_refused(host):
    """Python's codec would accept fass.de, which may belong to a stranger. Browsers send xn--fa-hia.de."""
    with pytest.raises(ValueError, match="which has a letter that browsers and Python encode"):
        TrustedHostMiddleware(passed, [host])


def test_a_string_is_no_list():
    words = "TrustedHostMiddleware: allowed_hosts must be a list of strings, not the string 'a.b'"
    with pytest.raises(TypeError, match=words):
        TrustedHostMiddleware(passed, "a.b")


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        (b"a.b", r"not the string b'a.b'. Write \[b'a.b'\]."),
        (7, "must be a list of strings, not 7."),
    ],
)
def test_what_else_is_no_list(hosts, text):
    with pytest.raises(TypeError, match=text):
        TrustedHostMiddleware(passed, hosts)


def test_hosts_are_strings():
    with pytest.raises(TypeError, match="allowed_hosts must be strings, not 1"):
        TrustedHostMiddleware(passed, [1])


@pytest.mark.parametrize("host", ["a.*", "*a.b", "**", "*.*", "a.*.b", "*.a*"])
def test_where_a_wildcard_may_stand(host):
    with pytest.raises(
        ValueError, match=r"Domain wildcard patterns must be like '\*\.example\.com'"
    ):
        TrustedHostMiddleware(passed, [host])


@pytest.mark.parametrize(
    "host",
    ["", "*.", "http://a.b", "a.b:80", "a.b:", "a.b/", "a b", "::1", "[::1", "a@b", "a..ü"],
)
def test_hosts_that_can_never_match(host):
    words = "TrustedHostMiddleware: allowed_hosts has .*, which can never match"
    with pytest.raises(ValueError, match=words):
        TrustedHostMiddleware(passed, [host])


def test_an_empty_list_is_warned_of():
    with pytest.warns(SpicaConfigurationWarning, match="allowed_hosts is empty"):
        TrustedHostMiddleware(passed, [])
