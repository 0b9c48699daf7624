"""The contract of channels, on every backend."""

import json

import anyio
import pytest

from spica.channels import (
    Channels,
    EventTooLarge,
    Gap,
    History,
    InvalidChannel,
    MemoryBackend,
    Message,
    topics,
)
from spica.channels.messages import Event
from spica.stores import open_store

pytestmark = pytest.mark.anyio


async def publish(channels, channel, numbers):
    return [await channels.publish(channel, number) for number in numbers]


def data(items):
    return [item.data for item in items]


# Publishing


async def test_a_subscriber_gets_the_values_that_were_published(channels, take):
    values = ["text", {"a": [1, None, "é"]}, 1.5, "", None, [], "\0\u2028"]
    async with channels.subscribe("news") as subscription:
        ids = [await channels.publish("news", value, event="story") for value in values]
        messages = await take(subscription, len(values))
    assert data(messages) == values
    assert [message.id for message in messages] == ids
    assert {(message.channel, message.event) for message in messages} == {("news", "story")}


async def test_ids_count_from_1_in_each_channel(channels):
    first = await publish(channels, "a", range(3))
    [other] = await publish(channels, "b", [0])
    epoch = first[0].partition("-")[0]
    assert first == [f"{epoch}-1", f"{epoch}-2", f"{epoch}-3"]
    assert len(epoch) == 6
    assert other.endswith("-1")
    assert not other.startswith(epoch)


async def test_all_workers_share_the_order_of_a_channel(start, take):
    one, two = await start(), await start()
    async with one.subscribe("news") as first, two.subscribe("news") as second:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish, one, "news", range(50))
            tasks.start_soon(publish, two, "news", range(50, 100))
        seen = await take(first, 100)
        assert data(await take(second, 100)) == data(seen)
    assert [int(message.id.partition("-")[2]) for message in seen] == [*range(1, 101)]
    assert sorted(data(seen)) == [*range(100)]


async def test_a_new_subscriber_gets_only_new_events(channels, take):
    await publish(channels, "news", range(3))
    async with channels.subscribe("news") as subscription:
        await publish(channels, "news", [3])
        assert data(await take(subscription, 1)) == [3]


@pytest.mark.parametrize(
    ("size", "allowed"), [(98, True), (99, False)]
)  # JSON adds two quotation marks
async def test_a_large_event_is_refused_with_its_size(start, size, allowed):
    channels = await start(max_event_size=100)
    if allowed:
        await channels.publish("news", "x" * size)
    else:
        with pytest.raises(
            EventTooLarge, match="The event has 101 bytes; the limit is 100"
        ) as info:
            await channels.publish("news", "x" * size)
        assert info.value.status_code == 413


async def test_any_name_is_a_channel(channels, take):
    names = ["." + n for n in ("a" * 300, "ä" * 150, "a\0b", "a\nb", "\ud800", "#!{}:*", "x y")]
    async with channels.subscribe(*names) as subscription:
        for name in names:
            await channels.publish(name, 1)
        assert {message.channel for message in await take(subscription, 7)} == {*names}


@pytest.mark.parametrize(
    ("channel", "event", "error", "message"),
    [
        ("#presence:a", None, ValueError, "reserved"),
        ("", None, ValueError, "must not be empty"),
        ("a", "x\ny", ValueError, "event must be a line"),
        ("a", "x\ud800", ValueError, "event must be a line"),
        ("a", 1, TypeError, "event must be a str"),
    ],
)
async def test_names_that_are_refused(channel, event, error, message):
    channels = Channels()
    async with channels.lifespan():
        with pytest.raises(error, match=message):
            await channels.publish(channel, 1, event=event)


@pytest.mark.parametrize("name", ["", "#presence:a", "#runs"])
async def test_a_client_that_names_a_reserved_channel_gets_a_400(channels, name):
    with pytest.raises(InvalidChannel) as info:
        channels.events(name)
    assert info.value.status_code == 400
    for read in (channels.history, channels.position):
        with pytest.raises(InvalidChannel):
            await read(name)


