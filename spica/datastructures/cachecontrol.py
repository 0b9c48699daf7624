"""The value of the Cache-Control field of a response.

Standards: RFC 9111 s.5.2.2 (directives), RFC 5861 (stale-while-revalidate, stale-if-error), RFC 8246
(immutable).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

_DIRECTIVE = re.compile(r'([!#$%&\'*+.^_`|~\w-]+)(?:=("(?:[^"\\]|\\.)*"|[^\s,;"]*))?', re.ASCII)
_MAX_SECONDS = 2**31
"""RFC 9111 s.1.2.2: a larger number counts as this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheControl:
    """How long caches may keep a response. All times are whole seconds.

    Args:
        public: a shared cache may keep it, even for a request with Authorization.
        private: only the browser may keep it.
        no_cache: a cache must ask the server before each use.
        no_store: no cache may keep it.
        no_transform: a proxy must not change the content, for example compress it.
        must_revalidate: a cache must not use it when it is stale.
        proxy_revalidate: the same, for shared caches only.
        must_understand: only a cache that knows the status code may keep it.
        immutable: the content never changes, so a reload does not ask again.
        max_age: how long it is fresh.
        s_maxage: the same, for shared caches, which then ignore ``max_age``.
        stale_while_revalidate: how long a stale response may be used while the cache gets a new one.
        stale_if_error: how long a stale response may be used if the server fails.

    Raises:
        TypeError: A time is not an int, or another value is not a bool.
        ValueError: A time is negative, or the directives contradict each other.

    >>> str(CacheControl(public=True, max_age=60, stale_while_revalidate=30))
    'public, max-age=60, stale-while-revalidate=30'
    """

    public: bool = False
    private: bool = False
    no_cache: bool = False
    no_store: bool = False
    no_transform: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None

    def __post_init__(self) -> None:
        for name in _SPELLING:
            check = _check_time if name in _TIMES else _check_flag
            check(name, getattr(self, name))
        if self.public and self.private:
            raise ValueError("CacheControl: a response cannot be public and private.")
        if self.private and self.s_maxage is not None:
            raise ValueError(
                "CacheControl: s_maxage is for shared caches, and private excludes them."
            )

    def __str__(self) -> str:
        """Return the value of the field."""
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            name = _SPELLING[field.name]
            if value is True:
                parts.append(name)
            elif value is not None and value is not False:
                parts.append(f"{name}={value}")
        return ", ".join(parts)

    @classmethod
    def from_header(cls, value: str) -> CacheControl:
        """Read the value of a field. Unknown directives are ignored, and of two equal ones the first counts.

        A time that is not a number counts as 0, so the response is stale (RFC 9111 s.4.2.1). ``no-cache`` and
        ``private`` with field names count as without.
        """
        found: dict[str, Any] = {}
        for match in _DIRECTIVE.finditer(value):
            name = _NAMES.get(match[1].lower())
            if name in _TIMES:
                digits = (match[2] or "").strip('"')
                found.setdefault(name, _read_seconds(digits))
            elif name is not None:
                found[name] = True
        if found.get("private"):  # the stricter one of a contradiction
            found.pop("public", None)
            found.pop("s_maxage", None)
        return cls(**found)


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"CacheControl: {name} must be True or False, not {value!r:.80}.")


def _check_time(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"CacheControl: {name} must be whole seconds, not {value!r:.80}.")
    if value < 0:
        raise ValueError(f"CacheControl: {name} must be 0 or more seconds, not {value}.")


def _read_seconds(digits: str) -> int:
    """Return a time in seconds; 0 for a value that is not a number."""
    if not (digits.isdecimal() and digits.isascii()):
        return 0
    significant = digits.lstrip("0") or "0"
    return min(int(significant), _MAX_SECONDS) if len(significant) < 11 else _MAX_SECONDS


_SPELLING = {field.name: field.name.replace("_", "-") for field in fields(CacheControl)}
_NAMES = {spelling: name for name, spelling in _SPELLING.items()}
_TIMES = ("max_age", "s_maxage", "stale_while_revalidate", "stale_if_error")
