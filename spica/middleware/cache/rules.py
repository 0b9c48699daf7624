"""The rules of a shared cache: which responses it may store, for how long, and for which requests.

All functions are pure decisions.

Standards: RFC 9111 s.3 (storing), s.4 (reuse), s.5.2 (Cache-Control), RFC 5861 (stale responses),
RFC 9110 s.15.1 (status codes), RFC 9211 (Cache-Status).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from spica._asgi.scope import API_KEY, IDENTITY_FIELDS
from spica._http.conditional import PRECONDITION_FIELDS, parse_http_date
from spica.datastructures import Headers
from spica.datastructures.cachecontrol import CacheControl

if TYPE_CHECKING:
    from spica.types import Scope

Fields = list[tuple[bytes, bytes]]

HEURISTIC = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501))
"""Status codes that a cache may store without being told how long (RFC 9110 s.15.1), except 206."""
UNDERSTOOD = HEURISTIC | {302, 303, 307}
"""Status codes that a response with must-understand may have."""
GONE = frozenset((301, 308, 404, 410))
"""Status codes that say that the resource is no longer at this URI."""
FAILURES = frozenset((500, 502, 503, 504))
"""Status codes for which stale-if-error allows a stale response (RFC 5861 s.4)."""

_NOT_STORED = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info"),
        *(b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"age"),
        b"content-length",
    )
)
"""Fields that a cache does not store (RFC 9111 s.3.1). Age and Content-Length are made for each response."""
_Found = dict[bytes, list[bytes]]
_DECISIVE = frozenset((b"cache-control", b"set-cookie", b"vary", b"expires", b"date", b"age"))
_NO_AGE = [b""]
_OF_BODY = frozenset((b"content-length", b"transfer-encoding"))
_CREDENTIALS = IDENTITY_FIELDS | {b"authorization", b"cookie"}
_READ = frozenset((b"host", b"cache-control")) | _CREDENTIALS | _OF_BODY | PRECONDITION_FIELDS
_DIRECTIVE = re.compile(r'([a-z-]+)(?:\s*=\s*"?([^",\s]*))?')


class Question:
    """What a cache must know about a GET or HEAD request.

    Attributes:
        key: the method-independent key of the URI. All parts have their length, so no two URIs share one.
        name: the name of the entry: the key, or a name that includes the varied fields.
        varied: the fields that the responses vary by, if that is known.
        variant_id: changes when the entries of the URI are invalidated.
    """

    __slots__ = (
        "_bucket",
        "_found",
        "_scope",
        "directives",
        "is_varied",
        "key",
        "name",
        "variant_id",
        "varied",
    )

    def __init__(self, scope: Scope) -> None:
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                if name == b"cache-control" and name in found:
                    found[name] += b", " + value
                else:
                    found.setdefault(name, value)
        self._scope = scope
        self._found = found
        self.directives: dict[str, int | None] = {}
        if b"cache-control" in found:
            self.directives = read_directives(found[b"cache-control"].decode("latin-1"))
        host = found.get(b"host", b"").lower()
        path = scope["path"].encode("utf-8", "surrogatepass")
        raw_path = scope.get("raw_path")
        if raw_path and raw_path != path:
            # Both: a layer outside may have changed the path, and applications may read either.
            path = b"%d %b %b" % (len(raw_path), raw_path, path)
        root = scope.get("root_path") or ""
        key = b"%d %b %d %b %b" % (len(host), host, len(path), path, scope["query_string"])
        scheme = scope.get("scheme", "http")
        self.key = f"{scheme} {len(root)} {root} {key.decode('latin-1')}"
        self.name = self.key
        self._bucket = ""
        self.is_varied = False
        self.varied: list[str] = []
        self.variant_id = ""

    @property
    def path(self) -> str:
        """The path, for messages."""
        path: str = self._scope["path"]
        return path

    @property
    def host(self) -> str:
        """The Host field in lower case."""
        return self._found.get(b"host", b"").lower().decode("latin-1")

    @property
    def bucket(self) -> str:
        """The group whose generation shows changes of the URI. A store keeps a limited number of them."""
        if not self._bucket:
            number = zlib.crc32(self.key.encode("utf-8", "surrogatepass")) % 256
            self._bucket = f"change {number}"
        return self._bucket

    @property
    def has_body(self) -> bool:
        """Whether its fields announce a body, which is no part of the key."""
        found = self._found
        return b"transfer-encoding" in found or found.get(b"content-length", b"0") != b"0"

    @property
    def has_conditions(self) -> bool:
        """Whether it asks for a part of the response, or only for a new one."""
        return not PRECONDITION_FIELDS.isdisjoint(self._found)

    @property
    def has_range(self) -> bool:
        """Whether it has a Range field."""
        return b"range" in self._found

    @property
    def has_authorization(self) -> bool:
        """Whether it has an Authorization field."""
        return b"authorization" in self._found

    @property
    def has_credentials(self) -> bool:
        """Whether its response may be for one user: it has credentials or cookies, or a known user."""
        if not _CREDENTIALS.isdisjoint(self._found) or API_KEY in self._scope:
            return True
        user = self._scope.get("user")
        return user is not None and bool(getattr(user, "is_authenticated", True))

    def vary_by(self, names: list[str], variant_id: str) -> None:
        """Set the varied fields, which then are a part of ``name``."""
        self.is_varied, self.varied, self.variant_id = True, names, variant_id
        self.name = f"{variant_id} {self.values_of(names)}"

    def values_of(self, names: list[str]) -> str:
        """Return a digest of the values of these fields (RFC 9111 s.4.1)."""
        headers = Headers(scope=self._scope)
        digest = hashlib.sha256()
        for name in names:
            values = [value.strip() for value in headers.getlist(name)]
            text = repr(", ".join(values) if values else None)
            digest.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def accepts(self, age: float, lifetime: float) -> bool:
        """Return whether the directives of the request allow a response of this age (s.5.2.1)."""
        directives = self.directives
        if "no-cache" in directives:
            return False
        max_age, min_fresh = directives.get("max-age"), directives.get("min-fresh")
        if max_age is not None and age >= max_age:
            return False
        return min_fresh is None or lifetime - age >= min_fresh


class Terms(NamedTuple):
    """How long a response may be used. Times are in seconds, and count from its creation."""

    lifetime: float
    """How long it is fresh."""
    age: float
    """How old it was when the application sent it."""
    while_revalidating: int
    """How long it may be used after that, while a new one is computed."""
    if_failing: int
    """How long it may be used after that, if the application fails."""
    is_default: bool
    """Whether the response does not say how long it is fresh, so ``default_seconds`` applies."""


def read_terms(
    status_code: int,
    raw_headers: Fields,
    question: Question,
    default_seconds: float | None,
    now: float,
) -> Terms | None:
    """Return how long a shared cache may use the response to a GET, or None if it must not store it (s.3)."""
    headers = _read_fields(raw_headers)
    control = _read_control(b", ".join(headers.get(b"cache-control", ())))
    if "no-store" in question.directives or _forbids(control, status_code):
        return None
    if b"set-cookie" in headers or "*" in _names_in(headers.get(b"vary", [])):
        return None
    lifetime = _explicit_lifetime(control, headers, now)
    is_default = lifetime is None
    if lifetime is None:
        if question.has_credentials or not _allows_default(control, headers, status_code):
            return None
        lifetime = default_seconds
        if lifetime is None:
            return None
    elif question.has_authorization and not _allows_authorization(control):
        return None
    return _useful_terms(control, lifetime, _initial_age(headers, now), is_default)


def is_replaced(status_code: int, raw_headers: Fields, question: Question) -> bool:
    """Return whether a new response, which is not stored, makes the stored one invalid (s.4.3.3).

    A response for one user says nothing about the one for all, and neither does one that only the request
    forbids to store.
    """
    is_for_all = not question.has_credentials and "no-store" not in question.directives
    if status_code != 200 or is_for_all:
        return status_code == 200 or status_code in GONE
    headers = _read_fields(raw_headers)
    return _forbids(_read_control(b", ".join(headers.get(b"cache-control", ()))), status_code)


def changed_uris(scope: Scope, raw_headers: Fields) -> list[Question]:
    """Return the URIs that a request has changed: its own, and those that the response names (s.4.4)."""
    question = Question(scope)
    found = [question]
    host = question.host
    for name, value in raw_headers:
        if name in (b"location", b"content-location") and host:
            other = _resolve(scope, host, value.decode("latin-1"))
            if other is not None:
                found.append(other)
    return found


def _resolve(scope: Scope, host: str, reference: str) -> Question | None:
    """Return the URI of a reference, or None if it has another origin."""
    raw_path = scope.get("raw_path")
    base = raw_path.decode("latin-1") if raw_path else quote(scope["path"])
    try:
        parts = urlsplit(urljoin(f"http://{host}{base}", reference))
    except ValueError:
        return None  # it is not a URI
    if parts.netloc.lower() != host or parts.scheme not in ("http", "https"):
        return None
    path = parts.path or "/"
    copy = {**scope, "query_string": parts.query.encode("latin-1"), "path": unquote(path)}
    copy["raw_path"] = path.encode("latin-1") if raw_path else None
    return Question(copy)


def _read_fields(raw_headers: Fields) -> _Found:
    """Return the values of the fields that decide whether a response is stored."""
    found: _Found = {}
    for name, value in raw_headers:
        if name in _DECISIVE:
            found.setdefault(name, []).append(value)
    return found


@lru_cache(256)
def _read_control(value: bytes) -> CacheControl:
    """Return the directives of a response. An application has few different ones."""
    return CacheControl.from_header(value.decode("latin-1"))


def _forbids(control: CacheControl, status_code: int) -> bool:
    """Return whether a response must not be stored, whoever asks (s.3)."""
    if status_code < 200 or status_code in (206, 304) or control.private or control.no_cache:
        return True
    if control.must_understand:  # s.5.2.2.3: it takes precedence over no-store
        return status_code not in UNDERSTOOD
    return control.no_store


def _allows_default(control: CacheControl, headers: _Found, status_code: int) -> bool:
    """Return whether ``default_seconds`` applies. A max-age without a permission is for browsers only."""
    return status_code in HEURISTIC and control.max_age is None and b"expires" not in headers


def _allows_authorization(control: CacheControl) -> bool:
    """Return whether the response to a request with Authorization may be stored (s.3.5)."""
    return control.public or control.s_maxage is not None or control.must_revalidate


def _useful_terms(
    control: CacheControl, lifetime: float, age: float, is_default: bool
) -> Terms | None:
    """Return the terms, or None if the response is of no use already."""
    revalidating = failing = 0
    if not control.must_revalidate and not control.proxy_revalidate:
        revalidating = control.stale_while_revalidate or 0
        failing = control.stale_if_error or 0
    if lifetime + max(revalidating, failing) <= age:
        return None
    return Terms(lifetime, age, revalidating, failing, is_default)


def _explicit_lifetime(control: CacheControl, headers: _Found, now: float) -> float | None:
    """Return the lifetime that the response gives to shared caches (s.4.2.1), or None."""
    if control.s_maxage is not None:
        return control.s_maxage
    if not control.public:
        return None
    if control.max_age is not None:
        return control.max_age
    expires = headers.get(b"expires")
    if not expires:
        return None
    end = parse_http_date(expires[0].decode("latin-1")) if len(expires) == 1 else None
    begin = _date_of(headers)
    # RFC 9111 s.5.3: an invalid date is in the past.
    return max(0, end - (now if begin is None else begin)) if end is not None else 0


def _date_of(headers: _Found) -> float | None:
    dates = headers.get(b"date")
    return parse_http_date(dates[0].decode("latin-1")) if dates else None


def _initial_age(headers: _Found, now: float) -> float:
    """Return the age of a response that has just arrived (s.4.2.3)."""
    if b"age" not in headers and b"date" not in headers:
        return 0
    value = headers.get(b"age", _NO_AGE)[0].partition(b",")[0].strip()
    age = int(value) if value.isdigit() and len(value) < 11 else 0
    date = _date_of(headers)
    # Date has whole seconds, so a response of this second is not older.
    return max(age, now - date - 1 if date is not None else 0, 0)


def vary_of(raw_headers: Fields) -> list[str]:
    """Return the names in Vary, in lower case and in order."""
    return _names_in([value.lower() for name, value in raw_headers if name == b"vary"])


def tags_of(raw_headers: Fields) -> list[str]:
    """Return the names in Cache-Tag."""
    return _names_in([value for name, value in raw_headers if name == b"cache-tag"])


def _names_in(lines: list[bytes]) -> list[str]:
    """Return the names in the lines of a field in order, each once."""
    if not lines:
        return []
    names = b",".join(lines).decode("latin-1").split(",")
    return sorted({name.strip() for name in names} - {""})


def fields_to_store(raw_headers: Fields) -> Fields:
    """Return the fields without Content-Length and those that belong to the connection (s.3.1)."""
    dropped = _NOT_STORED
    for field, value in raw_headers:
        if field == b"connection":
            dropped = dropped | {name.strip().lower() for name in value.split(b",")}
    return [pair for pair in raw_headers if pair[0] not in dropped]


def read_directives(value: str) -> dict[str, int | None]:
    """Return the directives of the Cache-Control of a request, with their numbers."""
    found: dict[str, int | None] = {}
    for match in _DIRECTIVE.finditer(value.lower()):
        digits = match[2] or ""
        is_number = digits.isdecimal() and digits.isascii() and len(digits) < 11
        found[match[1]] = int(digits) if is_number else None
    return found


def note_status(raw_headers: Any, status: str) -> None:
    """Add to Cache-Status what this cache did (RFC 9211 s.2)."""
    raw_headers.append((b"cache-status", b"spica;" + status.encode()))