async def test_bytes_are_refused(channels):
    with pytest.raises(TypeError, match="bytes"):
        await channels.publish("a", b"x")


# Coming back


async def test_a_subscriber_that_comes_back_gets_each_event_once(channels, take):
    ids = await publish(channels, "news", range(5))
    async with channels.subscribe("news", after=ids[1]) as subscription:
        await publish(channels, "news", [5, 6])
        assert data(await take(subscription, 5)) == [2, 3, 4, 5, 6]


async def test_the_history_is_longer_than_the_queue_of_a_subscriber(start, take):
    channels = await start(max_queue_events=7, max_queue_size=1000, max_event_size=400)
    [first] = await publish(channels, "news", ["first"])
    for number in range(60):
        await channels.publish("news", [number, "x" * (number * 5)])
    async with channels.subscribe("news", after=first) as subscription:
        assert [item.data[0] for item in await take(subscription, 60)] == [*range(60)]
        await channels.publish("news", "live")
        assert data(await take(subscription, 1)) == ["live"]


async def test_0_is_the_beginning_of_the_history(channels, take):
    async with channels.subscribe("news", after="0") as early:
        await publish(channels, "news", range(3))
        async with channels.subscribe("news", after="0") as late:
            assert data(await take(late, 3)) == data(await take(early, 3)) == [0, 1, 2]


async def test_an_event_that_the_history_has_no_more_is_one_gap_first(start, take):
    channels = await start(history=History(max_events=10))
    ids = await publish(channels, "news", range(30))
    async with channels.subscribe("news", after=ids[4]) as subscription:
        items = await take(subscription, 11)
    assert items[0] == Gap("news", "expired")
    assert items[0].id == ids[19]
    assert data(items[1:]) == [*range(20, 30)]


async def test_the_last_event_that_the_history_lacks_is_a_gap_and_the_next_none(start, take):
    channels = await start(history=History(max_events=10))
    ids = await publish(channels, "news", range(30))
    for index, gap in ((18, True), (19, False)):
        async with channels.subscribe("news", after=ids[index]) as subscription:
            [item] = await take(subscription, 1)
        assert isinstance(item, Gap) is gap


async def test_a_history_without_events_is_a_gap(start, take):
    channels = await start(history=History(max_events=0))
    ids = await publish(channels, "news", range(3))
    async with channels.subscribe("news", after=ids[0]) as subscription:
        await publish(channels, "news", [3])
        gap, message = await take(subscription, 2)
    assert (gap, gap.id, message.data) == (Gap("news", "expired"), ids[2], 3)


MALFORMED = ["x", "", "a-1", "abcdef-", "abcdef-01", "abcdef--1", "ABCDEF-1", "abcdef-1\n", "é"]
MALFORMED += ["abcdef-" + "9" * 30, "," * 9000]


async def test_a_malformed_id_counts_as_none_after_a_gap(channels, take):
    for number, id in enumerate(MALFORMED):
        [last] = await publish(channels, "news", [-1])
        async with channels.subscribe("news", after=id) as subscription:
            await publish(channels, "news", [number])
            gap, message = await take(subscription, 2)
        assert (gap, gap.id, message.data) == (Gap("news", "expired"), last, number), id


async def test_an_id_of_another_epoch_is_a_gap_and_the_whole_history(channels, take):
    await publish(channels, "news", range(2))
    async with channels.subscribe("news", after="zzzzzz-77") as subscription:
        gap, *messages = await take(subscription, 3)
    assert gap == Gap("news", "restarted")
    assert data(messages) == [0, 1]


async def test_an_id_beyond_the_counter_is_a_gap(channels, take):
    [id] = await publish(channels, "news", range(1))
    async with channels.subscribe("news", after=id + "00") as subscription:
        await publish(channels, "news", [1])
        gap, message = await take(subscription, 2)
    assert (gap, message.data) == (Gap("news", "restarted"), 1)


