from typing import Any

import anyio
import pytest

from spica.testclient.outbox import WINDOW_BYTES, WINDOW_MESSAGES, Outbox, Watchdog

pytestmark = pytest.mark.anyio


async def test_items_come_in_their_order() -> None:
    outbox = Outbox(Watchdog(), None)
    for item in (1, 2):
        outbox.put(item)
    assert [await outbox.get(), await outbox.get()] == [1, 2]


@pytest.mark.parametrize(
    ("sizes", "is_full"),
    [
        ([0] * (WINDOW_MESSAGES - 1), False),
        ([0] * WINDOW_MESSAGES, True),
        ([WINDOW_BYTES - 1], False),
        ([WINDOW_BYTES], True),
    ],
    ids=["a message below", "all messages", "a byte below", "all bytes"],
)
async def test_the_window_has_two_bounds(sizes: list[int], is_full: bool) -> None:
    outbox = Outbox(Watchdog(), None)
    for size in sizes:
        outbox.put("item", size)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await outbox.wait_for_room()
    assert scope.cancelled_caught is is_full


async def test_reading_makes_room_and_so_does_closing() -> None:
    outbox = Outbox(Watchdog(), None)
    for step in (outbox.get, close_of(outbox)):
        while not outbox._is_full() and not outbox._is_closed:
            outbox.put("item")
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.wait_for_room)
            await anyio.wait_all_tasks_blocked()
            await step()


def close_of(outbox: Outbox) -> Any:
    async def close() -> None:
        outbox.close()

    return close


async def test_the_watchdog_ends_each_wait_with_its_own_seconds() -> None:
    watchdog = Watchdog()
    ended: list[float] = []

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError, match=f"nothing for {seconds:g} seconds"):
            await Outbox(watchdog, None).get(seconds)
        ended.append(seconds)

    async with anyio.create_task_group() as group:
        group.start_soon(watchdog.run)
        async with anyio.create_task_group() as waits:
            for seconds in (0.03, 0.01, 0.02):
                waits.start_soon(wait, seconds)
        group.cancel_scope.cancel()
    assert sorted(ended) == [0.01, 0.02, 0.03]


async def test_an_item_in_time_is_no_timeout() -> None:
    watchdog = Watchdog()
    outbox = Outbox(watchdog, 60)
    async with anyio.create_task_group() as group:
        group.start_soon(watchdog.run)
        await anyio.wait_all_tasks_blocked()
        outbox.put("item")
        assert await outbox.get() == "item"
        group.cancel_scope.cancel()
    assert watchdog._deadlines == {}
