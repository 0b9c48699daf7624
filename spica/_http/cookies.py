"""Cookies: the Cookie header of a request and the Set-Cookie header of a response.

Values with special characters use the quoting of `http.cookies`, which every Python server reads.

Standards: RFC 6265 (s.4.1 servers, s.5.4 browsers), draft-ietf-httpbis-rfc6265bis (``SameSite`` and the
name prefixes), CHIPS (``Partitioned``).
"""

import datetime
import re
import time
from typing import Any

from spica.exceptions import warn_configuration

# RFC 9110 s.5.6.2: the characters of a token, and ":", which `http.cookies` has always allowed.
_UNQUOTED = frozenset(
    "!#$%&'*+-.^_`|~:0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_needs_no_quotes = _UNQUOTED.issuperset

# Quoted values may also contain these characters. Every other character becomes "\ooo".
_UNESCAPED = _UNQUOTED.union(" ()/<=>?@[]{}")
_QUOTING = {code: f"\\{code:03o}" for code in range(256) if chr(code) not in _UNESCAPED}
_QUOTING[ord('"')] = '\\"'
_QUOTING[ord("\\")] = "\\\\"

_QUOTED_CHARACTER = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)

# 1 January 1601 and 1 January 10000 in seconds since 1970
_FIRST_DATE = -11_644_473_600
_LAST_DATE = 253_402_300_800

# draft-ietf-httpbis-rfc6265bis s.5.6: bytes of the name and value, without the "=" between them
_MAX_SIZE = 4096

# RFC 6265 s.4.1.2.3: a host name, without a scheme, port or path
is_domain = re.compile(r"[^/:@\s]+").fullmatch

_SAME_SITE = frozenset({"strict", "lax", "none"})


are_changes_shown = False
"""Whether the cookies of a request are ``WatchedCookies``. In production they are a plain dict, which is
faster."""


def show_changes() -> None:
    """Watch the cookies of all requests from now on. The debug mode and the test clients call this."""
    global are_changes_shown
    are_changes_shown = True


class WatchedCookies(dict[str, str]):
    """The cookies of a request. A change shows a warning, because it does not reach the browser.

    A copy of any kind is a plain dict.
    """

    __slots__ = ()

    def __setitem__(self, name: str, value: str) -> None:
        _warn_of_change()
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        _warn_of_change()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def clear(self) -> None:
        """Remove all cookies, and warn."""
        _warn_of_change()
        super().clear()

    def pop(self, *args: Any) -> Any:
        """Remove one cookie and return its value, and warn."""
        _warn_of_change()
        return super().pop(*args)

    def popitem(self) -> tuple[str, str]:
        """Remove the last cookie and return it, and warn."""
        _warn_of_change()
        return super().popitem()

    def setdefault(self, *args: Any) -> Any:
        """Return a cookie. If it is missing, set it and warn."""
        if args[:1] and args[0] not in self:
            _warn_of_change()
        return super().setdefault(*args)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several cookies, and warn."""
        _warn_of_change()
        super().update(*args, **kwargs)


def _warn_of_change() -> None:
    warn_configuration(
        "A change of request.cookies does not reach the browser. Write response.set_cookie(name, value) or "
        "response.delete_cookie(name)."
    )


def parse_cookies(header: str) -> dict[str, str]:
    """Parse a Cookie header into names and values. Every header is accepted, since browsers send anything.

    Without ``=``, a piece is a value with an empty name, as in browsers. The last one of several equal
    names wins. The cost is linear in the length of the header.
    """
    # Fast path for browsers: name=value pairs joined by "; ", without quotes or other white space.
    text = header.replace("; ", ";")
    if '"' in text or " " in text or "\t" in text:
        return _parse_carefully(header)
    cookies: dict[str, str] = {}
    for pair in text.split(";"):
        name, equals, value = pair.partition("=")
        if not name or not equals:
            return _parse_carefully(header)
        cookies[name] = value
    return cookies


def _parse_carefully(header: str) -> dict[str, str]:
    """Parse a Cookie header of any form."""
    cookies: dict[str, str] = {}
    # RFC 6265 s.5.4: ";" and a space separate the pairs. Some clients omit the space.
    for pair in header.split(";"):
        name, equals, value = pair.partition("=")
        if not equals:
            # draft-ietf-httpbis-rfc6265bis s.5.6: no "=" means an empty name
            name, value = "", name
        name = name.strip(" \t")
        value = value.strip(" \t")
        if name or value:
            cookies[name] = _unquote(value)
    return cookies


def _unquote(value: str) -> str:
    """Return the content of a quoted value. Any other value is returned unchanged."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    value = value[1:-1]
    return _QUOTED_CHARACTER.sub(_unquote_character, value) if "\\" in value else value