async def test_a_message_can_be_the_last_one_that_was_seen(channels, take):
    [id] = await publish(channels, "news", [0])
    async with channels.subscribe("news", after=id) as subscription:
        await publish(channels, "news", [1])
        assert data(await take(subscription, 1)) == [1]
        assert subscription.position == id[:-1] + "2"


async def test_several_channels_continue_at_one_position(channels, take):
    async with channels.subscribe("a", "b", "c") as subscription:
        await publish(channels, "a", ["a1", "a2"])
        await publish(channels, "b", ["b1"])
        seen = data(await take(subscription, 2))  # the order across channels is undefined
        position = subscription.position
    await publish(channels, "c", ["c1"])
    async with channels.subscribe("a", "b", "c", after=position) as subscription:
        seen += data(await take(subscription, 2))
    assert sorted(seen) == ["a1", "a2", "b1", "c1"]


async def test_one_id_of_several_channels_belongs_to_its_epoch(channels, take):
    [_, id, _] = await publish(channels, "a", range(3))
    await publish(channels, "b", ["b"])
    async with channels.subscribe("b", "a", after=id) as subscription:
        items = await take(subscription, 3)
    assert items[0] == Gap("b", "restarted")
    assert sorted(map(str, data(items[1:]))) == ["2", "b"]


# Slow readers


async def test_a_full_queue_ends_a_subscription_and_nobody_else(start, take):
    channels = await start(max_queue_events=10)
    async with channels.subscribe("news") as slow, channels.subscribe("news") as fast:
        for number in range(11):
            await publish(channels, "news", [number])
            await take(fast, 1)
        with anyio.fail_after(30):
            assert [item async for item in slow] == []
        assert (slow.end_reason, fast.end_reason) == ("slow", None)


async def test_a_full_queue_drops_the_oldest_events_and_says_so(start, take):
    channels = await start(max_queue_events=3, on_slow="drop_oldest")
    async with channels.subscribe("news") as subscription, channels.subscribe("news") as other:
        ids = []
        for number in range(10):
            ids += await publish(channels, "news", [number])
            await take(other, 1)
        gap, *messages = await take(subscription, 4)
        assert (gap, gap.id) == (Gap("news", "slow"), ids[6])
        assert data(messages) == [7, 8, 9]


async def test_the_queue_is_bounded_in_bytes(start, take):
    channels = await start(max_queue_size=100, max_event_size=60, on_slow="drop_oldest")
    async with channels.subscribe("news") as subscription:
        await publish(channels, "news", ["a" * 50, "b" * 40, "c" * 50])
        await take_until(subscription, "c" * 50)
        await publish(channels, "news", ["d" * 50, "e" * 40])
        assert data(await take(subscription, 2)) == ["d" * 50, "e" * 40]


async def take_until(subscription, value):
    with anyio.fail_after(30):
        async for item in subscription:
            if not isinstance(item, Gap) and item.data == value:
                return


async def test_latest_keeps_one_event_of_each_channel(start):
    channels = await start(max_queue_events=3)
    async with channels.subscribe("a", "b", on_slow="latest") as subscription:
        await publish(channels, "a", range(50))
        await publish(channels, "b", range(50))
        seen = {}
        with anyio.fail_after(30):
            while seen != {"a": 49, "b": 49}:
                message = await anext(subscription)
                assert message.data > seen.get(message.channel, -1)
                seen[message.channel] = message.data


