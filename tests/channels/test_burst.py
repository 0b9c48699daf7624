"""Bursts: readers can't tell that their subscriptions get several events at once.

A longer search: ``SEEDS=100:5000 scripts/test tests/channels/test_burst.py``.
"""

import asyncio
import os
from random import Random

import pytest
from virtual_time import run_in_virtual_time

from spica.channels.burst import Burst
from spica.channels.messages import Event, Gap, Message
from spica.channels.subscription import LatestSubscription, Subscription

first, _, last = os.environ.get("SEEDS", "0:40").partition(":")
SEEDS = range(int(first), int(last))


class DirectBurst(Burst):
    """The model: each event goes to each subscription at once."""

    def add(self, members, message):
        self._put(members, message)


def subscription(burst, on_slow="disconnect", max_events=4, max_size=12, detach=id):
    kind = LatestSubscription if on_slow == "latest" else Subscription
    return kind(("a", "b"), max_events, max_size, on_slow, detach, burst)


def message(number, channel="a", size=1):
    return Message(channel, "epoch", Event(number, None, b"1" * size, 0.0))


def numbers(subscription):
    return [item.position.number for item in subscription._queue]


def test_only_the_first_event_of_a_burst_goes_to_each_subscription_at_once():
    burst = Burst()
    members = dict.fromkeys([subscription(burst), subscription(burst)])
    for number in (1, 2, 3):
        burst.add(members, message(number))
    assert [numbers(member) for member in members] == [[1], [1]]
    burst.flush()
    assert [numbers(member) for member in members] == [[1, 2, 3], [1, 2, 3]]


def test_events_without_members_do_not_wait():
    burst = Burst()
    for number in range(3):
        burst.add({}, message(number))
    assert burst._messages == []


def test_an_event_of_another_topic_flushes_the_burst():
    burst = Burst()
    one, other = subscription(burst), subscription(burst)
    members = {one: None}
    for number in (1, 2):
        burst.add(members, message(number))
    burst.add({other: None}, message(1, "b"))
    assert numbers(one) == [1, 2]


@pytest.mark.parametrize("sizes", [[1] * 5, [4] * 4, [12, 1]], ids=["events", "bytes", "large"])
def test_a_full_queue_ends_its_subscription_with_the_event_that_does_not_fit(sizes):
    burst = Burst()
    slow, other = subscription(burst), subscription(burst, max_events=99, max_size=99)
    members = {slow: None, other: None}
    for number, size in enumerate(sizes):
        assert slow.end_reason is None
        burst.add(members, message(number, size=size))
    assert slow.end_reason == "slow"
    assert numbers(other) == [*range(len(sizes))]


class Play:
    """Some readers of two topics, and the steps that the test chooses."""

    def __init__(self, burst, readers):
        self.burst = burst
        self.topics = {"a": {}, "b": {}}
        self.published = {"a": 0, "b": 0}
        self.subscriptions = []
        self.traces = []
        self.tasks = []
        for channels, on_slow, max_events in readers:
            each = subscription(burst, on_slow, max_events, detach=self.leave)
            self.subscriptions.append(each)
            self.traces.append([])
            self.tasks.append(None)
            for channel in channels:
                self.topics[channel][each] = None

    def leave(self, subscription):
        for members in self.topics.values():
            members.pop(subscription, None)

    async def step(self, kind, choice, count):
        index = choice % len(self.tasks)
        if kind == "publish":
            channel = "ab"[choice % 2]
            for _ in range(count):
                self.published[channel] += 1
                size = 1 + self.published[channel] * 7 % 5
                self.burst.add(
                    self.topics[channel], message(self.published[channel], channel, size)
                )
        elif kind == "read":
            for _ in range(count):
                await self.read(index)
        elif kind == "gap":
            self.subscriptions[index].put_gap(Gap("a", "restarted", "epoch-1"))
        elif count == 1:
            self.subscriptions[index].end("shutdown")

    async def read(self, index):
        """Let a reader take one item, or wait for it."""
        task = self.tasks[index]
        if task is None or task.done():
            self.tasks[index] = asyncio.create_task(self.take(index))
        for _ in range(5):
            await asyncio.sleep(0)

    async def take(self, index):
        subscription = self.subscriptions[index]
        item = await anext(subscription, None)
        self.traces[index].append(item and (type(item), item.id, subscription.position))

    def end_turn(self):
        """Mark the end of a step in the traces: events must not come late either."""
        for trace in self.traces:
            trace.append("turn")

    async def finish(self):
        for each in self.subscriptions:
            each.end("shutdown")
        for index in range(len(self.tasks)):
            for _ in range(100):
                await self.read(index)


READERS = [
    ("a", "disconnect", 3),
    ("a", "drop_oldest", 3),
    ("a", "disconnect", 20),
    ("ab", "drop_oldest", 8),
    ("ab", "disconnect", 20),
    ("ab", "latest", 3),
]

KINDS = [*["publish"] * 4, *["read"] * 4, "gap", "end"]


async def play(burst, seed):
    random = Random(seed)
    game = Play(burst, random.choices(READERS, k=random.randint(1, 4)))
    for _ in range(60):
        await game.step(random.choice(KINDS), random.randrange(12), random.randint(1, 6))
        game.end_turn()
    await game.finish()
    return game.traces, [each.end_reason for each in game.subscriptions]


def test_no_reader_can_tell_whether_events_came_in_a_burst():
    for seed in SEEDS:
        expected = run_in_virtual_time("asyncio", lambda seed=seed: play(DirectBurst(), seed))
        found = run_in_virtual_time("asyncio", lambda seed=seed: play(Burst(), seed))
        assert found == expected, seed
