"""Absolute and relative URLs (RFC 3986), and the paths of routes.

A URL of a scope is computed when you first use it: `str()` computes its text, and `components` its parts.
The Host field of a client is used only if it is a valid host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from spica._http.host import format_host, read_host
from spica._http.urls import (
    encode_leading_slashes,
    encode_path,
    encode_query,
    format_query,
    parse_query,
)
from spica.datastructures.multidict import MultiDict

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SECURE = frozenset(("https", "wss"))
_MASK = "********"

# RFC 3986 s.3.2.1: userinfo = *( unreserved / pct-encoded / sub-delims / ":" ). The colon is
# left out: in a name it would begin the password.
_USERINFO_SAFE = "%!$&'()*+,;=-._~"
_NOT_IN_HOST = frozenset("/?#@\\ \t\r\n\0")


_Pieces = tuple[str, str, str, str]
"""Scheme, netloc, path and query."""


class Address(NamedTuple):
    """The host and port of a peer.

    >>> Address("127.0.0.1", 8000).port
    8000
    """

    host: str
    port: int


class URL:
    """A URL, with methods that return changed copies.

    A URL compares equal to the same string and has the same hash. Its `repr()` hides the password.

    Args:
        url: The URL as a string, or another URL.
        scope: The ASGI scope of a connection.
        **components: The components that `replace` accepts.

    Raises:
        TypeError: More than one source is given, or a component is unknown.

    >>> url = URL("https://example.org/search?q=a")
    >>> url.hostname, url.path
    ('example.org', '/search')
    >>> url.include_query_params(page=2)
    URL('https://example.org/search?q=a&page=2')"""

    _text: str | None
    _pieces: _Pieces | None
    _parts: SplitResult | None
    _source: Any  # the values of the scope that the URL depends on

    def __init__(
        self, url: str | URL = "", scope: Mapping[str, Any] | None = None, **components: Any
    ) -> None:
        self._text = self._pieces = self._parts = self._source = None
        if scope is not None:
            if url or components:
                raise _too_many_sources()
            # Inner layers may change the scope, so the values are copied at once.
            self._source = _source_of(scope)
        elif components:
            if url:
                raise _too_many_sources()
            self._text = _join(_replace(SplitResult("", "", "", "", ""), components))
        elif isinstance(url, (str, URL)):
            self._text = str(url)
        else:
            raise TypeError(f"A URL must be a string, not {type(url).__name__}.")

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the cached parts: Python 3.15 can't pickle a constructed ``SplitResult``."""
        return {**self.__dict__, "_parts": None}

    @property
    def _url(self) -> str:
        """The URL as a string. Subclasses may set it without calling ``__init__``."""
        return str(self)

    @_url.setter
    def _url(self, url: str) -> None:
        self._text, self._pieces, self._parts, self._source = url, None, None, None

    def _is_of(
        self, scope: Mapping[str, Any], path: str | None = None, query: bytes | None = None
    ) -> bool:
        """Return whether the URL still matches the scope, or the scope with another path and query.

        A URL that does not come from a scope was assigned by hand and never becomes outdated.
        """
        source = self._source
        if source is None:
            return True
        if path is None:
            path, query = scope["path"], scope.get("query_string")
        # Other code may have edited the header list in place, so it is compared with a copy. That is fast,
        # because the pairs are nearly always the same objects.
        now = (
            scope.get("scheme", "http"),
            scope.get("headers", ()),
            scope.get("server"),
            path,
            query,
        )
        return bool(source == now)

    def _read(self) -> _Pieces:
        """Return the parts of the URL from the scope, and compute them once."""
        pieces = self._pieces
        if pieces is None:
            pieces = self._pieces = _read_source(*self._source)
        return pieces

    @property
    def components(self) -> SplitResult:
        """The five parts of the URL, as `urllib.parse.urlsplit` returns them.

        Raises:
            ValueError: The string of the URL can't be split.
        """
        parts = self._parts
        if parts is None:
            if self._text is not None and self._pieces is None:
                parts = urlsplit(self._text)
            else:
                parts = SplitResult(*self._read(), "")
            self._parts = parts
        return parts

    @property
    def scheme(self) -> str:
        """The scheme, in lower case, or an empty string."""
        return self.components.scheme

    @property
    def is_secure(self) -> bool:
        """Whether the scheme is https or wss."""
        return self.scheme in _SECURE

    @property
    def netloc(self) -> str:
        """User, host and port as written in the URL."""
        return self.components.netloc

    @property
    def hostname(self) -> str | None:
        """The host in lower case. An IPv6 address has no brackets."""
        return self.components.hostname

    @property
    def port(self) -> int | None:
        """The port, or None if the URL has none.

        Raises:
            ValueError: It is not a number from 0 to 65535.
        """
        return self.components.port

    @property
    def username(self) -> str | None:
        """The user name, undecoded."""
        return self.components.username

    @property
    def password(self) -> str | None:
        """The password, undecoded."""
        return self.components.password

    @property
    def path(self) -> str:
        """The path, including the mount prefix."""
        return self.components.path

    @property
    def query(self) -> str:
        """The part after the question mark, undecoded."""
        return self.components.query

    @property
    def fragment(self) -> str:
        """The part after the number sign."""
        return self.components.fragment

    def replace(self, **kwargs: Any) -> URL:
        """Return a URL with other components.

        Args:
            **kwargs: `scheme`, `netloc`, `path`, `query`, `fragment`, or a part of the netloc: `username`,
                `password`, `hostname`, `port`. None removes a component.

        Raises:
            TypeError: A component is unknown.
            ValueError: The hostname or the port is invalid.
        """
        return type(self)(_join(_replace(self.components, kwargs)))

    def include_query_params(self, **kwargs: Any) -> URL:
        """Return a URL with these query parameters added. Parameters of the same name are replaced."""
        params = MultiDict(parse_query(self.query))
        params.update({name: str(value) for name, value in kwargs.items()})
        return self.replace(query=format_query(params.multi_items()))

    def replace_query_params(self, **kwargs: Any) -> URL:
        """Return a URL with exactly these query parameters."""
        return self.replace(query=format_query((k, str(v)) for k, v in kwargs.items()))

    def remove_query_params(self, keys: str | Sequence[str]) -> URL:
        """Return a URL without these query parameters."""
        removed = {keys} if isinstance(keys, str) else set(keys)
        kept = [pair for pair in parse_query(self.query) if pair[0] not in removed]
        return self.replace(query=format_query(kept))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (str, URL)) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        text = self._text
        if text is None:
            scheme, netloc, path, query = self._read()
            text = self._text = _write(scheme, netloc, path, query)
        return text

    def __repr__(self) -> str:
        text = str(self)
        if "@" in text:
            text = _mask_password(text)
        return f"{type(self).__name__}({text!r})"


