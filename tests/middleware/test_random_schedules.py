"""Rate limits on a slow store with outages, and places in a busy process, in random orders.

A longer search: ``SEEDS=100:5000 scripts/test tests/middleware/test_random_schedules.py``.
"""

import asyncio
import logging
import os
import time
from collections import Counter

import pytest
from asgi_kit import http_scope
from slow_backends import Outcomes, SlowStore
from virtual_time import run_in_virtual_time

from spica.background import BackgroundTask
from spica.middleware.admission import AdmissionMiddleware
from spica.middleware.ratelimit import Limit, Limiter, Rate, RateLimitMiddleware
from spica.requests import ClientDisconnect
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Route, Router

first, _, last = os.environ.get("SEEDS", "0:40").partition(":")
SEEDS = range(int(first), int(last))
MICROSECOND = 1e-6


@pytest.fixture(autouse=True)
def quiet():
    """The log of all these outages is of no interest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def explore(play, monkeypatch):
    for seed in SEEDS:

        async def run(seed=seed):
            monkeypatch.setattr(time, "monotonic", asyncio.get_running_loop().time)
            await play(Outcomes(seed))

        run_in_virtual_time("asyncio", run)
        monkeypatch.undo()


async def settle(tasks):
    """Wait for tasks, which may be cancelled, and raise the error of one that failed."""
    if tasks:
        done, left = await asyncio.wait(tasks, timeout=1000)
        assert not left
        for task in done:
            if not task.cancelled():
                task.result()


# Rate limits


class Client:
    """What a client got from all workers, with the times of request and answer."""

    def __init__(self, name):
        self.name = name
        self.asked, self.shared, self.refused = [], [], []
        self.alone = {}

    async def request(self, worker):
        now = asyncio.get_running_loop().time
        async with worker.lock:  # one at a time, so that the gauge tells the way of this one
            asked_at = now()
            self.asked.append(asked_at)
            alone = worker.limiter.checked_locally
            status = await worker.status(self.name)
            is_alone = worker.limiter.checked_locally > alone
            if status == 429:
                self.refused.append((asked_at, now()))
            elif status == 200:
                found = self.alone.setdefault(worker, []) if is_alone else self.shared
                found.append((asked_at, now()))
            else:
                assert status == 503


class Worker:
    """A process with a limit."""

    def __init__(self, store, limit, on_unavailable):
        self.limiter = Limiter(store, on_unavailable=on_unavailable)
        self.app = RateLimitMiddleware(PlainTextResponse("passed"), limit, store=self.limiter)
        self.lock = asyncio.Lock()

    async def status(self, client):
        statuses = []

        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self.app(http_scope(client=(client, 1)), None, send)
        return statuses[0]


def check_rate(admitted, rate):
    """In no stretch of time were more admitted than a full bucket and what came in meanwhile."""
    admitted = sorted(admitted)
    for start, (asked_at, _) in enumerate(admitted):
        for end in range(start, len(admitted)):
            stretch = max(answered_at for _, answered_at in admitted[start : end + 1]) - asked_at
            bound = rate.burst + stretch * 1e6 / rate.interval + MICROSECOND
            assert end - start + 1 <= bound, admitted[start : end + 1]


async def play_rates(outcomes):
    random = outcomes.random
    rate = Rate(random.choice([1, 2, 5]), random.choice([1, 5, 30]), random.choice([1, 3, 5]))
    denies = random.random() < 0.3
    store = SlowStore(outcomes)
    limit = Limit(rate)
    workers = [Worker(store, limit, "deny" if denies else "allow") for _ in range(3)]
    clients, tasks = [Client(f"192.0.2.{number}") for number in range(2)], []
    for _ in range(random.randint(10, 60)):
        for _ in range(random.choice([1, 1, 3, 8])):
            client, worker = random.choice(clients), random.choice(workers)
            tasks.append(asyncio.create_task(client.request(worker)))
        if random.random() < 0.1:
            random.choice(tasks).cancel()
        await outcomes.rest()
    await settle(tasks)
    outcomes.failure_rate = 0.0
    for client in clients:
        check_rate(client.shared, rate)
        for admitted in client.alone.values():
            check_rate(admitted, rate)
        assert not (denies and client.alone)
        for asked_at, answered_at in client.refused:
            # A refusal needs a bucket that others have emptied, also those whose answer was lost.
            begin = asked_at - rate.interval * rate.burst / 1e6 - 1  # the longest way of a request
            others = sum(begin <= moment <= answered_at for moment in client.asked) - 1
            assert others >= rate.burst
    # All is well again: the shared state, and nothing else, decides.
    await asyncio.sleep(rate.interval * rate.burst / 1e6 + 1)
    again = Client(clients[0].name)
    for number in range(rate.burst + 1):
        await again.request(workers[number % 3])
    check_rate(again.shared, rate)
    assert (again.alone, len(again.shared) >= rate.burst) == ({}, True)
    assert not workers[0].limiter.is_degraded


def test_no_more_are_admitted_than_documented_while_a_store_fails_and_recovers(monkeypatch):
    explore(play_rates, monkeypatch)


# Places


class Service:
    """Endpoints of all kinds behind `AdmissionMiddleware`, which count how many of them run."""

    def __init__(self, outcomes):
        self.random = outcomes.random
        self.max_active, self.max_waiting = self.random.randint(1, 3), self.random.randint(0, 3)
        self.running = 0
        self.statuses = Counter()
        routes = [Route(f"/{name}", getattr(self, name)) for name in self.kinds]
        self.layer = AdmissionMiddleware(
            Router(routes),
            max_active=self.max_active,
            max_waiting=self.max_waiting,
            max_wait_seconds=2.0,
        )

    kinds = ("work", "fail", "stream", "late")

    async def spend(self):
        self.running += 1
        assert self.running <= self.max_active
        assert self.layer.gauges.active <= self.max_active
        try:
            await asyncio.sleep(self.random.choice([0, 0.001, 0.5, 3]))
        finally:
            self.running -= 1

    async def work(self, request):
        await self.spend()
        return PlainTextResponse("a")

    async def fail(self, request):
        await self.spend()
        raise KeyError

    async def stream(self, request):
        return StreamingResponse(self.chunks())

    async def chunks(self):
        yield b"a"
        await self.spend()
        yield b"b"

    async def late(self, request):
        return PlainTextResponse("a", background=BackgroundTask(self.spend))

    async def request(self, leaves_after):
        received = 0

        async def receive():
            nonlocal received
            received += 1
            if received == 1:
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.sleep(leaves_after)
            return {"type": "http.disconnect"}

        async def send(message):
            await asyncio.sleep(self.random.choice([0, 0, 0.01]))
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1

        scope = http_scope(path="/" + self.random.choice(self.kinds))
        begin = asyncio.get_running_loop().time()
        try:
            await self.layer(scope, receive, send)
        except (KeyError, ClientDisconnect):
            self.statuses[500] += 1
        return asyncio.get_running_loop().time() - begin


async def play_places(outcomes):
    random, service = outcomes.random, Service(outcomes)
    gauges, tasks = service.layer.gauges, []
    for _ in range(random.randint(5, 50)):
        for _ in range(random.choice([1, 1, 2, 6])):
            leaves_after = random.choice([0, 0.01, 1, 100])
            tasks.append(asyncio.create_task(service.request(leaves_after)))
        if random.random() < 0.3:
            random.choice(tasks).cancel()
        await asyncio.sleep(random.choice([0, 0.001, 0.3, 2]))
        assert gauges.active <= service.max_active
        assert gauges.waiting <= service.max_waiting
        # Nobody waits while there is a place.
        assert not gauges.waiting or gauges.active == service.max_active
    await settle(tasks)
    assert (gauges.active, gauges.waiting, service.running) == (0, 0, 0)
    assert (service.layer._active, service.layer._waiters) == (0, [])
    assert gauges.refused >= service.statuses[503]
    for task in tasks:
        assert task.cancelled() or task.result() < 2 + 3 + 1  # a wait, the work, the messages


def test_no_place_is_leaked_or_given_twice(monkeypatch):
    explore(play_places, monkeypatch)
