"""Reads of a log that many subscriptions share."""

import anyio
import pytest

from spica.channels import ChannelsUnavailable, History
from spica.channels.backend import Page
from spica.channels.reads import SharedReads

pytestmark = pytest.mark.anyio


class SlowBackend:
    """A log with a counter. A read takes its page at its beginning, and answers when it is let go."""

    def __init__(self):
        self.last = 0
        self.reads = 0
        self.fails = False
        self.turn = anyio.Event()

    async def read(self, key, after, limit, history):
        self.reads += 1
        page = Page("abcdef", self.last, ())
        await self.turn.wait()
        if self.fails:
            raise ChannelsUnavailable("reading", "gone")
        return page


@pytest.fixture
def backend():
    return SlowBackend()


@pytest.fixture
def reads(backend):
    return SharedReads(backend)


async def read(reads, found):
    try:
        found.append((await reads.read("a", 0, 10, History())).last)
    except ChannelsUnavailable as exc:
        found.append(exc.reason)


async def test_many_that_wait_share_the_read_after_the_one_that_runs(backend, reads):
    found = []
    async with anyio.create_task_group() as group:
        group.start_soon(read, reads, found)
        await anyio.wait_all_tasks_blocked()
        backend.last = 7  # published before the others ask: their page must have it
        for _ in range(50):
            group.start_soon(read, reads, found)
        await anyio.wait_all_tasks_blocked()
        backend.turn.set()
    assert found == [0] + [7] * 50
    assert backend.reads == 2
    assert reads._reads == {}


async def test_different_pages_are_read_at_the_same_time(backend, reads):
    async with anyio.create_task_group() as group:
        group.start_soon(reads.read, "a", 0, 10, History())
        group.start_soon(reads.read, "a", 5, 10, History())
        group.start_soon(reads.read, "b", 0, 10, History())
        await anyio.wait_all_tasks_blocked()
        assert backend.reads == 3
        backend.turn.set()


async def test_all_that_wait_fail_with_the_read_that_runs(backend, reads):
    found = []
    backend.fails = True
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(read, reads, found)
        await anyio.wait_all_tasks_blocked()
        backend.turn.set()
    assert found == ["gone"] * 50
    assert backend.reads == 1
    backend.fails = False
    await read(reads, found)
    assert found[-1] == 0


async def test_a_cancelled_reader_leaves_the_others_their_read(backend, reads):
    found, scope = [], anyio.CancelScope()

    async def leave():
        with scope:
            await read(reads, found)

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            group.start_soon(read, reads, found)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert backend.reads == 2
        backend.turn.set()
    assert found == [0, 0, 0]