def _unquote_character(match: re.Match[str]) -> str:
    octal: str | None = match[1]
    return chr(int(octal, 8)) if octal else str(match[2])


def format_set_cookie(
    key: str,
    value: str = "",
    *,
    max_age: int | None = None,
    expires: datetime.datetime | str | int | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool = False,
    httponly: bool = False,
    samesite: str | None = "lax",
    partitioned: bool = False,
) -> str:
    """Format the value of a Set-Cookie header.

    Other characters than those of a token are written as octal escapes in quotes. `max_age` is in seconds.
    An `expires` of type int means that many seconds from now.

    Raises:
        TypeError: The value is not a string, or `expires` has another type than those above.
        ValueError: The name, path, domain, date or `samesite` can't be sent, or clients would read it
            differently: it is empty, not a token, or contains ``;`` or a control character.
    """
    # RFC 6265 s.4.1.1 allows any order. This one is the order of `http.cookies`.
    parts = [f"{_check_name(key)}={_quote(value)}"]
    if domain:
        parts.append(f"Domain={_check_attribute('domain', domain)}")
    if expires not in (None, ""):
        parts.append(f"expires={_format_expires(expires)}")
    if httponly:
        parts.append("HttpOnly")
    if max_age is not None:
        # RFC 6265 s.4.1.1: digits. 0 and negative numbers mean "now" (s.5.2.2).
        parts.append(f"Max-Age={_check_max_age(max_age)}")
    if partitioned:
        parts.append("Partitioned")
    if path:
        parts.append(f"Path={_check_attribute('path', path)}")
    if samesite is not None:
        parts.append(f"SameSite={_check_samesite(samesite)}")
    if secure:
        parts.append("Secure")
    _warn_if_ignored(key, _find_excess(parts[0], domain))
    if not secure:
        _warn_if_ignored(key, _find_missing_secure(key, samesite, partitioned))
    elif key.startswith("__"):
        _warn_if_ignored(key, _find_prefix_conflict(key, path, domain))
    return "; ".join(parts)


def _check_name(name: str) -> str:
    # RFC 6265 s.4.1.1: cookie-name = token
    if not name or not _needs_no_quotes(name):
        raise ValueError(
            f"{name!r:.80} is not a valid cookie name: "
            "use letters, digits and !#$%&'*+-.^_`|~ only."
        )
    return name


def _quote(value: str) -> str:
    if not isinstance(value, str):
        if value is None:
            raise TypeError("The value of a cookie must be a str, not None: see delete_cookie().")
        if isinstance(value, (bytes, bytearray)):
            raise TypeError("The value of a cookie must be a str, not bytes: decode it first.")
        if isinstance(value, (dict, list, tuple, set)):
            raise TypeError(
                f"The value of a cookie must be a str, not {value!r:.80} of type {type(value).__name__}. "
                "Write json.dumps(value), or keep it in request.session."
            )
        value = str(value)
    if _needs_no_quotes(value) and value:
        return value
    quoted = value.translate(_QUOTING)
    if not quoted.isascii():
        raise ValueError(
            "The value of a cookie has a character outside latin-1. "
            "Encode it first, for example with urllib.parse.quote()."
        )
    return f'"{quoted}"'


