"""Finding handlers. How they answer: tests/middleware/test_exceptions.py."""

import asyncio
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange

from spica._layers.boundary import ALREADY_STARTED, find_handled, find_handler
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route


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
        exc = ExceptionGroup("unhandled errors in a TaskGroup", [exc])
    assert find_handled(exc, HANDLERS) == (by_class, inner)


@pytest.mark.anyio
async def test_the_group_of_a_task_group_is_recognized() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group():
            raise Base
    assert find_handled(caught.value, HANDLERS) == (by_class, caught.value.exceptions[0])


def test_the_group_of_asyncio_is_recognized() -> None:
    async def fail() -> None:
        async with asyncio.TaskGroup():
            raise Base

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(fail())
    assert find_handled(caught.value, HANDLERS) == (by_class, caught.value.exceptions[0])


def test_a_group_that_the_application_has_made_is_a_group() -> None:
    group = ExceptionGroup("several imports failed", [Base()])
    assert find_handled(group, HANDLERS) == (None, group)


def test_a_group_of_several_is_nobody_s() -> None:
    group = ExceptionGroup("unhandled errors in a TaskGroup", [Base(), Base()])
    assert find_handled(group, HANDLERS) == (None, group)


def test_a_handler_for_groups_gets_the_group() -> None:
    group = ExceptionGroup("tasks", [Base()])
    assert find_handled(group, ({ExceptionGroup: by_class}, {})) == (by_class, group)
