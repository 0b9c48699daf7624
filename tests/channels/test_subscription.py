"""The queue of one reader, without a channel."""

import asyncio

import pytest

from spica.channels.burst import Burst
from spica.channels.messages import Event, Gap, Message
from spica.channels.subscription import LatestSubscription, Subscription

pytestmark = pytest.mark.anyio


def message(number, size=1, channel="news"):
    return Message(channel, "abcdef", Event(number, None, b"1" * size, 0.0))


def subscription(on_slow="disconnect", max_events=3, max_size=12, kind=Subscription):
    return kind(("news", "other"), max_events, max_size, on_slow, id, Burst())


async def test_reading_makes_room_for_bytes_also_before_the_queue_is_empty():
    reader = subscription()
    for number in range(1, 6):
        reader.put(message(number, size=6))
        if number > 1:
            assert (await anext(reader)).position.number == number - 1
    assert reader.end_reason is None


async def test_gaps_of_dropped_events_come_before_the_events_that_are_left():
    reader = subscription("drop_oldest")
    for number in range(1, 4):
        reader.put(message(number))
        reader.put(message(number, channel="other"))
    items = [await anext(reader) for _ in range(5)]
    assert items[:2] == [Gap("news", "slow"), Gap("other", "slow")]
    assert [gap.id for gap in items[:2]] == ["abcdef-2", "abcdef-1"]
    assert [item.position.number for item in items[2:]] == [2, 3, 3]
    assert reader.position == "abcdef-3,abcdef-3"


async def test_the_bytes_of_dropped_events_are_free_again():
    reader = subscription("drop_oldest", max_events=99)
    for number in range(1, 30):
        reader.put(message(number, size=4))
    gap, *messages = [await anext(reader) for _ in range(4)]
    assert gap.id == "abcdef-26"
    assert [item.position.number for item in messages] == [27, 28, 29]


async def test_the_position_of_the_latest_event_is_that_of_the_newest():
    reader = subscription("latest", kind=LatestSubscription)
    for number in range(1, 10):
        reader.put(message(number))
    assert (await anext(reader)).position.number == 9
    assert reader.position == "abcdef-9,0"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reader_that_is_cancelled_as_events_arrive_is_slow_from_then_on():
    burst, members = Burst(), {}
    reader = Subscription(("news",), 3, 99, "disconnect", members.pop, burst)
    members[reader] = None
    reading = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    burst.add(members, message(1))
    burst.add(members, message(2))
    reading.cancel()
    await asyncio.wait([reading])
    for number in range(3, 6):
        burst.add(members, message(number))
    burst.flush()
    assert reader.end_reason == "slow"
    assert not members
