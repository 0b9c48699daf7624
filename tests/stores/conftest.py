"""The stores that the contract is tested on."""

import functools
import time

import anyio
import pytest

from spica.stores import open_store


class Backend:
    """One kind of store, and a way to let time pass for it."""

    def __init__(self, name, request):
        self.name = name
        self.request = request
        self.time = 1000.0

    def open(self, **options):
        """Return a store with its own connections. All stores of a test share their entries."""
        if self.name == "memory":
            if not hasattr(self, "store"):
                self.store = open_store("memory://")
                self.store._space.clock = self.clock
            return self.store
        return open_store(self.url, **options)

    @functools.cached_property
    def url(self):
        if self.name == "sqlite":
            return f"sqlite:///{self.request.getfixturevalue('tmp_path')}/state.db"
        return self.request.getfixturevalue(f"{self.name}_url")

    def clock(self):
        return self.time

    def brief(self):
        """Begin a time after which entries shall expire, and return it: short where the test has to wait."""
        self.brief_seconds = 0.25 if self.name in ("redis", "postgres") else 60.0
        self.brief_since = time.monotonic()
        return self.brief_seconds

    def is_late(self):
        """Whether the brief time may be over already, because the machine is busy."""
        return time.monotonic() - self.brief_since > 0.9 * self.brief_seconds

    async def elapse_brief(self):
        """Let the brief time pass."""
        await self.elapse(1.1 * self.brief_seconds)

    async def elapse(self, seconds):
        """Let a time pass: at once where the clock is ours."""
        if self.name == "memory":
            self.time += seconds
        elif self.name == "sqlite":
            self.request.getfixturevalue("store")._file.worker.operations._offset += seconds * 10**6
        else:
            await anyio.sleep(seconds)


PAIRS = [
    *[(name, loop) for name in ("memory", "sqlite") for loop in ("asyncio", "trio")],
    ("redis", "asyncio"),  # the drivers work on asyncio only
    ("postgres", "asyncio"),
]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request):
    """The kind of store and the event loop of a test of the contract."""
    return request.param


@pytest.fixture
def backend(request, pair):
    return Backend(pair[0], request)


@pytest.fixture
async def store(backend):
    async with backend.open(timeout_seconds=60) as store:
        await store.ping()  # the first operation of all may take long: it creates the tables
        yield store