async def test_latest_puts_the_gap_before_the_events_behind_it(start, backend):
    if backend.name != "memory":
        pytest.skip("Only memory can lose its events at a known moment.")
    channels = await start()
    async with channels.subscribe("a", "b", on_slow="latest") as subscription:
        await publish(channels, "b", ["other"])
        await publish(channels, "a", [1])
        del backend.memory._logs["a"]
        channels._hub.observe("a", "", 0)
        await anyio.wait_all_tasks_blocked()
        await publish(channels, "a", [2, 3])
        items = [await anext(subscription) for _ in range(3)]
    assert items[0].data == "other"
    assert items[1] == Gap("a", "restarted")
    assert items[2].data == 3


async def test_a_burst_of_a_publisher_does_not_end_readers_that_read(start):
    channels = await start(max_queue_events=20)
    seen = []

    async def read(subscription):
        async for message in subscription:
            seen.append(message.data)

    async with channels.subscribe("news") as subscription, anyio.create_task_group() as tasks:
        tasks.start_soon(read, subscription)
        await publish(channels, "news", range(200))
        with anyio.fail_after(30):
            while len(seen) < 200:
                assert subscription.end_reason is None
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()


async def test_a_reader_that_waits_gets_every_event_of_a_batch_larger_than_its_queue(take):
    channels = Channels(MemoryBackend(), max_queue_events=3)
    items = []
    async with (
        channels.lifespan(),
        channels.subscribe("news") as subscription,
        anyio.create_task_group() as tasks,
    ):

        async def read():
            items.extend(await take(subscription, 50))

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        for number in range(1, 51):
            subscription.put(Message("news", "epoch", Event(number, None, b"1", 0.0)))
    assert [item.position.number for item in items] == [*range(1, 51)]
    assert subscription.end_reason is None


# History


async def test_history_returns_the_newest_events_in_order(channels):
    ids = await publish(channels, "news", range(250))
    assert data(await channels.history("news", max_events=3)) == [247, 248, 249]
    assert len(await channels.history("news")) == 100
    assert data(await channels.history("news", after=ids[9], max_events=2)) == [10, 11]
    assert data(await channels.history("news", after=ids[9], max_events=500)) == [*range(10, 250)]
    assert await channels.history("news", after=ids[-1]) == []
    assert await channels.history("other") == []


async def test_events_expire(start, take):
    channels = await start(history=History(seconds=0.2))
    [id] = await publish(channels, "news", [1])
    await anyio.sleep(0.25)
    assert await channels.history("news") == []
    async with channels.subscribe("news", after="0") as subscription:
        [item] = await take(subscription, 1)
    assert (item, item.id) == (Gap("news", "expired"), id)


async def test_position_is_the_id_to_continue_a_page_that_was_just_made(channels, take):
    position = await channels.position("news", "other")
    await publish(channels, "news", [1])
    async with channels.subscribe("news", "other", after=position) as subscription:
        assert data(await take(subscription, 1)) == [1]


# The life of channels


async def test_subscriptions_end_with_the_application(backend):
    channels = backend.channels()
    async with channels.lifespan():
        context = channels.subscribe("news")
        subscription = await context.__aenter__()
        await channels.publish("news", 1)
        with anyio.fail_after(30):
            while not subscription._queue:
                await anyio.sleep(0.001)
    with anyio.fail_after(30):
        assert [item.data async for item in subscription] == [1]
    assert subscription.end_reason == "shutdown"
    await context.__aexit__(None, None, None)


async def test_a_lifespan_can_start_again(backend, take):
    channels = backend.channels()
    for _ in range(2):
        async with channels.lifespan(), channels.subscribe("news") as subscription:
            await channels.publish("news", 1)
            assert data(await take(subscription, 1)) == [1]


async def test_an_error_in_the_lifespan_is_raised_as_it_is(backend):
    with pytest.raises(KeyError):
        async with backend.channels().lifespan():
            raise KeyError


async def test_channels_that_have_not_started_name_the_fix():
    with pytest.raises(RuntimeError, match=r"lifespan=\[channels.lifespan\]"):
        await Channels().publish("a", 1)