class URLPath(str):
    """The path of a route, with the protocol and host that its URL needs.

    A second leading slash and backslashes are encoded, because browsers would read them as another host.

    Args:
        path: The path.
        protocol: `"http"`, `"websocket"`, or `""` for that of the base URL.
        host: The host with its port, or `""` for that of the base URL.

    Raises:
        ValueError: The protocol is invalid.

    >>> URLPath("/users/1").make_absolute_url("https://example.org/")
    URL('https://example.org/users/1')
    """

    protocol: Literal["http", "websocket", ""]
    host: str

    def __new__(
        cls, path: str, protocol: Literal["http", "websocket", ""] = "", host: str = ""
    ) -> URLPath:
        """Check the protocol and encode the path."""
        if protocol not in ("", "http", "websocket"):
            raise ValueError(f"protocol must be 'http', 'websocket' or '', not {protocol!r}.")
        self = super().__new__(cls, encode_leading_slashes(path).replace("\\", "%5C"))
        self.protocol = protocol
        self.host = host
        return self

    def __init__(
        self, path: str, protocol: Literal["http", "websocket", ""] = "", host: str = ""
    ) -> None:
        """Do nothing: `__new__` has made the string."""

    def make_absolute_url(self, base_url: str | URL) -> URL:
        """Append the path to a base URL. A protocol or host of this path replaces that of the base."""
        base = base_url if isinstance(base_url, URL) else URL(base_url)
        parts = base.components
        scheme = parts.scheme
        if self.protocol:
            insecure, secure = ("http", "https") if self.protocol == "http" else ("ws", "wss")
            scheme = secure if scheme in _SECURE else insecure
        path = str(self)
        if path and path[0] != "/":
            path = "/" + path
        return URL(_write(scheme, self.host or parts.netloc, parts.path.rstrip("/") + path, ""))


class UnlistedPath(URLPath):
    """The path of a static file that is missing in the manifest of its build.

    It is an ordinary path in production. In debug mode, ``url_for`` raises ``error``.
    """

    error: Exception


def _too_many_sources() -> TypeError:
    return TypeError(
        "URL takes one of a string, a scope and components, but more than one was given."
    )


