"""Cookies: the Cookie header of a request, the Set-Cookie header of a response.

RFC 6265 (s.4.1 what a server may send, s.5.4 what a browser sends back), with ``SameSite`` and the
name prefixes of draft-ietf-httpbis-rfc6265bis and ``Partitioned`` (CHIPS). Values that are no plain
text are written in the quoting of `http.cookies`, which every Python server reads.
"""

import datetime
import re
import time

from spica._http.conditional import format_http_date
from spica.exceptions import warn_configuration

# RFC 9110 s.5.6.2: the characters of a token, and ":" which `http.cookies` has always let pass.
_PLAIN = frozenset("!#$%&'*+-.^_`|~:0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_is_plain = _PLAIN.issuperset

# Inside quotes these stand for themselves too; every other character becomes "\ooo".
_PLAIN_IN_QUOTES = _PLAIN.union(" ()/<=>?@[]{}")
_QUOTING = {code: f"\\{code:03o}" for code in range(256) if chr(code) not in _PLAIN_IN_QUOTES}
_QUOTING[ord('"')] = '\\"'
_QUOTING[ord("\\")] = "\\\\"

_QUOTED_CHARACTER = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)

# 1 January 1601 and 1 January 10000 in seconds since 1970
_FIRST_DATE = -11_644_473_600
_LAST_DATE = 253_402_300_800

# draft-ietf-httpbis-rfc6265bis s.5.6: name and value; the "=" between them is not counted
_MAX_SIZE = 4096

# RFC 6265 s.4.1.2.3: a host name, with neither scheme, port nor path
is_domain = re.compile(r"[^/:@\s]+").fullmatch

_SAME_SITE = frozenset({"strict", "lax", "none"})


def parse_cookies(header: str) -> dict[str, str]:
    """Parse a Cookie header into names and values; nothing is refused.

    A piece without ``=`` is a value without a name, as browsers have it; of equal names the last
    one counts. The cost is linear in the length of the header.
    """
    # What browsers send: name=value pairs joined by "; ", without quotes or other white space.
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
    # RFC 6265 s.5.4: pairs are separated by ";" and a space, which not every client sends
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
    """Return what a quoted value means; one that is not quoted as a whole stands for itself."""
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
    """Write the value of a Set-Cookie header.

    Characters that a cookie's value may not have are written in quotes and as octal escapes.
    `max_age` is in seconds, and so is `expires` when it is an int: that many from now.

    Raises:
        TypeError: the value is not text, or `expires` is of no type named above.
        ValueError: a name, path, domain, date or `samesite` that could not be sent or would be
            read as something else: empty or not a token, with ``;`` or a control character.
    """
    # RFC 6265 s.4.1.1: the attributes come in the order in which `http.cookies` has them.
    parts = [f"{_check_name(key)}={_quote(value)}"]
    if domain:
        parts.append(f"Domain={_check_attribute('domain', domain)}")
    if expires not in (None, ""):
        parts.append(f"expires={_format_expires(expires)}")
    if httponly:
        parts.append("HttpOnly")
    if max_age is not None:
        # RFC 6265 s.4.1.1: digits; 0 and less mean "now", s.5.2.2
        parts.append(f"Max-Age={int(max_age)}")
    if partitioned:
        parts.append("Partitioned")
    if path:
        parts.append(f"Path={_check_attribute('path', path)}")
    if samesite is not None:
        parts.append(f"SameSite={_check_samesite(samesite)}")
    if secure:
        parts.append("Secure")
    _warn_if_ignored(key, _what_is_too_much(parts[0], domain))
    if not secure:
        _warn_if_ignored(key, _what_needs_secure(key, samesite, partitioned))
    elif key.startswith("__"):
        _warn_if_ignored(key, _what_host_prefix_needs(key, path, domain))
    return "; ".join(parts)


def _check_name(name: str) -> str:
    # RFC 6265 s.4.1.1: cookie-name = token
    if not name or not _is_plain(name):
        raise ValueError(
            f"{name!r:.80} is not a name for a cookie: "
            "use letters, digits and !#$%&'*+-.^_`|~ only."
        )
    return name


def _quote(value: str) -> str:
    if not isinstance(value, str):
        if value is None:
            raise TypeError("The value of a cookie must be a str, not None: see delete_cookie().")
        if isinstance(value, (bytes, bytearray)):
            raise TypeError("The value of a cookie must be a str, not bytes: decode it first.")
        value = str(value)
    if _is_plain(value) and value:
        return value
    quoted = value.translate(_QUOTING)
    if not quoted.isascii():
        raise ValueError(
            "The value of a cookie has a character outside latin-1. "
            "Encode it first, for example with urllib.parse.quote()."
        )
    return f'"{quoted}"'


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
    # draft-ietf-httpbis-rfc6265bis s.4.1.2.7: three values, without regard to case
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
        f"not {expires!r:.80}."
    )


def _format_date(timestamp: float) -> str:
    # RFC 6265 s.5.1.1: a year has four digits at most, and is 1601 at the earliest.
    if not _FIRST_DATE <= timestamp < _LAST_DATE:
        raise ValueError(
            f"The expires of a cookie is {timestamp!r} seconds since 1970: "
            "it must be a date in the years 1601 to 9999."
        )
    return format_http_date(timestamp)


# draft-ietf-httpbis-rfc6265bis s.4.1.3: the prefixes of names, without regard to case
_HOST_PREFIX = "__host-"
_SECURE_PREFIXES = (_HOST_PREFIX, "__secure-")


def _what_is_too_much(pair: str, domain: str | None) -> str | None:
    if len(pair) - 1 > _MAX_SIZE:
        return f"its name and value have more than {_MAX_SIZE} bytes"
    if domain and not is_domain(domain):
        return f"its domain {domain!r:.80} is no host name"
    return None


def _what_needs_secure(name: str, samesite: str | None, partitioned: bool) -> str | None:
    if samesite is not None and samesite.lower() == "none":
        return "SameSite=None needs secure=True"
    if partitioned:
        return "partitioned=True needs secure=True"
    if name.lower().startswith(_SECURE_PREFIXES):
        return "its name needs secure=True"
    return None


def _what_host_prefix_needs(name: str, path: str | None, domain: str | None) -> str | None:
    if name.lower().startswith(_HOST_PREFIX) and (path != "/" or domain):
        return "its name needs path='/' and no domain"
    return None


def _warn_if_ignored(name: str, reason: str | None) -> None:
    """Warn of a cookie that browsers drop without a word; at the line that calls set_cookie."""
    if reason is not None:
        warn_configuration(f"Browsers ignore the cookie {name!r}: {reason}.")
