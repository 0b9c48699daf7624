"""The backends that the contract is tested on."""

from contextlib import AsyncExitStack

import anyio
import pytest

from spica.channels import Channels, MemoryBackend
from spica.channels.backend import TIMEOUT_SECONDS

LIMITED = [
    f"spica.channels.{name}.TIMEOUT_SECONDS" for name in ("server", "sqlite", "postgres", "redis")
]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Give operations so much time that a busy machine fails none. The tests of the limit undo it."""
    for name in [*LIMITED, "spica.channels.presence.LEAVE_SECONDS"]:
        monkeypatch.setattr(name, 60.0)


@pytest.fixture
def limit_operations(monkeypatch):
    """A function that gives operations the usual time, or another one."""

    def limit(seconds=TIMEOUT_SECONDS):
        for name in LIMITED:
            monkeypatch.setattr(name, seconds)

    return limit


class Backend:
    """One kind of backend. All `Channels` that it opens share their events, like the workers of a fleet."""

    def __init__(self, name, request):
        self.name = name
        self.request = request
        self.memory = MemoryBackend()
        # Here, so that the server is cleaned up after the channels have stopped.
        if name == "sqlite":
            self.url = f"sqlite:///{request.getfixturevalue('tmp_path')}/channels.db"
        elif name != "memory":
            self.url = request.getfixturevalue(f"{name}_url")

    def make(self):
        """Return a new backend object, or the one in memory."""
        return self.memory if self.name == "memory" else self.url

    def channels(self, **options):
        return Channels(self.make(), **options)


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def backend(request, anyio_backend):
    if request.param in ("redis", "postgres") and anyio_backend == "trio":
        pytest.skip("The drivers work on asyncio only.")
    return Backend(request.param, request)


@pytest.fixture
async def start(backend):
    """A function that starts a worker and returns its channels."""
    async with AsyncExitStack() as stack:

        async def start(**options):
            channels = backend.channels(**options)
            await stack.enter_async_context(channels.lifespan())
            return channels

        yield start


@pytest.fixture
async def channels(start):
    return await start()


@pytest.fixture
def take():
    """A function that reads some items of a subscription, and fails if they do not come."""

    async def take(subscription, count):
        with anyio.fail_after(30):
            return [await anext(subscription) for _ in range(count)]

    return take
