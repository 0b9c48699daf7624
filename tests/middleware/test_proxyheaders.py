"""Tests of spica/middleware/proxyheaders.py."""

import pytest
from asgi_kit import call, http_scope, websocket_scope
from hypothesis import given
from hypothesis import strategies as st

from spica.applications import Spica
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.httpsredirect import HTTPSRedirectMiddleware
from spica.middleware.proxyheaders import ProxyHeadersMiddleware
from spica.requests import Request
from spica.responses import JSONResponse
from spica.routing import Route
from spica.testclient import TestClient

PEER = "10.0.0.1"
TRUSTED = ("10.0.0.0/8", "fd00::/8", "203.0.113.7")


async def report(scope, receive, send):
    url = Request(scope).url
    await JSONResponse([scope["client"], str(url)])(scope, receive, send)


async def seen(headers, *, peer=PEER, trusted=TRUSTED, **options):
    """Return the client and the URL that an app sees for a request with these headers."""
    options.setdefault("host", True)
    app = ProxyHeadersMiddleware(report, trusted=trusted, **options)
    fields = [("host", "app"), *headers]
    client = None if peer is None else (peer, 4000)
    return (await call(app, headers=fields, client=client)).json


FOR = "x-forwarded-for"
# The value of X-Forwarded-For, one line each; the host that the app sees; options.
ADDRESSES = [
    pytest.param(["192.0.2.1"], "192.0.2.1", {}, id="one entry"),
    pytest.param([" 192.0.2.1 "], "192.0.2.1", {}, id="white space"),
    pytest.param(["192.0.2.1,"], "192.0.2.1", {}, id="empty member at the end"),
    pytest.param([",, 192.0.2.1"], "192.0.2.1", {}, id="empty members before"),
    pytest.param(["6.6.6.6, 192.0.2.1"], "192.0.2.1", {}, id="the client writes the left end"),
    pytest.param(["127.0.0.1, 192.0.2.1"], "192.0.2.1", {}, id="the client claims loopback"),
    pytest.param(["10.9.9.9, 192.0.2.1"], "192.0.2.1", {}, id="the client claims to be a proxy"),
    pytest.param(["192.0.2.1, 10.0.0.2"], "192.0.2.1", {}, id="one trusted hop"),
    pytest.param(["6.6.6.6,192.0.2.1,10.0.0.3,10.0.0.2"], "192.0.2.1", {}, id="two trusted hops"),
    pytest.param(["192.0.2.1, 203.0.113.7"], "192.0.2.1", {}, id="a hop trusted by address"),
    pytest.param(["192.0.2.1, 203.0.113.8"], "203.0.113.8", {}, id="its neighbour is not"),
    pytest.param(["10.0.0.3, 10.0.0.2"], "10.0.0.3", {}, id="all trusted: the leftmost"),
    pytest.param(["6.6.6.6", "192.0.2.1"], "192.0.2.1", {}, id="two lines are one list"),
    pytest.param(["192.0.2.1", "10.0.0.2"], "192.0.2.1", {}, id="a hop in a line of its own"),
    pytest.param(["192.0.2.1:443"], "192.0.2.1", {}, id="port"),
    pytest.param(["192.0.2.1:65535"], "192.0.2.1", {}, id="largest port"),
    pytest.param(["192.0.2.1:65536"], PEER, {}, id="port too large"),
    pytest.param(["192.0.2.1:_hidden"], "192.0.2.1", {}, id="obfuscated port"),
    pytest.param(["192.0.2.1:"], PEER, {}, id="empty port"),
    pytest.param(["192.0.2.1:80:80"], PEER, {}, id="two ports"),
    pytest.param(["[2001:db8::1]"], "2001:db8::1", {}, id="brackets"),
    pytest.param(["[2001:db8::1]:443"], "2001:db8::1", {}, id="brackets and port"),
    pytest.param(["2001:DB8:0::1"], "2001:db8::1", {}, id="bare IPv6, another spelling"),
    pytest.param(["2001:db8::1, fd00::2"], "2001:db8::1", {}, id="an IPv6 hop"),
    pytest.param(["::ffff:192.0.2.1"], "192.0.2.1", {}, id="IPv4 within IPv6"),
    pytest.param(["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1", {}, id="a hop within IPv6"),
    pytest.param(["[192.0.2.1]"], PEER, {}, id="IPv4 in brackets"),
    pytest.param(["[2001:db8::1"], PEER, {}, id="open bracket"),
    pytest.param(["2001:db8::1]"], PEER, {}, id="closing bracket"),
    pytest.param(["[]"], PEER, {}, id="empty brackets"),
    pytest.param(["fe80::1%eth0"], PEER, {}, id="a zone"),
    pytest.param(["2001:db8:::1"], PEER, {}, id="three colons"),
    pytest.param(["1:2"], PEER, {}, id="one colon"),
    pytest.param(["192.0.2"], PEER, {}, id="three numbers"),
    pytest.param(["192.0.2.01"], PEER, {}, id="leading zero"),
    pytest.param(["192.0.2.256"], PEER, {}, id="number too large"),
    pytest.param(["3221225985"], PEER, {}, id="one number"),
    pytest.param(["unknown"], PEER, {}, id="unknown"),
    pytest.param(["_proxy"], PEER, {}, id="obfuscated"),
    pytest.param(["localhost"], PEER, {}, id="a name"),
    pytest.param(["-"], PEER, {}, id="garbage"),
    pytest.param([""], PEER, {}, id="empty"),
    pytest.param(["\x00"], PEER, {}, id="NUL"),
    pytest.param(["192.0.2.1\t\xa0"], PEER, {}, id="a space of latin-1"),
    pytest.param(["\xb9.0.2.1"], PEER, {}, id="a digit of latin-1"),
    pytest.param(["unknown, 10.0.0.2"], "10.0.0.2", {}, id="unknown before a hop"),
    pytest.param(["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2", {}, id="never past unknown"),
    pytest.param(["6.6.6.6, _x"], PEER, {}, id="never past obfuscated"),
    pytest.param(["6.6.6.6, oops, 192.0.2.1"], "192.0.2.1", {}, id="garbage beyond the client"),
    pytest.param(["9" * 5000], PEER, {}, id="one huge entry"),
    pytest.param(["6.6.6.6, " * 1000 + "192.0.2.1"], "192.0.2.1", {}, id="a huge list"),
    pytest.param(["192.0.2.1" + ", 10.0.0.2" * 31], "192.0.2.1", {}, id="31 hops"),
    pytest.param(["192.0.2.1" + ", 10.0.0.2" * 32], "10.0.0.2", {}, id="32 hops"),
    pytest.param(["192.0.2.1"], "192.0.2.1", {"hops": 0}, id="hops=0: the last entry"),
    pytest.param(["6.6.6.6, 10.0.0.2"], "10.0.0.2", {"hops": 0}, id="hops=0: even if trusted"),
    pytest.param(["6.6.6.6, 192.0.2.1, 198.51.100.1"], "192.0.2.1", {"hops": 1}, id="hops=1"),
    pytest.param(["192.0.2.1"], "192.0.2.1", {"hops": 1}, id="hops=1, one entry"),
    pytest.param(["6.6.6.6, oops, 198.51.100.1"], "198.51.100.1", {"hops": 2}, id="hops, garbage"),
    pytest.param(["192.0.2.1"], "203.0.113.8", {"peer": "203.0.113.8"}, id="an untrusted peer"),
    pytest.param(["192.0.2.1"], "192.0.2.1", {"peer": "::ffff:10.0.0.1"}, id="a dual-stack socket"),
    pytest.param(["192.0.2.1"], "192.0.2.1", {"peer": "fd00::1%eth0"}, id="a peer with a zone"),
    pytest.param(["192.0.2.1"], "testclient", {"peer": "testclient"}, id="a peer without address"),
    pytest.param(["192.0.2.1"], "fe80::1", {"peer": "fe80::1"}, id="an untrusted IPv6 peer"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("lines", "host", "options"), ADDRESSES)
async def test_the_client_is_the_last_entry_that_no_proxy_has(lines, host, options):
    """RFC 9110 s.5.3, RFC 7239 s.6."""
    client, _ = await seen([(FOR, line) for line in lines], **options)
    assert client[0] == host


FORWARDED = [
    pytest.param("for=192.0.2.1", "192.0.2.1", id="token"),
    pytest.param('for="192.0.2.1:80"', "192.0.2.1", id="quoted"),
    pytest.param('For="[2001:db8::1]:4711"', "2001:db8::1", id="IPv6, names in any case"),
    pytest.param("for=6.6.6.6, for=192.0.2.1;by=10.0.0.1", "192.0.2.1", id="two elements"),
    pytest.param("for=192.0.2.1, for=10.0.0.2", "192.0.2.1", id="a trusted hop"),
    pytest.param('for="6.6.6.6, for=192.0.2.1', "192.0.2.1", id="an open quote swallows nothing"),
    pytest.param(
        'for="6.6.6.6, for="192.0.2.1"', "192.0.2.1", id="an open quote before a quoted one"
    ),
    pytest.param('for=192.0.2.1;by="a, b;c"', "192.0.2.1", id="a quoted comma and semicolon"),
    pytest.param('for="192.0.2.1, 6.6.6.6"', PEER, id="two addresses in one value"),
    pytest.param("for=192.0.2.1;", "192.0.2.1", id="an empty pair"),
    pytest.param("for=192.0.2.1,", "192.0.2.1", id="an empty element"),
    pytest.param("for=192.0.2.1;for=6.6.6.6", PEER, id="a name twice"),
    pytest.param("for=unknown", PEER, id="unknown"),
    pytest.param("for=_hidden, for=10.0.0.2", "10.0.0.2", id="obfuscated"),
    pytest.param("proto=https", PEER, id="no address"),
    pytest.param("192.0.2.1", PEER, id="no name"),
    pytest.param("for =192.0.2.1", PEER, id="space in a name"),
    pytest.param('for="192.0.2.1', PEER, id="open quote"),
    pytest.param(";;", PEER, id="empty pairs"),
    pytest.param("", PEER, id="empty"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("value", "host"), FORWARDED)
async def test_forwarded_is_read_in_the_same_way(value, host):
    """RFC 7239 s.4."""
    headers = [("forwarded", value), (FOR, "6.6.6.6")]
    client, _ = await seen(headers, field="forwarded")
    assert client[0] == host


@pytest.mark.anyio
async def test_forwarded_is_ignored_unless_it_is_the_configured_field():
    client, url = await seen([("forwarded", "for=6.6.6.6;proto=https;host=evil")])
    assert (client, url) == ([PEER, 4000], "http://app/")


PROTO, HOST, PREFIX = "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ([(PROTO, "https")], "https://app/"),
        ([(PROTO, "HTTPS")], "https://app/"),
        ([(PROTO, "wss")], "https://app/"),
        ([(PROTO, "ftp")], "http://app/"),
        ([(PROTO, "")], "http://app/"),
        ([(PROTO, "https, http"), (FOR, "192.0.2.1")], "http://app/"),
        ([(PROTO, "https, http"), (FOR, "192.0.2.1, 10.0.0.2")], "https://app/"),
        ([(PROTO, "https"), (FOR, "192.0.2.1, 10.0.0.2")], "https://app/"),
        ([(PROTO, "https"), (FOR, "unknown")], "https://app/"),
        ([(HOST, "example.org")], "http://example.org/"),
        ([(HOST, "evil.org, example.org:8080")], "http://example.org:8080/"),
        ([(HOST, "a b")], "http://app/"),
        ([(HOST, "user@evil.org")], "http://app/"),
        ([(PREFIX, "/api")], "http://app/api/"),
        ([(PREFIX, "/api/v1/")], "http://app/api/v1/"),
        ([(PREFIX, "/")], "http://app/"),
        ([(PREFIX, "api")], "http://app/"),
        ([(PREFIX, "//evil.org")], "http://app/"),
        ([(PREFIX, "/a/../b")], "http://app/"),
        ([(PREFIX, "/a//b")], "http://app/"),
        ([(PREFIX, "/%2e%2e")], "http://app/"),
        ([(PREFIX, "/a?b")], "http://app/"),
        ([(PREFIX, "/a\\b")], "http://app/"),
        ([(PREFIX, "/" + "a" * 300)], "http://app/"),
    ],
    ids=str,
)
async def test_the_url_has_the_reported_scheme_host_and_prefix(headers, url):
    assert (await seen(headers, prefix=True))[1] == url


@pytest.mark.anyio
async def test_an_element_of_forwarded_reports_scheme_and_host_too():
    value = "for=6.6.6.6;host=evil, for=192.0.2.1;proto=https;host=example.org, for=10.0.0.2"
    assert (await seen([("forwarded", value)], field="forwarded"))[1] == "https://example.org/"


@pytest.mark.anyio
async def test_host_and_prefix_are_ignored_by_default():
    headers = [(HOST, "evil.org"), (PREFIX, "/api")]
    assert (await seen(headers, host=False))[1] == "http://app/"


@pytest.mark.anyio
async def test_the_servers_list_of_headers_is_not_changed():
    scope = http_scope(headers=[("host", "app"), (HOST, "example.org")], client=("127.0.0.1", 1))
    headers = scope["headers"]
    before = list(headers)
    app = ProxyHeadersMiddleware(JSONResponse({}), host=True)
    await app(scope, None, _drop)
    assert headers == before
    assert scope["headers"][0] == (b"host", b"example.org")


async def _drop(message):
    pass


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("proto", "scheme"), [("https", "wss"), ("wss", "wss"), ("http", "ws"), ("ws", "ws")]
)
async def test_a_websocket_is_rewritten_too(proto, scheme):
    scope = websocket_scope(headers=[(PROTO, proto), (FOR, "192.0.2.1:5")], client=("::1", 1))
    scope["scheme"] = "wss" if scheme == "ws" else "ws"
    await ProxyHeadersMiddleware(_record)(scope, None, _drop)
    assert (scope["client"], scope["scheme"]) == (("192.0.2.1", 5), scheme)


async def _record(scope, receive, send):
    pass


@pytest.mark.anyio
@pytest.mark.parametrize("peer", [None, "", "unix:/run/app.sock", "/run/app.sock"])
async def test_a_peer_without_an_address_is_trusted_as_unix_only(peer):
    trusting = await seen([(FOR, "192.0.2.1")], peer=peer, trusted=["unix"])
    assert trusting[0] == ["192.0.2.1", 0]
    assert (await seen([(FOR, "192.0.2.1")], peer=peer))[0] != ["192.0.2.1", 0]


FIELD_NAMES = st.sampled_from([FOR, PROTO, HOST, PREFIX, "forwarded", "x-real-ip"])
VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=60),
    st.sampled_from(
        ["127.0.0.1", "for=127.0.0.1;proto=https;host=evil", "https", "/x", "10.0.0.1"]
    ),
)