def _source_of(scope: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values of a scope that its URL depends on: the arguments of `_read_source`."""
    headers = scope.get("headers", ())
    if type(headers) is not list and isinstance(scope, MutableMapping):
        headers = scope["headers"] = list(headers)  # ASGI allows any iterable, even an iterator
    return (
        scope.get("scheme", "http"),
        headers[:],
        scope.get("server"),
        scope["path"],
        scope.get("query_string"),
    )


def _read_source(
    scheme: str,
    headers: Iterable[tuple[bytes, bytes]],
    server: tuple[str, int | None] | None,
    path: str,
    query_string: bytes | None,
) -> _Pieces:
    """Return the parts of the URL of a scope. Without a known host, the URL is relative."""
    # RFC 9110 s.7.2: the Host field names the authority. An invalid one is ignored.
    netloc = read_host(headers) or _server_netloc(scheme, server)
    path = encode_path(path)
    if not netloc:
        scheme, path = "", encode_leading_slashes(path)
    elif path and path[0] != "/":
        path = "/" + path  # RFC 3986 s.3.3: after an authority, a path begins with a slash
    return scheme, netloc, path, encode_query(query_string) if query_string else ""


def _write(scheme: str, netloc: str, path: str, query: str) -> str:
    text = f"{scheme}://{netloc}{path}" if netloc else path
    return f"{text}?{query}" if query else text


def _server_netloc(scheme: str, server: Any) -> str:
    if server is None:
        return ""
    host, port = server
    if port == _DEFAULT_PORTS.get(scheme):
        port = None
    elif port is None and "/" in host:
        return ""  # a Unix socket has no address that fits in a URL
    return format_host(host, port)


def _join(parts: SplitResult) -> str:
    if not parts.netloc:
        parts = parts._replace(path=encode_leading_slashes(parts.path))
    return urlunsplit(parts)


def _replace(parts: SplitResult, changes: dict[str, Any]) -> SplitResult:
    """Replace components, including the parts of the netloc."""
    known = [*_NETLOC_PARTS, *SplitResult._fields]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise TypeError(f"Got unexpected field names: {unknown!r}. Known names: {sorted(known)!r}.")
    whole = {
        name: "" if value is None else str(value)
        for name, value in changes.items()
        if name not in _NETLOC_PARTS
    }
    within = {name: value for name, value in changes.items() if name in _NETLOC_PARTS}
    if within:
        whole["netloc"] = _replace_netloc(whole.get("netloc", parts.netloc), within)
    return parts._replace(**whole)


_NETLOC_PARTS = ("username", "password", "hostname", "port")


def _replace_netloc(netloc: str, changes: dict[str, Any]) -> str:
    """Replace parts of `[user[:password]@]host[:port]` (RFC 3986 s.3.2)."""
    userinfo, at, rest = netloc.rpartition("@")
    if "username" in changes or "password" in changes:
        userinfo, at = _replace_userinfo(userinfo, at, changes)
    host, port = _split_port(rest)
    if changes.get("hostname") is not None:
        host, own_port = _split_port(_check_hostname(changes["hostname"]))
        port = own_port or port
        if own_port and changes.get("port") is None:
            return f"{userinfo}{at}{host}{own_port}"
    if "port" in changes:
        port = _format_port(changes["port"])
    return f"{userinfo}{at}{host}{port}"


def _split_port(text: str) -> tuple[str, str]:
    """Split `host:port` into the host and the port with its colon."""
    # RFC 3986 s.3.2.2: colons inside the brackets of an IP-literal do not begin a port.
    colon = text.find(":", text.rfind("]") + 1)
    return (text, "") if colon < 0 else (text[:colon], text[colon:])


def _replace_userinfo(userinfo: str, at: str, changes: dict[str, Any]) -> tuple[str, str]:
    name, colon, password = userinfo.partition(":")
    username: str | None = name if at else None
    secret: str | None = password if colon else None
    if "username" in changes:
        username = changes["username"]
        if username is None:
            secret = None  # a password needs a user name
    if "password" in changes:
        secret = changes["password"]
    if username is None and secret is None:
        return "", ""
    text = quote(str(username or ""), safe=_USERINFO_SAFE)
    if secret is not None:
        text = f"{text}:{quote(str(secret), safe=_USERINFO_SAFE + ':')}"
    return text, "@"


def _check_hostname(hostname: Any) -> str:
    text = str(hostname)
    if not _NOT_IN_HOST.isdisjoint(text):
        raise ValueError(
            f"{text!r:.100} is not a hostname: remove blanks and the characters '/?#@\\'."
        )
    return format_host(text)


def _format_port(port: Any) -> str:
    if port is None:
        return ""
    text = str(port)
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f"{text!r:.100} is not a port: use a number from 0 to 65535.")
    return f":{text}"


def _mask_password(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return _MASK + text[text.rindex("@") :]  # can't be split, but may contain a password
    if not parts.password:
        return text
    userinfo, _, rest = parts.netloc.rpartition("@")
    masked = f"{userinfo.partition(':')[0]}:{_MASK}@{rest}"
    return text.replace(parts.netloc, masked, 1)
