import types
from collections.abc import Iterator

import anyio
import pytest

from spica.testclient.tasks import MARK, current_task, names_of_marked, place_of_wait

pytestmark = pytest.mark.anyio


async def wait_under(mark: object) -> None:
    MARK.set(mark)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever, name="child")


async def test_descendants_of_a_marked_task_are_found() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(wait_under, "here", name="parent")
        group.start_soon(wait_under, "elsewhere", name="other")
        await anyio.wait_all_tasks_blocked()
        names = names_of_marked(lambda mark: mark == "here")
        group.cancel_scope.cancel()
    assert [name.split()[0] for name in names] == ["child", "parent"]


async def test_one_task_can_be_left_out() -> None:
    token = MARK.set("mine")
    try:
        assert len(names_of_marked(lambda mark: mark == "mine")) == 1
        assert names_of_marked(lambda mark: mark == "mine", but=current_task()) == []
    finally:
        MARK.reset(token)


@types.coroutine
def pause() -> Iterator[None]:
    yield


async def inner() -> None:
    await pause()


async def outer() -> None:
    await inner()


def test_the_innermost_line_is_named() -> None:
    coroutine = outer()
    coroutine.send(None)
    place = place_of_wait(coroutine)
    coroutine.close()
    assert "in pause, " in place
    assert __file__ in place


def test_a_task_that_has_ended_has_no_line() -> None:
    assert place_of_wait(None) == "in a task that has not begun or has ended"
