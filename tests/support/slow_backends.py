"""A store and channels like those on a server: slow by random times, and down by random chance.

``outcomes`` decides for each operation. With `run_in_virtual_time`, a test of many seeds takes no time. A
failure comes before the operation or after it, like a timeout of a client.
"""

import asyncio
import random

from spica.channels import ChannelsUnavailable, MemoryBackend
from spica.stores import MemoryStore, StoreUnavailable
from spica.stores.base import BaseStore


class Outcomes:
    """The random delays and failures of one test."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.failure_rate = 0.0

    async def run(self, error, function, *args):
        for when in ("before", "after"):
            await asyncio.sleep(self.random.choice([0, 0, 0.001, 0.01, 0.1]))
            if self.random.random() < self.failure_rate:
                raise error
            if when == "before":
                result = await function(*args)
        return result

    async def rest(self):
        """Let a random time pass. Sometimes an outage begins or ends."""
        if self.random.random() < 0.1:
            self.failure_rate = self.random.choice([0, 0.05, 0.2, 1])
        await asyncio.sleep(self.random.choice([0, 0, 0.005, 0.05, 1]))
        if self.failure_rate == 1:
            await asyncio.sleep(self.random.choice([0.5, 15]))
            self.failure_rate = 0.0


class SlowStore(MemoryStore):
    def __init__(self, outcomes):
        super().__init__()
        self.outcomes = outcomes
        self._space.clock = asyncio.get_running_loop().time

    async def _run(self, operation, *args):
        error = StoreUnavailable("SlowStore", operation, "down")
        return await self.outcomes.run(error, super()._run, operation, *args)

    # `MemoryStore` has shorter ways for these.
    get, generation, take = BaseStore.get, BaseStore.generation, BaseStore.take


class SlowBackend(MemoryBackend):
    def __init__(self, outcomes):
        super().__init__()
        self.outcomes = outcomes


def _slow(name):
    method = getattr(MemoryBackend, name)

    async def run(self, *args):
        return await self.outcomes.run(ChannelsUnavailable(name, "down"), method, self, *args)

    return run


for _name in ("publish", "read", "join", "leave", "members", "sweep"):
    setattr(SlowBackend, _name, _slow(_name))
