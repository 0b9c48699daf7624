"""Whether a response belongs to the request at hand, so that a layer may edit it.

An endpoint or a middleware may return one object for many requests: a module constant, an entry of a cache.
What a layer adds to it for one client (a cookie!) must not reach the next. A response that nobody else
holds can't be returned again; one that somebody holds is copied before it is edited.

CPython counts who holds an object. Where there is no such count, every response is copied.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spica.responses.base import Response


def _no_count(value: object) -> int:
    return sys.maxsize


getrefcount: Callable[[Any], int] = getattr(sys, "getrefcount", _no_count)


def _count_in_function(value: object) -> int:
    return getrefcount(value)


def _count_one_holder() -> tuple[int, int]:
    """Count an object that one variable holds: here, and in a function it is passed to."""
    value: object = type("Sample", (), {})()
    return getrefcount(value), _count_in_function(value)


HELD_HERE, HELD_BY_CALLER = _count_one_holder()
"""The count of an object that one variable of this frame, or of the caller's, holds, and nothing else."""


def own(answer: Response) -> Response:
    """Return ``answer`` if one variable of the caller is all that holds it, else a copy."""
    return answer if getrefcount(answer) <= HELD_BY_CALLER else answer._copy()
