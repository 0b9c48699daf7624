"""Sending to a WebSocket through a bounded queue."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from socket_kit import Peer
from virtual_time import run_in_virtual_time

from spica.websockets import Outbox, WebSocketDisconnect

pytestmark = pytest.mark.anyio

InTime = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(params=["asyncio", "trio"])
def in_time(request: pytest.FixtureRequest) -> InTime:
    """Run an async function where sleeping takes no time, on each event loop."""
    return partial(run_in_virtual_time, request.param)


async def test_messages_are_sent_in_order_and_the_rest_at_the_end() -> None:
    peer = Peer()
    async with Outbox(await peer.accepted()) as outbox:
        assert outbox.put("a")
        await anyio.wait_all_tasks_blocked()
        assert peer.texts == ["a"]
        assert outbox.put(b"b")
        assert outbox.put_json({"c": 1})
        assert (len(outbox), outbox.size) == (2, 8)
    assert peer.texts == ["a", b"b", '{"c":1}']
    assert (len(outbox), outbox.size, outbox.dropped) == (0, 0, 0)
    assert not outbox.put("late")


def test_a_slow_peer_is_disconnected_with_1013(in_time: InTime) -> None:
    async def main() -> None:
        peer = Peer()
        websocket = await peer.accepted()
        peer.is_slow = True
        with pytest.raises(WebSocketDisconnect) as raised:
            async with Outbox(websocket, max_messages=2) as outbox:
                outbox.put("on its way")
                await anyio.wait_all_tasks_blocked()
                assert [outbox.put("x") for _ in range(4)] == [True, True, False, False]
                await anyio.sleep_forever()
        assert raised.value.code == 1013
        assert peer.close == (1013, "The peer is too slow.")

    in_time(main)


async def test_the_oldest_messages_are_dropped() -> None:
    peer = Peer()
    async with Outbox(await peer.accepted(), max_messages=2, on_full="drop_oldest") as outbox:
        assert all(outbox.put(each) for each in "abcd")
    assert (peer.texts, outbox.dropped) == (["c", "d"], 2)


async def test_the_newest_messages_are_dropped() -> None:
    peer = Peer()
    async with Outbox(await peer.accepted(), max_messages=2, on_full="drop_newest") as outbox:
        assert [outbox.put(each) for each in "abcd"] == [True, True, False, False]
    assert (peer.texts, outbox.dropped) == (["a", "b"], 2)


async def test_the_size_counts_bytes_of_utf_8() -> None:
    peer = Peer()
    async with Outbox(await peer.accepted(), max_size=4, on_full="drop_newest") as outbox:
        assert [outbox.put("éé"), outbox.put("a")] == [True, False]
        with pytest.raises(ValueError, match="A message of 6 bytes exceeds max_size, 4 bytes"):
            outbox.put("ééé")


async def test_a_broken_connection_ends_the_block() -> None:
    peer = Peer()
    websocket = await peer.accepted()
    peer.is_broken = True
    with pytest.raises(WebSocketDisconnect) as raised:
        async with Outbox(websocket) as outbox:
            outbox.put("a")
            await anyio.sleep_forever()
    assert raised.value.code == 1006


async def test_an_error_of_the_block_is_raised_as_it_is() -> None:
    peer = Peer()
    with pytest.raises(KeyError):
        async with Outbox(await peer.accepted()) as outbox:
            outbox.put("not sent")
            raise KeyError
    assert peer.texts == []


async def test_a_cancellation_from_outside_passes() -> None:
    peer = Peer()
    websocket = await peer.accepted()
    with anyio.CancelScope() as scope:
        async with Outbox(websocket):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught


def test_the_end_waits_five_seconds_for_a_slow_peer(in_time: InTime) -> None:
    async def main() -> None:
        peer = Peer()
        websocket = await peer.accepted()
        peer.is_slow = True
        start = anyio.current_time()
        async with Outbox(websocket) as outbox:
            outbox.put("a")
        assert round(anyio.current_time() - start) == 5

    in_time(main)


async def test_a_cancellation_at_the_end_passes() -> None:
    peer = Peer()
    websocket = await peer.accepted()
    peer.is_slow = True
    with anyio.move_on_after(0.001) as scope:
        async with Outbox(websocket) as outbox:
            outbox.put("a")
    assert scope.cancelled_caught


async def test_an_outbox_of_a_connection_that_was_not_accepted_raises_at_the_end() -> None:
    with pytest.raises(RuntimeError, match=r"websocket\.accept"):
        async with Outbox(Peer().connect()) as outbox:
            outbox.put("a")
            await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_messages": 0}, ValueError, "max_messages must be at least 1"),
        ({"max_size": 1.5}, TypeError, r"max_size must be an int, not 1\.5"),
        ({"on_full": "wait"}, ValueError, "on_full must be 'disconnect', 'drop_oldest' or"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Outbox(None, **options)  # type: ignore[arg-type]  # the test


async def test_only_text_and_bytes_are_put() -> None:
    with pytest.raises(TypeError, match="takes str or bytes, not int"):
        Outbox(await Peer().accepted()).put(1)  # type: ignore[arg-type]  # the test
