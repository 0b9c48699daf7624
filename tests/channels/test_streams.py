"""Channels as server-sent events."""

import anyio
import pytest

from spica.applications import Spica
from spica.channels import Channels, ChannelsUnavailable, Gap, History, MemoryBackend
from spica.responses.events import EventSourceResponse, last_event_id
from spica.routing import Route
from spica.testclient import AsyncTestClient

pytestmark = pytest.mark.anyio


class Site:
    """An application with a stream of channels, and one of presence."""

    def __init__(self, **options):
        self.channels = Channels(**options)
        self.application = Spica(
            routes=[Route("/events/{names}", self.events), Route("/presence", self.presence)],
            lifespan=[self.channels.lifespan],
            drain_seconds=0.2,
        )

    async def events(self, request):
        names = request.path_params["names"].split(",")
        return EventSourceResponse(self.channels.events(*names, after=last_event_id(request)))

    async def presence(self, request):
        return EventSourceResponse(self.channels.presence.events("room"))


async def read(client, path, count, last_id=None):
    headers = {"last-event-id": last_id} if last_id else {}
    with anyio.fail_after(30):
        async with client.stream("GET", path, headers=headers) as response:
            stream = response.events()
            return [await anext(stream) for _ in range(count)]


async def test_a_browser_continues_after_its_last_event():
    site = Site()
    async with AsyncTestClient(site.application) as client:
        ids = [
            await site.channels.publish("news", value, event="e") for value in ("a\nb", {"c": 1})
        ]
        events = await read(client, "/events/news", 2, "0")
        assert [(e.data, e.event, e.id) for e in events] == [
            ("a\nb", "e", ids[0]),
            ('{"c":1}', "e", ids[1]),
        ]
        [event] = await read(client, "/events/news", 1, ids[0])
        assert event.id == ids[1]


async def test_a_gap_is_an_event_with_the_position_behind_it():
    site = Site(history=History(max_events=1))
    async with AsyncTestClient(site.application) as client:
        ids = [await site.channels.publish("news", number) for number in range(3)]
        gap, event = await read(client, "/events/news", 2, ids[0])
        assert (gap.event, gap.id) == ("gap", ids[1])
        assert gap.data == '{"channel":"news","reason":"expired"}'
        assert (event.id, event.data) == (ids[2], "2")


async def test_several_channels_share_one_id():
    site = Site()
    async with AsyncTestClient(site.application) as client:
        await site.channels.publish("a", 1)
        await site.channels.publish("b", 2)
        events = await read(client, "/events/a,b", 2, "0,0")
        await site.channels.publish("a", 3)
        [event] = await read(client, "/events/a,b", 1, events[-1].id)
        assert event.data == "3"


async def test_an_idle_stream_sends_its_position(monkeypatch):
    monkeypatch.setattr("spica.channels.channels.IDLE_SECONDS", 0.01)
    channels = Channels()
    async with channels.lifespan():
        await channels.publish("news", 1)
        stream = channels.events("news")
        event = await anext(stream)
        assert (event.data, event.id) == (None, await channels.position("news"))
        await channels.publish("news", 2)
        assert (await anext(stream)).data == b"2"
        await stream.aclose()


async def test_all_streams_share_the_encoded_event():
    channels = Channels()
    async with channels.lifespan():
        streams = [channels.events("news", after="0") for _ in range(2)]
        await channels.publish("news", 0)
        for stream in streams:
            await anext(stream)
        await channels.publish("news", 1)
        first, second = [await anext(stream) for stream in streams]
        assert first is second
        for stream in streams:
            await stream.aclose()


async def test_a_stream_ends_at_the_shutdown_and_asks_to_come_back():
    channels = Channels()
    async with channels.lifespan():
        stream = channels.events("news", after="0")
        await channels.publish("news", 1)
        assert (await anext(stream)).data == b"1"
        channels.end_subscriptions()
        last = await anext(stream)
        assert (last.comment, last.id) == ("shutdown", None)
        assert 1000 <= last.retry_milliseconds <= 5000
        assert [event async for event in stream] == []


class Down(MemoryBackend):
    """A backend that does not answer."""

    async def read(self, key, after, limit, history):
        raise ChannelsUnavailable("reading", "the test says so")


async def test_a_stream_ends_while_the_backend_is_down_and_logs_once(caplog):
    channels = Channels(Down())
    async with channels.lifespan():
        for _ in range(3):
            [last] = [event async for event in channels.events("news")]
            assert last.comment == "unavailable"
            assert last.retry_milliseconds >= 1000
    assert [record.message for record in caplog.records] == [
        "Channels: reading failed: the test says so"
    ]


async def test_a_slow_stream_ends(monkeypatch):
    channels = Channels(max_queue_events=2)
    async with channels.lifespan():
        stream = channels.events("news", after="0")
        await channels.publish("news", 0)
        await anext(stream)
        for number in range(5):
            await channels.publish("news", number)
        assert [event async for event in stream] == []


async def test_a_gap_in_several_channels_has_the_position_of_all():
    channels = Channels()
    async with channels.lifespan():
        await channels.publish("a", 1)
        stream = channels.events("a", "b", after="junk")
        gap = await anext(stream)
        assert gap == Gap("a", "expired")
        assert gap.id == await channels.position("a") + ",0"
        await stream.aclose()


async def test_presence_as_events():
    site = Site()
    async with AsyncTestClient(site.application) as client:
        async with site.channels.presence.track("room", "ann", {"a": 1}):
            [event] = await read(client, "/presence", 1)
            assert (event.event, event.data) == ("snapshot", '{"users":{"ann":[{"a":1}]}}')


def test_a_wrong_channel_is_an_error_before_the_stream_starts():
    with pytest.raises(ValueError, match="must not be empty"):
        Channels().events("")
