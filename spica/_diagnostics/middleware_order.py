"""Which order of middleware is known to be a mistake.

A middleware says by its ``middleware_traits`` what matters to those beside it; ours do, and classes of
users may. What says nothing is never spoken of. Only layers of one list are compared, when that list is
made into a stack: nothing is paid for a request.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from spica._diagnostics.call_site import UNKNOWN, Place
from spica.exceptions import warn_configuration

ANSWERS = "answers"
"""It answers some requests by itself, without asking the app inside it."""
REDIRECTS = "redirects"
"""Its answers lead to the host that the request names."""
CHECKS_HOST = "checks_host"
"""It refuses requests for hosts that are not ours."""
SESSION = "session"
"""It keeps a session in a cookie."""
CORS = "cors"
"""It writes CORS headers and answers preflights."""
COMPRESSES = "compresses"
"""It compresses bodies."""
ENCRYPTS = "encrypts"
"""It makes bodies that can't be compressed any more: it encrypts them, for example."""
ERROR_LAYER = "error_layer"
"""It is the layer that every application has outermost."""
EXCEPTION_LAYER = "exception_layer"
"""It is the layer that every application has innermost."""


class Rule(NamedTuple):
    """An order that is a mistake: a layer with the trait ``outer`` around one with ``inner``."""

    outer: str
    inner: str
    reason: str


RULES = (
    Rule(
        ANSWERS,
        CORS,
        "{outer} answers some requests by itself: without the headers of {inner} a page that asked sees a "
        "network error, and a preflight, which has no credentials and follows no redirect, fails",
    ),
    Rule(
        SESSION,
        CHECKS_HOST,
        "a session is read and written for hosts that {inner} would refuse",
    ),
    Rule(
        REDIRECTS,
        CHECKS_HOST,
        "{outer} redirects to the host that the client names, before {inner} has looked at it",
    ),
    Rule(
        COMPRESSES,
        ENCRYPTS,
        "what {inner} returns can't be compressed any more: {outer} costs time and saves nothing",
    ),
)

_ALONE = (
    (
        ERROR_LAYER,
        "every application has one outermost already, which then never sees an exception",
    ),
    (EXCEPTION_LAYER, "every application has one innermost already"),
)
_REMEDY = {
    ERROR_LAYER: "Remove it, and give its handler to the application: exception_handlers={500: handler}; "
    "debug is the application's debug=.",
    EXCEPTION_LAYER: "Remove it, and give its handlers to the application: exception_handlers={...}. They "
    "answer what a middleware raises as HTTPException, too.",
}


class OrderProblem(NamedTuple):
    """A layer that stands where it should not."""

    text: str
    """What is wrong, why, and what to do."""
    place: Place | None
    """Where its recipe was written."""
    is_error: bool
    """Whether the application can't be meant to be like this."""


def find_order_problems(recipes: Sequence[Any]) -> Iterator[OrderProblem]:
    """Yield what is wrong with the order of these recipes, the first of which is the outermost."""
    layers = [_Layer(recipe) for recipe in recipes]
    for index, inner in enumerate(layers):
        yield from _find_misplaced(inner)
        for outer in layers[:index]:
            for rule in RULES:
                if rule.outer in outer.traits and rule.inner in inner.traits:
                    yield _wrong_order(outer, inner, rule.reason)
            if outer.key is not None and outer.key == inner.key:
                yield _twice(outer, inner, *outer.key)


class _Layer:
    """What is to be known of one recipe."""

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
        """Return what two layers may not have in common."""
        if CORS in self.traits:
            return CORS, None
        if SESSION in self.traits:
            try:
                options = inspect.signature(self.cls).bind_partial(None, *args, **options).arguments
            except (TypeError, ValueError):
                pass  # what is wrong with them is said when the layer is made
            return SESSION, options.get("session_cookie", "session")
        return None


def traits_of(cls: Any) -> Collection[str]:
    """Return what a middleware says of itself."""
    traits = getattr(cls, "middleware_traits", ())
    is_list = isinstance(traits, Iterable) and not isinstance(traits, (str, bytes))
    return frozenset(trait for trait in traits if isinstance(trait, str)) if is_list else ()


def _find_misplaced(layer: _Layer) -> Iterator[OrderProblem]:
    for trait, reason in _ALONE:
        if trait in layer.traits:
            # A subclass may do something else.
            is_ours = isinstance(layer.cls, type) and "middleware_traits" in vars(layer.cls)
            text = (
                f"{layer.name} does not belong in a list of middleware: {reason}. {_REMEDY[trait]}"
            )
            yield OrderProblem(text, layer.place, is_ours and trait == ERROR_LAYER)


def _wrong_order(outer: _Layer, inner: _Layer, reason: str) -> OrderProblem:
    why = reason.format(outer=outer.name, inner=inner.name)
    head = f"{inner.name} stands inside {outer.name}"
    text = (
        f"{head}: {why}. Put {inner.name} before {outer.name} in the list (add_middleware: add it "
        f"after). {_silence(head)}"
    )
    return OrderProblem(text, inner.place, False)


def _twice(outer: _Layer, inner: _Layer, kind: str, cookie: Any) -> OrderProblem:
    if kind == CORS:
        head = f"{inner.name} stands inside another {outer.name}"
        why = "the outer one answers all preflights, and the settings of the inner one are lost on them"
        remedy = "Keep one."
    else:
        head = f"{inner.name} stands inside another {outer.name} with the cookie {cookie!r}"
        why = "each overwrites what the other has saved"
        remedy = "Keep one, or give each a session_cookie of its own."
    return OrderProblem(f"{head}: {why}. {remedy} {_silence(head)}", inner.place, False)


def _silence(head: str) -> str:
    return f'If it is meant: warnings.filterwarnings("ignore", "{head}").'


def check_order(recipes: Sequence[Any]) -> None:
    """Warn of an order that is known to be a mistake."""
    for problem in find_order_problems(recipes):
        warn_configuration(problem.text, problem.place or UNKNOWN)


def refuse_misplaced(recipes: Sequence[Any], place: str) -> None:
    """Refuse layers that an application has anyway, in the list of ``place``.

    Raises:
        ValueError: there is one.
    """
    for problem in find_order_problems(recipes):
        if problem.is_error:
            where = f" (written at {problem.place})" if problem.place else ""
            raise ValueError(f"{place}: {problem.text}{where}")
