import types
from collections.abc import Iterator

from spica.testclient.locating import place_of_wait


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
