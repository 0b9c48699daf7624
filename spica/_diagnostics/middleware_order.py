"""Find mistakes in the order of middleware.

A middleware class declares in ``middleware_traits`` the properties that matter for the order. Ours do, and
users' classes can. Middleware without traits is never reported. The rules compare the layers of one list when
the stack is built, so they cost nothing per request.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from spica._diagnostics.call_site import UNKNOWN, Place
from spica.exceptions import warn_configuration

ANSWERS = "answers"
"""It answers some requests itself, without calling the inner app."""
REDIRECTS = "redirects"
"""It redirects to the host that the request names."""
CHECKS_HOST = "checks_host"
"""It refuses requests for unknown hosts."""
CHECKS_ORIGIN = "checks_origin"
"""It refuses requests that pages of other origins have started."""
SECURITY_HEADERS = "security_headers"
"""It writes headers such as Content-Security-Policy."""
SESSION = "session"
"""It keeps a session in a cookie."""
CORS = "cors"
"""It writes CORS headers and answers preflights."""
COMPRESSES = "compresses"
"""It compresses bodies."""
CACHES = "caches"
"""It stores responses, and answers other requests with them."""
REPLAYS = "replays"
"""It answers the repetition of a request with the stored response for the same sender."""
AUTHENTICATES = "authenticates"
"""It sets ``request.user`` and ``request.auth``."""
IDENTIFIES = "identifies"
"""It gives each request an id of its own."""
ENCRYPTS = "encrypts"
"""Its bodies can't be compressed, for example because it encrypts them."""
READS_PROXY = "reads_proxy"
"""It learns the client's address, scheme and host from trusted proxies."""
ERROR_LAYER = "error_layer"
"""It is the outermost layer that every application already has."""
EXCEPTION_LAYER = "exception_layer"
"""It is the innermost layer that every application already has."""


RULES = (
    (
        ANSWERS,
        CORS,
        "{outer} answers some requests itself. Without the headers of {inner}, the page sees a network error "
        "instead of the answer, and a preflight, which sends no credentials and follows no redirect, fails",
    ),
    (
        ANSWERS,
        SECURITY_HEADERS,
        "{outer} answers some requests itself, and these answers lack the headers of {inner}",
    ),
    (
        SESSION,
        CHECKS_HOST,
        "{outer} reads and writes a session for hosts that {inner} would refuse",
    ),
    (
        REDIRECTS,
        CHECKS_HOST,
        "{outer} redirects to the host that the client names, before {inner} has checked it",
    ),
    (
        SESSION,
        CACHES,
        "{inner} does not see the cookies of {outer}, so it can store the response of one user for another",
    ),
    (
        CACHES,
        COMPRESSES,
        "{outer} stores a compressed copy for each coding, and can't answer a client that accepts none "
        "of them",
    ),
    (
        CACHES,
        IDENTIFIES,
        "{outer} stores the id of one request, and sends it in the response to others",
    ),
    (
        REPLAYS,
        SESSION,
        "{outer} does not see the users of {inner}, so it can replay the response of one user to another",
    ),
    (
        REPLAYS,
        AUTHENTICATES,
        "{outer} does not see the users of {inner}, so it can replay the response of one user to another",
    ),
    (
        COMPRESSES,
        ENCRYPTS,
        "the bodies of {inner} can't be compressed, so {outer} costs time and saves nothing",
    ),
)
"""Wrong orders: a trait of a layer, a trait of a layer inside it, and the reason."""

_BEFORE_PROXY = (
    "{outer} sees the address and the scheme of the proxy instead of those of the client. A redirect to "
    "HTTPS, for example, then never ends"
)
_ALONE = (
    (
        ERROR_LAYER,
        "every application already has one as its outermost layer, which would then never see an exception",
    ),
    (EXCEPTION_LAYER, "every application already has one as its innermost layer"),
)
_REMEDY = {
    ERROR_LAYER: "Remove it, and pass its handler to the application: exception_handlers={500: handler}. "
    "Pass debug=True to the application, too.",
    EXCEPTION_LAYER: "Remove it, and pass its handlers to the application: exception_handlers={...}. They "
    "also answer an HTTPException that a middleware raises.",
}


class OrderProblem(NamedTuple):
    """A layer in a wrong position."""

    text: str
    """The message: the mistake, its reason and the fix."""
    place: Place | None
    """The line that created its recipe."""
    is_error: bool
    """Whether this is always a mistake and must stop the application."""