@given(
    headers=st.lists(st.tuples(FIELD_NAMES, VALUES), max_size=5),
    field=st.sampled_from(["x-forwarded", "forwarded"]),
    hops=st.none() | st.integers(0, 3),
)
def test_no_header_of_an_untrusted_peer_changes_anything(headers, field, hops):
    scope = http_scope(headers=headers, client=("203.0.113.8", 4000))
    before = {**scope, "headers": list(scope["headers"])}
    app = ProxyHeadersMiddleware(
        _record, trusted=TRUSTED, field=field, hops=hops, host=True, prefix=True
    )
    app._rewrite(scope)
    assert scope == before


@given(
    forged=st.lists(VALUES, max_size=4),
    field=st.sampled_from(["x-forwarded", "forwarded"]),
    is_own_line=st.booleans(),
)
def test_no_header_of_the_client_changes_the_address_that_the_proxy_reports(
    forged, field, is_own_line
):
    name, entry = (FOR, "192.0.2.1") if field == "x-forwarded" else (field, "for=192.0.2.1")
    headers = [(name, value) for value in forged]
    if headers and not is_own_line:
        headers[-1] = (name, headers[-1][1] + ", " + entry)  # as nginx appends
    else:
        headers.append((name, entry))
    scope = http_scope(headers=headers, client=(PEER, 4000))
    ProxyHeadersMiddleware(_record, trusted=TRUSTED, field=field)._rewrite(scope)
    assert scope["client"] == ("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"trusted": "*"}, ValueError, "every client could then choose"),
        ({"trusted": ["*"]}, ValueError, "every client could then choose"),
        ({"trusted": "10.0.0.0/8"}, TypeError, "list of strings"),
        ({"trusted": None}, TypeError, "must be a list of strings"),
        ({"trusted": b"10.0.0.0/8"}, TypeError, "must be a list of strings"),
        ({"trusted": [1]}, TypeError, "must be strings"),
        ({"trusted": ["proxy.internal"]}, ValueError, "Names are not resolved"),
        ({"trusted": ["10.0.0.0/33"]}, ValueError, "10.0.0.0/33"),
        ({"hops": -1}, ValueError, "from 0 to 31"),
        ({"hops": 32}, ValueError, "from 0 to 31"),
        ({"hops": True}, TypeError, "hops must be an int"),
        ({"hops": "1"}, TypeError, "hops must be an int"),
        ({"field": "x-real-ip"}, ValueError, "field must be"),
        ({"host": "no"}, TypeError, "host must be True or False"),
        ({"prefix": "/api"}, TypeError, "prefix must be True or False"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        ProxyHeadersMiddleware(report, **options)


@pytest.mark.anyio
@pytest.mark.parametrize("peer", ["10.0.0.2", "::ffff:10.0.0.2"])
async def test_a_network_may_be_written_as_ipv4_within_ipv6(peer):
    """RFC 4291 s.2.5.5.2. A socket for both versions reports IPv4 peers in this form."""
    client, _ = await seen([(FOR, "192.0.2.1")], peer=peer, trusted=["::ffff:10.0.0.0/104"])
    assert client == ["192.0.2.1", 0]


@pytest.mark.parametrize(
    "trusted", [["0.0.0.0/0"], ["::/0"], ["::ffff:0:0/96"], ["10.0.0.0/7"], []], ids=str
)
def test_doubtful_settings_are_warned_about(trusted):
    with pytest.warns(SpicaConfigurationWarning, match="ProxyHeadersMiddleware: trusted"):
        ProxyHeadersMiddleware(report, trusted=trusted)


def test_it_belongs_outermost():
    async def index(request):
        return JSONResponse({})

    recipes = [Middleware(HTTPSRedirectMiddleware), Middleware(ProxyHeadersMiddleware)]
    with pytest.warns(SpicaConfigurationWarning, match="the scheme of the proxy"):
        Spica(routes=[Route("/", index)], middleware=recipes).build_middleware_stack()


def test_an_https_redirect_inside_it_sees_the_scheme_of_the_client():
    async def index(request):
        return JSONResponse(request.client.host)

    recipes = [Middleware(ProxyHeadersMiddleware), Middleware(HTTPSRedirectMiddleware)]
    app = Spica(routes=[Route("/", index)], middleware=recipes)
    client = TestClient(app, client=("127.0.0.1", 1))
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    assert client.get("/", headers=headers).json() == "192.0.2.1"
    assert client.get("/", follow_redirects=False).status_code == 307
