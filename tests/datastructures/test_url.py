"""URLs, and the paths of routes."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.datastructures import URL, Address, URLPath


def scope(path: str = "/p", host: bytes | None = None, **more: Any) -> dict[str, Any]:
    """Make the scope of a request."""
    headers = [] if host is None else [(b"accept", b"*/*"), (b"host", host)]
    return {"type": "http", "path": path, "headers": headers, **more}


def test_a_url_has_components() -> None:
    url = URL("https://user:secret@EXAMPLE.org:8000/path?a=1#top")
    assert (url.scheme, url.netloc) == ("https", "user:secret@EXAMPLE.org:8000")
    assert (url.username, url.password) == ("user", "secret")
    assert (url.hostname, url.port) == ("example.org", 8000)
    assert (url.path, url.query, url.fragment) == ("/path", "a=1", "top")
    assert url.components.path == "/path"


def test_a_relative_url_has_no_host() -> None:
    url = URL("/path")
    assert (url.scheme, url.netloc, url.hostname, url.port) == ("", "", None, None)


@pytest.mark.parametrize(
    ("text", "is_secure"),
    [
        ("https://a", True),
        ("wss://a", True),
        ("HTTPS://a", True),
        ("http://a", False),
        ("/", False),
    ],
)
def test_a_url_is_secure_by_its_scheme(text: str, is_secure: bool) -> None:
    assert URL(text).is_secure is is_secure


def test_the_parts_of_a_url_that_cannot_be_split_are_an_error() -> None:
    url = URL("http://[::1")
    assert str(url) == "http://[::1"
    with pytest.raises(ValueError, match="Invalid IPv6 URL"):
        url.components  # noqa: B018


@pytest.mark.parametrize(
    "sources",
    [
        {"url": "/a", "scope": scope()},
        {"url": "/a", "path": "/b"},
        {"scope": scope(), "path": "/b"},
    ],
    ids=lambda sources: " and ".join(sources),
)
def test_a_url_has_one_source(sources: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^URL takes one of a string, a scope and components"):
        URL(**sources)


@pytest.mark.parametrize("source", [b"/a", 3, None], ids=repr)
def test_a_url_is_made_of_a_string(source: Any) -> None:
    with pytest.raises(TypeError, match=r"^A URL must be a string, not \w+\.$"):
        URL(source)


def test_a_url_is_made_of_a_url() -> None:
    assert URL(URL("/a")) == "/a"


def test_a_url_is_made_of_components() -> None:
    assert URL(scheme="http", hostname="a", port=3, path="b", query="c") == "http://a:3/b?c"
    assert URL(path="/b") == "/b"


def test_urls_are_compared_by_their_text() -> None:
    assert URL("/a") == URL("/a") == "/a"
    assert URL("/a") != URL("/b")
    assert URL("/a") != b"/a"
    assert len({URL("/a"), URL("/a"), "/a"}) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:secret@a/?b", "URL('https://u:********@a/?b')"),
        ("https://:secret@a/", "URL('https://:********@a/')"),
        ("https://u:se:cret@[::1]:8/", "URL('https://u:********@[::1]:8/')"),
        ("https://u:@a/", "URL('https://u:@a/')"),
        ("https://u@a/", "URL('https://u@a/')"),
        ("/a@b:c@d", "URL('/a@b:c@d')"),
        ("http://u:secret@[::1", "URL('********@[::1')"),
    ],
)
def test_a_password_is_not_shown(text: str, shown: str) -> None:
    assert repr(URL(text)) == shown
    assert str(URL(text)) == text


@pytest.mark.parametrize("url", [URL("http://a/b"), URL(scope=scope(host=b"a"))])
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda url: pickle.loads(pickle.dumps(url))]
)
def test_a_url_can_be_copied(url: URL, duplicate: Any) -> None:
    assert duplicate(url) == url
    assert duplicate(url).path == url.path


@pytest.mark.parametrize(
    ("given_scope", "expected"),
    [
        pytest.param(scope(), "/p", id="no host known"),
        pytest.param(scope(server=("h", 80)), "http://h/p", id="default port"),
        pytest.param(scope(server=("h", 8000)), "http://h:8000/p", id="port"),
        pytest.param(scope(server=("h", 443), scheme="https"), "https://h/p", id="https"),
        pytest.param(scope(server=("h", 80), scheme="https"), "https://h:80/p", id="https on 80"),
        pytest.param(scope(server=("h", 80), scheme="ws"), "ws://h/p", id="ws"),
        pytest.param(scope(server=("h", 443), scheme="wss"), "wss://h/p", id="wss"),
        pytest.param(scope(server=("::1", 80)), "http://[::1]/p", id="IPv6"),
        pytest.param(scope(server=("::1", 81)), "http://[::1]:81/p", id="IPv6 and port"),
        pytest.param(scope(server=("h", None)), "http://h/p", id="no port"),
        pytest.param(scope(server=("/run/sock", None)), "/p", id="Unix socket"),
        pytest.param(scope(server=["h", 80]), "http://h/p", id="server as a list"),
        pytest.param(scope(host=b"a:80"), "http://a:80/p", id="Host"),
        pytest.param(scope(host=b"a", server=("h", 1)), "http://a/p", id="Host before server"),
        pytest.param(scope(host=b"a/b", server=("h", 1)), "http://h:1/p", id="malformed Host"),
        pytest.param(scope(host=b"a@b", server=("h", 1)), "http://h:1/p", id="Host with a user"),
        pytest.param(scope(host=b"", server=("h", 1)), "http://h:1/p", id="empty Host"),
        pytest.param(scope(host=b"\xff"), "/p", id="malformed Host, no server"),
        pytest.param(scope(host=b"[::1]:80"), "http://[::1]:80/p", id="Host with IPv6"),
        pytest.param(scope(host=b"a", query_string=b"b=1"), "http://a/p?b=1", id="query"),
        pytest.param(scope(host=b"a", query_string=b""), "http://a/p", id="empty query"),
        pytest.param(scope(host=b"a", query_string=b"\xff"), "http://a/p?%FF", id="query no UTF-8"),
        pytest.param(scope(host=b"a", query_string=b"b#c"), "http://a/p?b%23c", id="query, sign"),
        pytest.param(scope("/r/p", b"a", root_path="/r"), "http://a/r/p", id="mount prefix"),
        pytest.param(scope("/a b/é", b"a"), "http://a/a b/é", id="readable path"),
        pytest.param(scope("/a?b#c\\d", b"a"), "http://a/a%3Fb%23c%5Cd", id="path encoded"),
        pytest.param(scope("/a\udcff", b"a"), "http://a/a%FF", id="path no UTF-8"),
        pytest.param(scope("//x/p", b"a"), "http://a//x/p", id="leading slashes, host"),
        pytest.param(scope("//x/p"), "/%2Fx/p", id="leading slashes, no host"),
        pytest.param(scope("x", b"a"), "http://a/x", id="no leading slash"),
        pytest.param(scope("", b"a"), "http://a", id="empty path"),
        pytest.param({"path": "/p"}, "/p", id="path only"),
    ],
)
def test_a_url_is_made_of_a_scope(given_scope: dict[str, Any], expected: str) -> None:
    assert str(URL(scope=given_scope)) == expected
    # The parts are the same whether they are asked for before or after the text.
    assert URL(scope=given_scope).components == URL(expected).components


def test_a_scope_that_is_changed_later_does_not_change_the_url() -> None:
    changed = scope(host=b"a")
    url = URL(scope=changed)
    changed.update(path="/other", scheme="https", headers=[])
    assert url == "http://a/p"


@given(
    st.text() | st.text().map("/".__add__),
    st.binary(),
    st.lists(st.tuples(st.sampled_from([b"host", b"x"]), st.binary())),
    st.none() | st.just(("h", 80)),
)
def test_no_request_has_no_url(path: str, query: bytes, headers: Any, server: Any) -> None:
    request = {"path": path, "query_string": query, "headers": headers, "server": server}
    url = URL(scope=request)
    assert url.components.scheme in ("", "http")
    assert url.port is None or url.port <= 65535
    hash(url)
    if path.startswith("/"):
        assert URL(str(url)).components == url.components


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ("http://a/b", {"scheme": "https"}, "https://a/b"),
        ("http://a/b", {"netloc": "x:3"}, "http://x:3/b"),
        ("http://a/b", {"path": "c"}, "http://a/c"),
        ("http://a/b", {"query": "c=1"}, "http://a/b?c=1"),
        ("http://a/b", {"fragment": "c"}, "http://a/b#c"),
        ("http://a/b", {"port": 8}, "http://a:8/b"),
        ("http://a:1/b", {"port": None}, "http://a/b"),
        ("http://a:1/b", {"port": "2"}, "http://a:2/b"),
        ("http://a/b", {"port": 0}, "http://a:0/b"),
        ("http://a/b", {"port": 65535}, "http://a:65535/b"),
        ("http://a/b", {"port": "00080"}, "http://a:00080/b"),
        ("http://[::1]/b", {"port": 8}, "http://[::1]:8/b"),
        ("http://[::1]:1/b", {"port": None}, "http://[::1]/b"),
        ("http://:80/b", {"port": 8}, "http://:8/b"),
        ("http://a/b", {"hostname": "::1"}, "http://[::1]/b"),
        ("http://a/b", {"hostname": "::1", "port": 2}, "http://[::1]:2/b"),
        ("http://a/b", {"hostname": "[::1]"}, "http://[::1]/b"),
        ("http://a:1/b", {"hostname": "x"}, "http://x:1/b"),
        ("http://a:1/b", {"hostname": None}, "http://a:1/b"),
        ("http://a:1/b", {"hostname": "x:2"}, "http://x:2/b"),
        ("http://a:1/b", {"hostname": "x:2", "port": None}, "http://x:2/b"),
        ("http://a:1/b", {"hostname": "x:2", "port": 3}, "http://x:3/b"),
        ("http://a/b", {"netloc": "x", "port": 3}, "http://x:3/b"),
        ("http://u:p@a:1/b", {"hostname": "h"}, "http://u:p@h:1/b"),
        ("http://u:p@a:1/b", {"username": "x"}, "http://x:p@a:1/b"),
        ("http://u:p@a:1/b", {"username": None}, "http://a:1/b"),
        ("http://u:p@a:1/b", {"password": None}, "http://u@a:1/b"),
        ("http://u:p@a:1/b", {"password": "q"}, "http://u:q@a:1/b"),
        ("http://a/b", {"username": "x", "password": "q"}, "http://x:q@a/b"),
        ("http://a/b", {"password": "q"}, "http://:q@a/b"),
        ("http://u:@a/b", {"hostname": "h"}, "http://u:@h/b"),
        ("http://a/b", {"username": "x@y/z:"}, "http://x%40y%2Fz%3A@a/b"),
        ("http://a/b", {"username": "x%40"}, "http://x%40@a/b"),
        ("/b", {"hostname": "a", "scheme": "http"}, "http://a/b"),
        ("http://a//x/y", {"scheme": "", "netloc": ""}, "/%2Fx/y"),
        ("http://a/b", {}, "http://a/b"),
        ("http://a/b?c=d#e", {"query": None}, "http://a/b#e"),
        ("http://a/b?c=d#e", {"fragment": None}, "http://a/b?c=d"),
        ("http://a/b", {"netloc": None, "scheme": None}, "/b"),
        ("http://a/b", {"path": None}, "http://a"),
        ("http://a/b", {"netloc": None, "hostname": "c"}, "http://c/b"),
    ],
    ids=str,
)
def test_components_are_replaced(text: str, changes: dict[str, Any], expected: str) -> None:
    url = URL(text)
    assert str(url.replace(**changes)) == expected
    assert str(url) == text


def test_a_replaced_path_may_bring_a_query() -> None:
    url = URL("http://a/b").replace(path="/c?d=1")
    assert (url.path, url.query) == ("/c", "d=1")


def test_a_component_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Got unexpected field names: \['host'\]\. Known names:"):
        URL("http://a/b").replace(host="c")


@pytest.mark.parametrize("hostname", ["a/b", "a?b", "a#b", "u@a", "a\\b", "a b", "a\n"], ids=ascii)
def test_what_is_no_hostname_is_refused(hostname: str) -> None:
    with pytest.raises(ValueError, match="is not a hostname"):
        URL("http://a/b").replace(hostname=hostname)


@pytest.mark.parametrize("port", [-1, 65536, "000080", "a", "1_0", "", "٣"])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(ValueError, match="is not a port: use a number from 0 to 65535"):
        URL("http://a/b").replace(port=port)


def test_a_subclass_makes_its_own() -> None:
    class Special(URL):
        pass

    assert type(Special("/a").replace(path="/b")) is Special


def test_query_params_are_included() -> None:
    assert URL("/b?x=1&y=2&x=3").include_query_params(x=5) == "/b?y=2&x=5"
    assert URL("/b").include_query_params(x="a b", y=None) == "/b?x=a+b&y=None"
    assert URL("/b?x=").include_query_params(y=1) == "/b?x=&y=1"


def test_query_params_are_replaced() -> None:
    assert URL("/b?x=1&y=2").replace_query_params(x=5, z="é") == "/b?x=5&z=%C3%A9"
    assert URL("/b?x=1").replace_query_params() == "/b"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("x", "/b?y=2&xy=4"),
        (["x", "y"], "/b?xy=4"),
        ([], "/b?x=1&y=2&x=3&xy=4"),
        ("xy", "/b?x=1&y=2&x=3"),
    ],
)
def test_query_params_are_removed(keys: Any, expected: str) -> None:
    assert URL("/b?x=1&y=2&x=3&xy=4").remove_query_params(keys) == expected


def test_the_path_may_be_read_from_the_components_only() -> None:
    class Traced(URL):
        path = property(lambda self: self.components.path)  # as a tracing agent replaces it

    assert Traced(scope=scope(host=b"a")).path == "/p"


def test_an_address_is_a_pair() -> None:
    address = Address("127.0.0.1", 80)
    assert address == ("127.0.0.1", 80)
    assert (address.host, address.port) == ("127.0.0.1", 80)


def test_a_url_path_is_a_string_that_knows_more() -> None:
    path = URLPath("/a", protocol="http", host="b")
    assert path == "/a"
    assert (path.protocol, path.host) == ("http", "b")
    assert (URLPath("/a").protocol, URLPath("/a").host) == ("", "")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("//a", "/%2Fa"), ("/\\a", "/%5Ca"), ("\\\\a", "%5C%5Ca"), ("/a//b", "/a//b")],
)
def test_a_url_path_names_no_other_host(path: str, expected: str) -> None:
    assert str(URLPath(path)) == expected


def test_a_url_path_has_a_known_protocol() -> None:
    with pytest.raises(ValueError, match=r"'http', 'websocket' or '', not 'ftp'\.$"):
        URLPath("/a", protocol="ftp")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "base", "expected"),
    [
        pytest.param(URLPath("/a"), "http://h/", "http://h/a", id="plain"),
        pytest.param(URLPath("/a"), "http://h:8/root/", "http://h:8/root/a", id="prefix"),
        pytest.param(URLPath("/a"), "http://h/r?x=1#f", "http://h/r/a", id="base with a query"),
        pytest.param(URLPath("a"), "http://h/r/", "http://h/r/a", id="no slash"),
        pytest.param(URLPath(""), "http://h/r/", "http://h/r", id="empty"),
        pytest.param(URLPath("//a"), "http://h", "http://h/%2Fa", id="two slashes"),
        pytest.param(URLPath("/a", "http"), "https://h", "https://h/a", id="http, secure"),
        pytest.param(URLPath("/a", "http"), "wss://h", "https://h/a", id="http from wss"),
        pytest.param(URLPath("/a", "websocket"), "http://h", "ws://h/a", id="websocket"),
        pytest.param(URLPath("/a", "websocket"), "https://h", "wss://h/a", id="websocket, secure"),
        pytest.param(URLPath("/a", host="x"), "http://h/", "http://x/a", id="own host"),
        pytest.param(URLPath("/a?x=1#f"), "http://h/", "http://h/a?x=1#f", id="query, fragment"),
        pytest.param(URLPath("/a", "http"), "/r/", "/r/a", id="base without a host"),
    ],
)
def test_a_url_path_is_put_behind_a_base(path: URLPath, base: str, expected: str) -> None:
    assert path.make_absolute_url(base) == expected
    assert path.make_absolute_url(URL(base)) == expected
