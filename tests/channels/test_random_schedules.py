"""Runs and presence on slow servers with outages, in random orders.

A longer search: ``SEEDS=100:5000 scripts/test tests/channels/test_random_schedules.py``.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from contextlib import suppress

import pytest
from slow_backends import Outcomes, SlowBackend, SlowStore
from virtual_time import run_in_virtual_time

from spica.applications import Spica
from spica.channels import Channels, Gap, Runs
from spica.channels.runs import ENDS
from spica.exceptions import HTTPException
from spica.testclient import AsyncTestClient

first, _, last = os.environ.get("SEEDS", "0:40").partition(":")
SEEDS = range(int(first), int(last))


@pytest.fixture(autouse=True)
def quiet():
    """The log of all these outages is of no interest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Worker:
    """An application that lives until `stop`."""

    def __init__(self, backend, store):
        self.channels = Channels(backend)
        self.runs = Runs(self.channels, store)
        lifespan = [self.channels.lifespan, self.runs.lifespan]
        self.client = AsyncTestClient(Spica(lifespan=lifespan, drain_seconds=1))


async def start_workers(outcomes):
    backend, store = SlowBackend(outcomes), SlowStore(outcomes)
    workers = [Worker(backend, store) for _ in range(2)]
    for worker in workers:
        await worker.client.__aenter__()
    return workers


async def stop_workers(workers, tasks):
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for worker in reversed(workers):
        await worker.client.__aexit__(None, None, None)


# Runs


async def items(outcomes, count, fails):
    for number in range(count):
        await asyncio.sleep(outcomes.random.choice([0, 0.01, 0.5, 3]))
        yield str(number)
    if fails:
        raise KeyError


class Readings:
    """What the readers of runs got, by the id of the run."""

    def __init__(self, outcomes):
        self.outcomes = outcomes
        self.found = {}

    async def read(self, worker, id):
        """Read a run to its end, with reconnects at random places."""
        got, after = [], None
        while not got or got[-1] not in ENDS:
            stream = worker.runs.events(id, after=after)
            left = self.outcomes.random.choice([1, 2, 5, 100])
            async for event in stream:
                after = event.id or after
                if isinstance(event, Gap):
                    got.append("gap")
                elif event.data is not None:
                    got.append(event.event if event.event in ENDS else event.data)
                left -= 1
                if not left or (got[-1:] and got[-1] in ENDS):
                    break
            await stream.aclose()
            await asyncio.sleep(self.outcomes.random.choice([0, 0.5, 2]))
        self.found.setdefault(id, []).append(got)


async def play_runs(seed):
    outcomes = Outcomes(seed)
    random, readings = outcomes.random, Readings(outcomes)
    workers = await start_workers(outcomes)
    started, tasks = {}, []

    async def start(worker, key):
        count, fails = random.randint(0, 8), random.random() < 0.3
        with suppress(HTTPException):
            run = await worker.runs.start(items(outcomes, count, fails), key=key)
            if run.is_new:
                started[run.id] = (count, fails)

    async def cancel(worker, id):
        with suppress(HTTPException):
            await worker.runs.cancel(id)

    for _ in range(random.randint(3, 25)):
        worker, kind = random.choice(workers), random.choice("sssrrrrck")
        if kind == "s":
            tasks.append(asyncio.create_task(start(worker, random.choice(["k", None]))))
        elif kind in "rc" and started:
            run = readings.read if kind == "r" else cancel
            tasks.append(asyncio.create_task(run(worker, random.choice(list(started)))))
        elif kind == "k" and tasks:
            random.choice(tasks).cancel()
        await outcomes.rest()
    outcomes.failure_rate = 0.0
    await asyncio.sleep(60)
    tasks += [asyncio.create_task(readings.read(workers[0], id)) for id in started]
    if tasks:
        await asyncio.wait_for(asyncio.wait(tasks), 200)
    for id, (count, fails) in started.items():
        check_run(
            {await worker.runs.status(id) for worker in workers}, count, fails, readings.found[id]
        )
    assert not workers[0].runs._producers
    assert await workers[0].runs._store.members("running") == []
    assert (await workers[0].runs.start(items(outcomes, 0, False), key="k")).is_new
    await stop_workers(workers, [*tasks, asyncio.create_task(asyncio.sleep(0))])


def check_run(statuses, count, fails, readings):
    """All workers agree on the end, and each reader has got every item once, in order, and that end."""
    [status] = statuses
    assert status in ENDS
    for got in readings:
        *found, end = got
        assert end == status, got
        assert [*filter("gap".__ne__, found)] == [
            str(n) for n in range(len(found) - found.count("gap"))
        ], got
        if "gap" not in found and (status == "done" or (status == "failed" and fails)):
            assert len(found) == count, got


def test_readers_of_runs_agree_and_nothing_is_left():
    for seed in SEEDS:
        run_in_virtual_time("asyncio", lambda seed=seed: play_runs(seed))


# Presence


class Watcher:
    """A reader of the members of a room, who comes back after each end of the stream."""

    def __init__(self, channels):
        self.view = Counter()
        self.task = asyncio.create_task(self.watch(channels))

    async def watch(self, channels):
        while True:
            async for event in channels.presence.events("room"):
                if event.kind == "snapshot":
                    self.view = Counter({user: len(metas) for user, metas in event.users.items()})
                else:
                    self.view[event.user] = event.connections
            await asyncio.sleep(1)


async def stay(channels, user, seconds):
    with suppress(asyncio.CancelledError):
        async with channels.presence.track("room", user):
            await asyncio.sleep(seconds)


async def play_presence(seed):
    outcomes = Outcomes(seed)
    random = outcomes.random
    workers = await start_workers(outcomes)
    watchers = [Watcher(worker.channels) for worker in workers]
    members = []
    for _ in range(random.randint(5, 40)):
        channels, kind = random.choice(workers).channels, random.choice("jjjkw")
        if kind == "j":
            seconds = random.choice([0, 0.01, 0.3, 5, 25])
            members.append(asyncio.create_task(stay(channels, random.choice("abc"), seconds)))
        elif kind == "k" and members:
            random.choice(members).cancel()
        elif kind == "w":
            watchers.append(Watcher(channels))
        await outcomes.rest()
    outcomes.failure_rate = 0.0
    there = [random.choice("abc") for _ in range(random.randint(0, 3))]
    members += [asyncio.create_task(stay(workers[0].channels, user, 1000)) for user in there]
    await asyncio.sleep(120)
    users = await workers[1].channels.presence.list("room")
    assert {user: len(metas) for user, metas in users.items()} == Counter(there)
    for watcher in watchers:
        assert +watcher.view == Counter(there)
    await stop_workers(workers, [*members, *(watcher.task for watcher in watchers)])


def test_every_view_of_the_members_becomes_right(monkeypatch):
    for seed in SEEDS:

        async def play(seed=seed):
            # Members in memory expire by this clock.
            monkeypatch.setattr(time, "monotonic", asyncio.get_running_loop().time)
            await play_presence(seed)

        run_in_virtual_time("asyncio", play)
        monkeypatch.undo()