def find_order_problems(recipes: Sequence[Any]) -> Iterator[OrderProblem]:
    """Yield the mistakes in the order of ``recipes``. The first recipe is the outermost layer."""
    layers = [_Layer(recipe) for recipe in recipes]
    for index, inner in enumerate(layers):
        yield from _find_misplaced(inner)
        for outer in layers[:index]:
            for reason in _reasons_against(outer.traits, inner.traits):
                yield _wrong_order(outer, inner, reason)
            if outer.key is not None and outer.key == inner.key:
                yield _twice(outer, inner, *outer.key)


def _reasons_against(outer: Collection[str], inner: Collection[str]) -> Iterator[str]:
    for outer_trait, inner_trait, reason in RULES:
        if outer_trait in outer and inner_trait in inner:
            yield reason
    # Every layer with traits reads the client's request. OpenTelemetry has none, and may be further out. A
    # layer for request ids must be: it trusts the proxy, and not the client.
    if READS_PROXY in inner and outer and not {READS_PROXY, IDENTIFIES} & set(outer):
        yield _BEFORE_PROXY


class _Layer:
    """The properties of one recipe that the rules compare."""

    def __init__(self, recipe: Any) -> None:
        cls, args, options = recipe
        while isinstance(cls, functools.partial):
            options = {**cls.keywords, **options}
            cls = cls.func
        self.cls = cls
        self.name: str = getattr(cls, "__name__", None) or type(cls).__name__
        self.place: Place | None = getattr(recipe, "_place", None)
        self.traits: Collection[str] = traits_of(cls)
        self.key = self._find_key(args, options)

    def _find_key(self, args: Sequence[Any], options: dict[str, Any]) -> tuple[str, Any] | None:
        """Return a key that must be unique among the layers of a list, or None."""
        for trait in (CORS, COMPRESSES):
            if trait in self.traits:
                return trait, None
        if SESSION in self.traits:
            try:
                options = inspect.signature(self.cls).bind_partial(None, *args, **options).arguments
            except (TypeError, ValueError):
                pass  # creating the layer raises the error
            return SESSION, options.get("session_cookie", "session")
        return None


def traits_of(cls: Any) -> Collection[str]:
    """Return the traits that a middleware class declares."""
    traits = getattr(cls, "middleware_traits", ())
    is_list = isinstance(traits, Iterable) and not isinstance(traits, (str, bytes))
    return frozenset(trait for trait in traits if isinstance(trait, str)) if is_list else ()


def _find_misplaced(layer: _Layer) -> Iterator[OrderProblem]:
    for trait, reason in _ALONE:
        if trait in layer.traits:
            # A subclass may behave differently, so it only gets a warning.
            is_ours = isinstance(layer.cls, type) and "middleware_traits" in vars(layer.cls)
            text = (
                f"{layer.name} does not belong in a list of middleware: {reason}. {_REMEDY[trait]}"
            )
            yield OrderProblem(text, layer.place, is_ours and trait == ERROR_LAYER)


def _wrong_order(outer: _Layer, inner: _Layer, reason: str) -> OrderProblem:
    why = reason.format(outer=outer.name, inner=inner.name)
    head = f"{inner.name} is inside {outer.name}"
    text = (
        f"{head}: {why}. Put {inner.name} before {outer.name} in the list (add_middleware: add it "
        f"after). {_silence(head)}"
    )
    return OrderProblem(text, inner.place, False)


def _twice(outer: _Layer, inner: _Layer, kind: str, cookie: Any) -> OrderProblem:
    if kind == CORS:
        head = f"{inner.name} is inside another {outer.name}"
        why = "the outer one answers all preflights, so the settings of the inner one do not apply to them"
        remedy = "Keep one."
    elif kind == COMPRESSES:
        head = f"{inner.name} is inside another layer that compresses, {outer.name}"
        why = "only the inner one compresses"
        remedy = "Keep one."
    else:
        head = f"{inner.name} is inside another {outer.name} with the cookie {cookie!r}"
        why = "each overwrites the session that the other has saved"
        remedy = "Keep one, or give each its own session_cookie."
    return OrderProblem(f"{head}: {why}. {remedy} {_silence(head)}", inner.place, False)


def _silence(head: str) -> str:
    return f'If this is intended: warnings.filterwarnings("ignore", "{head}").'


def check_order(recipes: Sequence[Any]) -> None:
    """Show a warning for each mistake in the order of ``recipes``."""
    for problem in find_order_problems(recipes):
        warn_configuration(problem.text, problem.place or UNKNOWN)


def refuse_misplaced(recipes: Sequence[Any], place: str) -> None:
    """Refuse layers that every application already has. Errors name ``place``, the owner of the list.

    Raises:
        ValueError: the list has such a layer.
    """
    for problem in find_order_problems(recipes):
        if problem.is_error:
            where = f" (created at {problem.place})" if problem.place else ""
            raise ValueError(f"{place}: {problem.text}{where}")
