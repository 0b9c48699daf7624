"""Layers for the limits of applications, routers, mounts and routes.

A limit that is not set costs nothing. The innermost limit wins, whether it is larger or smaller.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spica._asgi.deadline import DEFAULT_BODY_DEADLINE, BodyDeadline
from spica._asgi.scope import BODY_DEADLINE, FORM_LIMITS
from spica._layers.body_limit import RequestBodyLimitMiddleware, check_body_size
from spica._layers.layer import BaseLayer

if TYPE_CHECKING:
    from spica.formparsers import FormLimits
    from spica.requests import Request
    from spica.types import ASGIApp


def limit_app(
    app: ASGIApp,
    location: str,
    max_body_size: int | float | None,
    form_limits: FormLimits | None,
    body_idle_seconds: float | None = None,
    min_body_rate: float | None = None,
) -> ASGIApp:
    """Return ``app`` inside the layers of its limits. With None, the limit of the layers outside applies.

    Errors begin with ``location``.

    Raises:
        TypeError: A limit has the wrong type.
        ValueError: A size or rate is negative, or a time is not more than 0.
    """
    if body_idle_seconds is not None or min_body_rate is not None:
        app = BodyDeadlineMiddleware(app, body_idle_seconds, min_body_rate, location)
    if form_limits is not None:
        app = FormLimitMiddleware(app, check_form_limits(form_limits, f"{location}: form_limits"))
    if max_body_size is not None:
        app = RequestBodyLimitMiddleware(app, check_body_size(max_body_size, location))
    return app


class BodyDeadlineMiddleware(BaseLayer):
    """Limit the time that clients take to send a request body.

    A client that sends nothing for ``body_idle_seconds`` (30), or less than ``min_body_rate`` bytes per
    second (256) on average after 10 seconds, gets a 408, and the connection is closed (RFC 9110 s.15.5.9).
    Only the time in which the application waits for the client counts. The innermost limit applies.

    Args:
        app: The app inside.
        body_idle_seconds: Seconds without any data. ``math.inf`` removes the limit. With None, the limit of
            the layers outside applies.
        min_body_rate: Bytes per second. 0 and ``math.inf`` remove the limit; None is as above.
        place: The location that error messages begin with, for example the name of the application.

    Raises:
        TypeError: A limit is not a number.
        ValueError: ``body_idle_seconds`` is not more than 0, or ``min_body_rate`` is negative.

    Example:
        ``Middleware(BodyDeadlineMiddleware, body_idle_seconds=10)``
    """

    def __init__(
        self,
        app: ASGIApp,
        body_idle_seconds: float | None = None,
        min_body_rate: float | None = None,
        place: str = "BodyDeadlineMiddleware",
    ) -> None:
        self.app = app
        self.body_idle_seconds = check_idle_seconds(body_idle_seconds, place)
        self.min_body_rate = check_body_rate(min_body_rate, place)

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the inner answer."""
        scope = request.scope
        outer: BodyDeadline = scope.get(BODY_DEADLINE, DEFAULT_BODY_DEADLINE)
        idle_seconds, min_rate = self.body_idle_seconds, self.min_body_rate
        scope[BODY_DEADLINE] = BodyDeadline(
            outer.idle_seconds if idle_seconds is None else idle_seconds,
            outer.min_rate if min_rate is None else min_rate,
        )
        return self._layer_inner.respond(request)


def check_idle_seconds(seconds: float | None, location: str) -> float | None:
    """Return ``seconds`` if they are a valid limit. Errors begin with ``location``."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(
            f"{location}: body_idle_seconds must be a number of seconds or None (math.inf: no limit), "
            f"not {seconds!r:.80}."
        )
    if not seconds > 0:
        raise ValueError(f"{location}: body_idle_seconds must be more than 0, not {seconds!r}.")
    return seconds


def check_body_rate(rate: float | None, location: str) -> float | None:
    """Return ``rate`` if it is valid, and 0 for ``math.inf``. Errors begin with ``location``."""
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise TypeError(
            f"{location}: min_body_rate must be a number of bytes per second or None (0 or math.inf: no "
            f"limit), not {rate!r:.80}."
        )
    if not rate >= 0:
        raise ValueError(f"{location}: min_body_rate must not be negative, but is {rate!r}.")
    return 0 if rate == math.inf else rate


def check_form_limits(limits: FormLimits, location: str) -> FormLimits:
    """Return ``limits`` if they are a FormLimits. Errors begin with ``location``."""
    # Imported here, so that an application without forms starts faster.
    from spica.formparsers import FormLimits

    if not isinstance(limits, FormLimits):
        raise TypeError(f"{location} must be FormLimits(max_files=...), not {limits!r:.80}.")
    return limits


class FormLimitMiddleware(BaseLayer):
    """Set the limits of forms that the layers inside read. The innermost limits win.

    Args:
        app: The app inside.
        limits: The limits. Those that are not set come from the layers outside.

    Raises:
        TypeError: ``limits`` is not a FormLimits.
    """

    def __init__(self, app: ASGIApp, limits: FormLimits) -> None:
        self.app = app
        self.limits = check_form_limits(limits, "FormLimitMiddleware: limits")

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the inner answer."""
        scope = request.scope
        outer = scope.get(FORM_LIMITS)
        scope[FORM_LIMITS] = self.limits if outer is None else _combine(self.limits, outer)
        return self._layer_inner.respond(request)


@lru_cache(maxsize=256)
def _combine(limits: FormLimits, outer: FormLimits) -> FormLimits:
    """Return ``limits``, completed by the outer ones. Cached, because all requests use the same few."""
    return limits.over(outer)