async def test_topics_without_subscribers_are_closed(channels):
    for _ in range(3):
        async with channels.subscribe("a", "b"):
            assert {*channels._hub.topics} == {"a", "b"}
    with anyio.fail_after(30):
        while channels._hub.topics:
            await anyio.sleep(0.001)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "mongo://x"}, ValueError, "'mongo' names no backend"),
        ({"backend": "postgresql+asyncpg://h/d"}, ValueError, r"'postgresql\+asyncpg' names no"),
        ({"backend": "sqlite:///:memory:"}, ValueError, "names no file"),
        ({"backend": "sqlite:///a.db?mode=ro"}, ValueError, "names no file"),
        ({"backend": "sqlite:////"}, ValueError, "SQLiteBackend: '/' is a folder"),
        ({"backend": 5}, TypeError, "RedisBackend"),
        ({"history": 5}, TypeError, "must be a History"),
        ({"max_event_size": 0}, ValueError, "max_event_size must be 1 or more"),
        ({"max_queue_events": "5"}, TypeError, "must be an int"),
        ({"max_queue_size": 5}, ValueError, "the largest event must fit"),
        ({"on_slow": "wait"}, ValueError, "on_slow must be one of"),
    ],
)
def test_wrong_arguments_are_errors_at_once(options, error, message):
    with pytest.raises(error, match=message):
        Channels(**options)


@pytest.mark.parametrize("channels", [(), ("a", "a")])
def test_a_subscription_names_channels_once(channels):
    """A client that chooses the channels gets a 400."""
    with pytest.raises(InvalidChannel, match="one or more channels, each once") as raised:
        Channels().subscribe(*channels)
    assert raised.value.status_code == 400


def test_a_url_names_the_same_file_as_for_a_store(tmp_path):
    url = f"sqlite:///{tmp_path}/my%20app.db"
    assert Channels(url).backend._path == open_store(url)._file.path == tmp_path / "my app.db"


@pytest.mark.parametrize("max_events", [0, -1, None, "5", 2.5, True])
async def test_the_number_of_events_of_a_history_is_checked(max_events):
    with pytest.raises((TypeError, ValueError), match="Channels: max_events must be"):
        await Channels().history("a", max_events=max_events)


def test_the_default_backend_is_memory():
    assert isinstance(Channels().backend, MemoryBackend)


def test_the_defaults_of_the_history():
    assert History() == History(max_events=1000, seconds=3600.0)


async def test_messages_as_json(channels, take):
    async with channels.subscribe("a\u2028") as subscription:
        id = await channels.publish("a\u2028", {"b": 1}, event="e")
        [message] = await take(subscription, 1)
    expected = {"id": id, "channel": "a\u2028", "event": "e", "data": {"b": 1}}
    assert json.loads(message.to_json()) == expected


async def test_the_counters_of_subscribed_channels_are_renewed(start, monkeypatch):
    monkeypatch.setattr(topics, "TOUCH_SECONDS", 0.01)
    channels = await start()
    backend = type(channels.backend)
    touch, touched = backend.touch, []
    is_touched = anyio.Event()

    async def note(self, keys, history):
        await touch(self, keys, history)
        touched.extend(keys)
        is_touched.set()

    monkeypatch.setattr(backend, "touch", note)
    async with channels.subscribe("quiet"):
        with anyio.fail_after(30):
            await is_touched.wait()
    assert set(touched) == {"quiet"}


def test_another_event_loop_is_refused_while_one_uses_the_channels():
    channels = Channels()

    async def start():
        async with channels.lifespan():
            pass

    async def start_in_two_loops():
        async with channels.lifespan():
            async with channels.lifespan():  # a second application in this loop
                await channels.publish("news", 1)
            with pytest.raises(RuntimeError, match="Another event loop uses this Channels"):
                await anyio.to_thread.run_sync(anyio.run, start)
            await channels.publish("news", 2)

    anyio.run(start_in_two_loops)
    anyio.run(start)
