"""The four steps of joining, with every interleaving that a scheduler can find."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_in_virtual_time

from spica.channels import Channels, ChannelsUnavailable, Gap, History, MemoryBackend
from spica.channels.backend import Page
from spica.channels.burst import Burst
from spica.channels.messages import START, Event, Position, new_epoch
from spica.channels.topics import Topic, choose_start


class SteppedBackend:
    """A backend whose operations wait until the test lets them go on, before and after their effect.

    It forgets events, delivers them late, twice or never, and loses its memory, all on command.
    """

    across = "test"

    def __init__(self):
        self.gates = []
        self.live = []
        self.feed = None
        self.is_listening = False
        self.is_open = False
        self.failures = 0
        self.forget()

    def forget(self):
        """Lose everything, as a server without persistence at a restart."""
        self.epoch, self.last, self.events = "", 0, []

    def append(self):
        self.epoch = self.epoch or new_epoch()
        self.last += 1
        event = Event(self.last, None, b"%d" % self.last, self.last)
        self.events.append(event)
        if self.is_listening:
            self.live.append((self.epoch, event))

    def expire(self):
        """Delete all events but the last two."""
        del self.events[:-2]

    async def gate(self):
        if not self.is_open:
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()

    async def start(self, feed):
        self.feed = feed

    async def touch(self, keys, history):
        pass

    async def stop(self, feed):
        pass

    async def read(self, key, after, limit, history):
        await self.gate()
        if self.failures:
            self.failures -= 1
            raise ChannelsUnavailable("reading", "the test says so")
        after = max(after, self.last - history.max_events)
        events = [event for event in self.events if event.number > after][: min(limit, 3)]
        page = Page(self.epoch, self.last, events)
        await self.gate()
        return page

    async def listen(self, feed, key):
        await self.gate()
        self.is_listening = True
        await self.gate()

    async def unlisten(self, feed, key):
        await self.gate()
        self.is_listening = False
        await self.gate()

    async def publish(self, *args):
        raise NotImplementedError("The test appends events.")


class Reader:
    """A client that reads when it may, and comes back with its last id whenever it is thrown out."""

    def __init__(self, channels, position="0"):
        self.channels = channels
        self.permits = asyncio.Semaphore(0)
        self.position = position
        self.trace = []
        self.task = None

    def start(self):
        self.task = asyncio.create_task(self.read())

    async def read(self):
        while True:
            try:
                async with self.channels.subscribe("news", after=self.position) as subscription:
                    async for item in subscription:
                        self.trace.append(item)
                        self.position = subscription.position
                        await self.permits.acquire()
            except ChannelsUnavailable:
                await asyncio.sleep(0.01)

    async def restart(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        self.start()


async def settle():
    for _ in range(30):
        await asyncio.sleep(0)


class World:
    """One run: a backend, channels, readers, and the steps that the test chooses."""

    def __init__(self, with_losses, position="0", **options):
        self.backend = SteppedBackend()
        self.channels = Channels(self.backend, **{"max_queue_events": 4, **options})
        self.readers = [Reader(self.channels, position) for _ in range(2)]
        self.with_losses = with_losses
        self.resets = 0

    async def step(self, kind, choice):
        backend = self.backend
        if kind == "publish":
            for _ in range(choice % 4 + 1):
                backend.append()
        elif kind == "gate" and backend.gates:
            backend.gates.pop(choice % len(backend.gates)).set()
        elif kind == "deliver" and backend.live:
            self.backend.feed.deliver("news", *backend.live.pop(0))
        elif kind == "deliver twice" and backend.live:
            self.backend.feed.deliver("news", *backend.live[choice % len(backend.live)])
        elif kind == "drop" and backend.live:
            backend.live.pop(choice % len(backend.live))
        elif kind == "observe":
            backend.feed.observe("news", backend.epoch, backend.last)
        elif kind == "read":
            self.readers[choice % 2].permits.release()
        elif kind == "come back":
            await self.readers[choice % 2].restart()
        elif kind == "fail":
            backend.failures += 1
        elif kind == "expire" and self.with_losses:
            backend.expire()
        elif kind == "forget" and self.with_losses:
            self.resets += 1
            backend.forget()
        await settle()

    async def finish(self):
        """Let everything go on, and return when the readers have all that they can get."""
        backend = self.backend
        backend.is_open = True
        for _ in range(300):
            for gate in backend.gates:
                gate.set()
            backend.gates.clear()
            while backend.live:
                backend.feed.deliver("news", *backend.live.pop(0))
            backend.feed.observe("news", backend.epoch, backend.last)
            for reader in self.readers:
                reader.permits.release()
            await settle()
            await asyncio.sleep(0.5)
            here = f"{backend.epoch}-{backend.last}" if backend.epoch else "0"
            if all(reader.position == here for reader in self.readers):
                return
        raise AssertionError(f"{[reader.position for reader in self.readers]} never reached {here}")


KINDS = ["publish", "gate", "deliver", "read", "gate", "deliver", "read", "publish", "come back"]
KINDS += ["deliver twice", "drop", "observe", "fail", "expire", "forget", "gate"]


async def run(steps, with_losses):
    world = World(with_losses)
    async with world.channels.lifespan():
        for reader in world.readers:
            reader.start()
        await settle()
        for kind, choice in steps:
            await world.step(kind, choice)
        await world.finish()
        for reader in world.readers:
            reader.task.cancel()
        await asyncio.wait([reader.task for reader in world.readers])
    return world


def check_trace(trace):
    """Each event once and in order; every hole is announced before it."""
    seen = set()
    last = Position("", 0)
    is_gap = False
    for item in trace:
        if isinstance(item, Gap):
            is_gap = True
            continue
        assert item.position not in seen
        seen.add(item.position)
        if item.position.epoch == last.epoch:
            assert item.position.number > last.number
            assert is_gap or item.position.number == last.number + 1
        else:
            assert is_gap or (last.epoch == "" and item.position.number == 1)
        last, is_gap = item.position, False


# Each example uses some kinds of steps only: rare combinations come up more often.
STEPS = st.lists(st.sampled_from(KINDS), min_size=2).flatmap(
    lambda kinds: st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 11)), max_size=100)
)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_readers_get_each_event_once_and_in_order_in_any_interleaving(steps):
    world = run_in_virtual_time("asyncio", lambda: run(steps, with_losses=False))
    for reader in world.readers:
        assert [item for item in reader.trace if isinstance(item, Gap)] == []
        check_trace(reader.trace)
        assert len(reader.trace) == world.backend.last


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_every_loss_is_announced_in_any_interleaving(steps):
    world = run_in_virtual_time("asyncio", lambda: run(steps, with_losses=True))
    for reader in world.readers:
        check_trace(reader.trace)
        # Whatever the log still has must have been read, unless it came before a reset.
        read = {item.position for item in reader.trace if not isinstance(item, Gap)}
        epoch = world.backend.epoch
        assert {Position(epoch, event.number) for event in world.backend.events} <= read


async def run_without_history(steps):
    """New readers on channels that keep nothing for those who come back."""
    world = World(False, None, history=History(0), max_queue_events=1000)
    async with world.channels.lifespan():
        for reader in world.readers:
            reader.start()
        await settle()
        for kind, choice in steps:
            await world.step(kind, choice)
        while world.backend.gates:
            await world.step("gate", 0)
        world.backend.append()  # all readers have joined, so they get at least this
        await world.finish()
        for reader in world.readers:
            reader.task.cancel()
        await asyncio.wait([reader.task for reader in world.readers])
    return world


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["publish", "gate", "deliver", "read", "drop", "observe"]),
            st.integers(0, 11),
        ),
        max_size=60,
    )
)
def test_connected_readers_get_each_event_whatever_the_history(steps):
    world = run_in_virtual_time("asyncio", lambda: run_without_history(steps))
    for reader in world.readers:
        numbers = [item.position.number for item in reader.trace]
        assert numbers == [*range(numbers[0], world.backend.last + 1)]


def page(last, *numbers, epoch="abcdef"):
    return Page(epoch, last, [Event(number, None, b"0", number) for number in numbers])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, (7, None)),
        ((), (7, "expired")),
        ((START,), (0, None)),
        ((Position("abcdef", 5),), (5, None)),
        ((Position("abcdef", 7),), (7, None)),
        ((Position("abcdef", 8),), (7, "restarted")),
        ((Position("zzzzzz", 5),), (0, "restarted")),
        ((Position("zzzzzz", 5), Position("abcdef", 6)), (6, None)),
    ],
)
def test_where_a_subscription_starts(wanted, expected):
    assert choose_start(wanted, page(7)) == expected


class Sink:
    """A subscription that keeps everything."""

    def __init__(self):
        self.items = []

    def put(self, message):
        self.items.append(message.position.number)

    def room(self):
        return 0, 0

    def put_gap(self, gap):
        self.items.append((gap.reason, gap.id))


def topic_at(number):
    topic, sink = Topic("news", "news", Burst()), Sink()
    topic.epoch, topic.last, topic.last_published_at = "abcdef", number, number
    topic.members[sink] = None
    return topic, sink


def test_a_log_that_numbers_new_events_like_lost_ones_is_a_restart():
    topic, sink = topic_at(5)
    other = Event(5, None, b"0", 99.0)  # the number of the last event, with another time
    assert not topic.take(Page("abcdef", 6, [other, Event(6, None, b"0", 100.0)]))
    assert sink.items == [("restarted", "abcdef-6")]


def test_a_counter_that_went_back_is_a_restart():
    topic, sink = topic_at(5)
    assert not topic.take(page(3))
    assert sink.items == [("restarted", "abcdef-3")]
    assert topic.last == 3


def test_a_new_epoch_is_one_gap_also_if_its_log_begins_late():
    topic, sink = topic_at(5)
    assert topic.take(page(9, 8, 9, epoch="uvwxyz"))
    assert not topic.take(page(9, 8, 9, epoch="uvwxyz"))
    assert sink.items == [("restarted", "uvwxyz-0"), 8, 9]


def test_a_late_event_of_a_lost_epoch_is_not_the_beginning_of_the_next():
    topic, sink = topic_at(1)
    assert not topic.take(Page("", 0, []))
    assert not topic.deliver("abcdef", Event(1, None, b"0", 1.0))
    assert topic.deliver("uvwxyz", Event(1, None, b"0", 2.0))
    assert sink.items == [("restarted", "0"), 1]


def test_a_gap_before_an_empty_log_does_not_hide_the_gap_of_a_later_reader():
    topic, _ = topic_at(5)
    assert not topic.take(Page("", 0, []))
    sink = Sink()
    assert topic.attach(sink, START)
    assert topic.take(page(9, 8, 9, epoch="uvwxyz"))
    assert not topic.take(page(9, 8, 9, epoch="uvwxyz"))
    assert sink.items == [("expired", "uvwxyz-7"), 8, 9]


def test_a_subscription_ahead_of_the_topic_gets_no_event_twice():
    topic, _ = topic_at(5)
    sink = Sink()
    assert topic.attach(sink, Position("abcdef", 7))
    for number in (6, 7, 8):
        assert topic.deliver("abcdef", Event(number, None, b"0", number))
    assert sink.items == [8]


def test_a_subscription_waits_for_a_topic_that_has_missed_the_first_event_of_the_channel():
    """Otherwise it would follow the next epoch without a gap if the backend lost its memory now."""
    topic = Topic("news", "news", Burst())
    assert not topic.attach(Sink(), Position("abcdef", 3))


def test_a_subscription_behind_the_topic_reads_on():
    topic, _ = topic_at(5)
    assert not topic.attach(Sink(), Position("abcdef", 4))


class BurstSink(Sink):
    """A subscription that takes a burst at once."""

    def room(self):
        return 10, 1000

    def extend(self, messages, size):
        self.items += [message.position.number for message in messages]


@pytest.mark.parametrize("start", [7, 9])
def test_a_subscription_that_joins_during_a_burst_gets_no_event_twice(start):
    """It has read the log up to the topic, or further than that."""
    topic, _ = topic_at(5)
    topic.members = {BurstSink(): None}
    sink = BurstSink()
    for number in range(6, 11):
        if number == 8:
            assert topic.attach(sink, Position("abcdef", start))
        assert topic.deliver("abcdef", Event(number, None, b"0", number))
    topic.burst.flush()
    assert sink.items == [*range(start + 1, 11)]


class GatedBackend(MemoryBackend):
    """A log whose reads of one channel wait until the test lets them go on."""

    def __init__(self):
        super().__init__()
        self.gate = None

    async def read(self, key, *args):
        page = await super().read(key, *args)
        if key == "slow" and self.gate is not None:
            await self.gate.wait()
        return page


@pytest.mark.parametrize("after", [None, "0,0"])
def test_a_burst_while_a_subscription_joins_its_channels_is_not_lost(after):
    """The reader can take nothing before it has joined all of them, so it isn't slow."""

    async def run():
        backend = GatedBackend()
        channels = Channels(backend, max_queue_events=4)
        async with channels.lifespan():
            backend.gate = asyncio.Event()
            opening = channels.subscribe("fast", "slow", after=after)
            task = asyncio.create_task(opening.__aenter__())
            await asyncio.sleep(1)
            for number in range(50):
                await channels.publish("fast", number)
            backend.gate.set()
            subscription = await task
            await channels.publish("fast", 50)
            found = []
            while found[-1:] != [50]:
                found.append((await anext(subscription)).data)
            await opening.__aexit__(None, None, None)
        assert found == ([50] if after is None else [*range(51)])

    run_in_virtual_time("asyncio", run)