def _check_max_age(max_age: Any) -> int:
    try:
        return int(max_age)
    except TypeError:
        hint = ""
        if isinstance(max_age, datetime.timedelta):
            hint = f" Write {max_age.total_seconds():.0f}, or int(value.total_seconds())."
        raise TypeError(
            f"The max_age of a cookie must be a number of seconds, not {max_age!r:.80}.{hint}"
        ) from None


def _check_attribute(attribute: str, value: str) -> str:
    # RFC 6265 s.4.1.1: any character except controls and ";"
    if ";" in value or not value.isprintable():
        raise ValueError(
            f"The {attribute} of a cookie is {value!r:.80}: "
            "it must not contain ';' or control characters."
        )
    if not value.isascii():
        raise ValueError(
            f"The {attribute} of a cookie is {value!r:.80}: it must be ASCII. "
            "Percent-encode a path, and write an international domain in its xn-- form."
        )
    return value


def _check_samesite(samesite: str) -> str:
    # draft-ietf-httpbis-rfc6265bis s.4.1.2.7: three values, case-insensitive
    if samesite.lower() not in _SAME_SITE:
        raise ValueError(
            f"samesite must be either 'strict', 'lax' or 'none', not {samesite!r:.40}."
        )
    return samesite


def _format_expires(expires: datetime.datetime | str | int | None) -> str:
    if isinstance(expires, str):
        return _check_attribute("expires", expires)
    if isinstance(expires, datetime.datetime):
        if expires.tzinfo is None:
            raise ValueError(
                f"The expires of a cookie is {expires!r}, which has no time zone. Give it one: "
                "datetime.now(timezone.utc) + timedelta(...)."
            )
        return _format_date(expires.timestamp())
    if isinstance(expires, (int, float)):
        return _format_date(time.time() + expires)
    raise TypeError(
        "The expires of a cookie must be a datetime, a str, or an int of seconds from now, "
        f"not {expires!r:.80}. For a time from now, write max_age=<seconds>."
    )


def _format_date(timestamp: float) -> str:
    # RFC 6265 s.5.1.1: a year has four digits at most, and is 1601 at the earliest.
    if not _FIRST_DATE <= timestamp < _LAST_DATE:
        raise ValueError(
            f"The expires of a cookie is {timestamp!r} seconds since 1970: "
            "it must be a date in the years 1601 to 9999."
        )
    from spica._http.conditional import format_http_date  # on use: few cookies have a date

    return format_http_date(timestamp)


# draft-ietf-httpbis-rfc6265bis s.4.1.3: the prefixes of names are case-insensitive
_HOST_PREFIX = "__host-"
_SECURE_PREFIXES = (_HOST_PREFIX, "__secure-")


def _find_excess(pair: str, domain: str | None) -> str | None:
    if len(pair) - 1 > _MAX_SIZE:
        return f"its name and value have more than {_MAX_SIZE} bytes"
    if domain and not is_domain(domain):
        return f"its domain {domain!r:.80} is not a host name"
    return None


def _find_missing_secure(name: str, samesite: str | None, partitioned: bool) -> str | None:
    if samesite is not None and samesite.lower() == "none":
        return "SameSite=None needs secure=True"
    if partitioned:
        return "partitioned=True needs secure=True"
    if name.lower().startswith(_SECURE_PREFIXES):
        return "its name needs secure=True"
    return None


def _find_prefix_conflict(name: str, path: str | None, domain: str | None) -> str | None:
    if name.lower().startswith(_HOST_PREFIX) and (path != "/" or domain):
        return "its name needs path='/' and no domain"
    return None


def _warn_if_ignored(name: str, reason: str | None) -> None:
    """Warn at the line that calls set_cookie about a cookie that browsers drop silently."""
    if reason is not None:
        warn_configuration(f"Browsers ignore the cookie {name!r}: {reason}.")
