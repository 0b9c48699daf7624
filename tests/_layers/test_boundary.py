"""Finding handlers. How they answer: tests/middleware/test_exceptions.py."""

from typing import Any

import pytest

from spica._layers.boundary import find_handled, find_handler
from spica.exceptions import HTTPException


class Base(Exception):
    pass


class Derived(Base):
    pass


def by_class(request: Any, exc: Exception) -> None: ...


def by_status(request: Any, exc: Exception) -> None: ...


HANDLERS: Any = ({Base: by_class, HTTPException: by_class}, {404: by_status})


@pytest.mark.parametrize(
    ("exc", "handler"),
    [
        (Base(), by_class),
        (Derived(), by_class),
        (HTTPException(404), by_status),
        (HTTPException(403), by_class),
        (ValueError(), None),
    ],
)
def test_handlers_are_found(exc: Exception, handler: Any) -> None:
    assert find_handler(exc, HANDLERS) is handler
    assert find_handler(exc, None) is None


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_group_of_one_is_the_one(depth: int) -> None:
    inner = Base()
    exc: Exception = inner
    for _ in range(depth):
        exc = ExceptionGroup("tasks", [exc])
    assert find_handled(exc, HANDLERS) == (by_class, inner)


def test_a_group_of_several_is_nobody_s() -> None:
    group = ExceptionGroup("tasks", [Base(), Base()])
    assert find_handled(group, HANDLERS) == (None, group)


def test_a_handler_for_groups_gets_the_group() -> None:
    group = ExceptionGroup("tasks", [Base()])
    assert find_handled(group, ({ExceptionGroup: by_class}, {})) == (by_class, group)