@pytest.mark.parametrize("reason", ["shutdown", "slow"])
def test_a_subscription_that_ends_while_it_reads_the_history_stays_ended(reason):
    async def run():
        backend = GatedBackend()
        channels = Channels(backend, max_queue_events=4)
        async with channels.lifespan():
            for number in range(50):
                await channels.publish("slow", number)
            async with channels.subscribe("slow", after="0") as subscription:
                for _ in range(4):
                    await anext(subscription)
                backend.gate = asyncio.Event()
                task = asyncio.create_task(anext(subscription, "end"))
                await asyncio.sleep(1)
                subscription.end(reason)
                backend.gate.set()
                assert await task == "end"
                assert not channels._hub.topics["slow"].members

    run_in_virtual_time("asyncio", run)


def test_a_shutdown_while_a_subscription_joins_ends_it():
    async def run():
        backend = GatedBackend()
        channels = Channels(backend)
        async with channels.lifespan():
            backend.gate = asyncio.Event()
            opening = channels.subscribe("fast", "slow")
            task = asyncio.create_task(opening.__aenter__())
            await asyncio.sleep(1)
            channels.end_subscriptions()
            backend.gate.set()
            subscription = await task
            assert await anext(subscription, "end") == "end"
            await opening.__aexit__(None, None, None)
            await asyncio.sleep(1)
            assert channels._hub.topics == {}

    run_in_virtual_time("asyncio", run)
