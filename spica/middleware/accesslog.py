"""Log each request when its last byte is sent: ``AccessLogMiddleware``.

A server's own access log has a line when a response starts. It can't know that a download broke off, and it
groups nothing, because it knows paths and not routes. These lines come at the end, with the outcome.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi.scope import REQUEST_ID, get_route_path
from spica._diagnostics.arguments import check_flag, check_strings
from spica.middleware._observing import Observation, ObservingLayer

if TYPE_CHECKING:
    from spica.types import ASGIApp, Scope

__all__ = ["AccessLogMiddleware"]

log = logging.getLogger("spica.access")

_FILE = "accesslog"  # a record splits the path of its file, and a whole one would take 0.3 us more


_LOGGED = "spica.logged"
"""The scope key of a connection that is logged."""


class AccessLogMiddleware(ObservingLayer):
    """Log each request and WebSocket to the logger ``spica.access`` when it is over.

    An entry has the method, path and route, the status, the ``outcome``, the milliseconds until the first
    byte and until the end, the bytes of the body, the client, the user and the request id. The outcome is
    ``done``, ``client_left``, ``broken`` (an error after the response had started) or ``timeout``. Server
    errors, ``broken`` and ``timeout`` have the level WARNING, other entries INFO. Each record also has the
    entry as a dict, ``record.access``.

    The line comes before the background tasks of the response run. Put this layer outside the others, inside
    ``RequestIdMiddleware`` and ``ProxyHeadersMiddleware``, and switch the access log of the server off.

    Args:
        app: The inner app.
        format: ``"text"``, the default, or ``"json"``: the message is then a JSON object.
        skip: Paths that are not logged. The default are the health checks.
        slow_seconds: Log only requests that take at least this time, fail or are cut off. By default, all.
        query: Whether the path has the query string. Off by default: it often has tokens and personal data.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``format`` is unknown, or ``slow_seconds`` is negative.

    Example:
        ``Middleware(AccessLogMiddleware, format="json")``
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        format: Literal["text", "json"] = "text",
        skip: Sequence[str] = ("/livez", "/readyz"),
        slow_seconds: float | None = None,
        query: bool = False,
    ) -> None:
        self.app = app
        if format not in ("text", "json"):
            raise ValueError(
                f"AccessLogMiddleware: format must be 'text' or 'json', not {format!r:.80}."
            )
        check_strings(skip, "AccessLogMiddleware: skip")
        self.format = format
        self.entry_class = _JSONEntry if format == "json" else _Entry
        self.skip = frozenset(skip)
        self.slow_seconds = _check_slow(slow_seconds)
        self.query = bool(check_flag(query, "AccessLogMiddleware: query"))

    def _observe(self, scope: Scope) -> Observation | None:
        path = scope["path"]
        if scope.get("root_path"):
            if _LOGGED in scope:
                return None  # by the application around this mounted one
            path = get_route_path(scope)
        if path in self.skip:
            return None
        scope[_LOGGED] = True
        return _Access(scope, self)


class _Access(Observation):
    """The entry of one connection."""

    layer: AccessLogMiddleware

    def report(self) -> None:
        """Log the entry."""
        outcome = self.outcome
        is_bad = self.status_code >= 500 or outcome in ("broken", "timeout")
        slow_seconds = self.layer.slow_seconds
        is_quick = slow_seconds and self.ended_at - self.began_at < slow_seconds
        if is_quick and not is_bad and outcome == "done":
            return
        level = logging.WARNING if is_bad else logging.INFO
        if not log.isEnabledFor(level):
            return
        entry = self.entry(outcome)
        # Not log.log(): it looks for the calling line, which is always this one.
        make_record = logging.getLogRecordFactory()
        record = make_record(log.name, level, _FILE, 0, entry, (), None)
        record.access = entry
        log.handle(record)

    def entry(self, outcome: str) -> _Entry:
        """Return the values to log. Absent ones are left out."""
        scope = self.scope
        client = scope.get("client")
        path: str = scope["path"]
        if self.layer.query and scope.get("query_string"):
            path += "?" + scope["query_string"].decode("latin-1")
        began_at, ended_at = self.began_at, self.ended_at
        first_byte_at = self.first_byte_at or ended_at
        entry = self.layer.entry_class(
            method=scope.get("method") or "WEBSOCKET",
            path=path,
            route=self.route,
            status=self.status_code,
            outcome=outcome,
            # round() takes twice the time
            first_byte_ms=int((first_byte_at - began_at) * 1e5) / 100,
            total_ms=int((ended_at - began_at) * 1e5) / 100,
            bytes=self.size,
            client=client[0] if client else None,
            user=_user_of(scope) if "user" in scope else None,
            request_id=scope.get(REQUEST_ID),
        )
        if self.error is not None:
            entry["error"] = type(self.error).__name__
        return entry


class _Entry(dict[str, Any]):
    """The values of a record, and its message, which is formatted only if a handler wants it."""

    def __str__(self) -> str:
        words = [
            f"{_printable(self['client'] or '-')} {_printable(self['method'])} "
            f"{_printable(self['path'])} {self['status']}",
            f"{self['outcome']} {self['first_byte_ms']}/{self['total_ms']} ms {self['bytes']} B",
        ]
        for name in ("route", "user", "request_id", "error"):
            if self.get(name) is not None:
                words.append(f"{name}={_printable(self[name])}")
        return " ".join(words)


class _JSONEntry(_Entry):
    """The same, with a JSON object as the message."""

    def __str__(self) -> str:
        return json.dumps({name: value for name, value in self.items() if value is not None})


def _printable(value: str) -> str:
    """Return a string without characters that could forge a line of the log."""
    if value.isascii() and value.isprintable() and " " not in value:
        return value
    return value.encode("unicode_escape").decode("ascii").replace(" ", "\\x20")


def _user_of(scope: Scope) -> str | None:
    """Return the identity of the user that an authentication layer has found."""
    user = scope["user"]
    try:
        return str(user.identity) if user.is_authenticated else None
    except Exception:  # of a user class of another kind, or of a database session that is closed
        return None


def _check_slow(seconds: float | None) -> float | None:
    if seconds is None:
        return None
    place = "AccessLogMiddleware: slow_seconds"
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{place} must be a number of seconds or None, not {seconds!r:.80}.")
    if not seconds >= 0:
        raise ValueError(f"{place} must be 0 or more, not {seconds!r}.")
    return seconds
