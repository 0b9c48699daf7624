"""The limits that applications, routers, mounts and routes are given, as layers around their apps.

What is not given costs nothing. The limit set furthest in wins, whether larger or smaller.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import FORM_LIMITS
from spica._layers.body_limit import RequestBodyLimitMiddleware, check_body_size
from spica._layers.responder import Responder

if TYPE_CHECKING:
    from spica.formparsers import FormLimits
    from spica.requests import Request
    from spica.types import ASGIApp


def limit_app(
    app: ASGIApp,
    place: str,
    max_body_size: int | float | None,
    form_limits: FormLimits | None,
) -> ASGIApp:
    """Return ``app`` within the limits that ``place`` was given; None stands for none.

    Raises:
        TypeError: ``form_limits`` are none.
    """
    if form_limits is not None:
        app = FormLimitMiddleware(app, check_form_limits(form_limits, f"{place}: form_limits"))
    if max_body_size is not None:
        app = RequestBodyLimitMiddleware(app, check_body_size(max_body_size, place))
    return app


def check_form_limits(limits: FormLimits, place: str) -> FormLimits:
    """Return ``limits`` if they are some; errors name ``place``."""
    from spica.formparsers import FormLimits  # here: an application without forms starts without it

    if not isinstance(limits, FormLimits):
        raise TypeError(f"{place} must be FormLimits(max_files=...), not {limits!r:.80}.")
    return limits


class FormLimitMiddleware(Responder):
    """Set the limits of forms that are read further in; those set furthest in win.

    Raises:
        TypeError: ``limits`` are no ``FormLimits``.
    """

    def __init__(self, app: ASGIApp, limits: FormLimits) -> None:
        self.app = app
        self.limits = check_form_limits(limits, "FormLimitMiddleware: limits")

    def _layer_respond(self, request: Request[Any]) -> Awaitable[ASGIApp]:
        """Return the inner answer."""
        scope = request.scope
        outer = scope.get(FORM_LIMITS)
        scope[FORM_LIMITS] = self.limits if outer is None else _combine(self.limits, outer)
        return self._layer_ask(request)


@lru_cache(maxsize=256)
def _combine(limits: FormLimits, outer: FormLimits) -> FormLimits:
    """Return ``limits`` over those set further out: the same few for all requests."""
    return limits.over(outer)
