"""Many requests of one user on a store with outages, in random orders.

A longer search: ``SEEDS=1000:50000 scripts/test tests/middleware/sessions/test_random_schedules.py``.
"""

from __future__ import annotations

import logging
import os
from random import Random
from typing import Any

import pytest
from interleaving import checkpoint
from session_kit import KEY, Browser, CountingStore, app_with

from spica.middleware.sessions import Sessions
from spica.middleware.sessions.records import hash_id
from spica.signing import Keyring
from spica.stores import StoreUnavailable

first, _, last = os.environ.get("SEEDS", "0:400").partition(":")
SEEDS = range(int(first), int(last))

KINDS = ["set", "set", "set save", "regenerate", "set regenerate", "bind", "set bind", "clear"]
KINDS += ["clear bind", "", "set clear", "revoke_all", "revoke"]


class World:
    """A store that other requests interrupt, and that fails before or after an operation."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.time = 0
        self.store = SteppedStore(self)
        self.failure_rate = 0.0
        self.calls: list[Call] = []
        self.running: Call | None = None

    def play(self) -> None:
        """Start calls at random times, and let a random one go on until all have ended."""
        random = self.random
        login = Call(self, "set bind", "")
        login.finish()
        self.failure_rate = random.choice([0, 0, 0.03, 0.1])
        kinds = random.sample(KINDS, random.randint(1, 4))
        active: list[Call] = []
        left = random.randint(2, 6)
        while active or left:
            self.time += 1
            if left and (not active or random.random() < 0.25):
                left -= 1
                cookies = [call.browser.cookie for call in self.calls]
                active.append(Call(self, random.choice(kinds), random.choice([*cookies, ""])))
            call = random.choice(active)
            if not call.step():
                active.remove(call)

    def read(self, id_hash: str) -> Any:
        """Return the fields of a session, or None if it has ended."""
        self.failure_rate = 0.0
        record = run(self.store.prefixed("session").read(id_hash))
        return None if record is None else record.fields


class SteppedStore(CountingStore):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    async def _run(self, operation: str, *args: Any) -> Any:
        await self.step(operation)
        result = await super()._run(operation, *args)
        await self.step(operation)
        return result

    async def step(self, operation: str) -> None:
        await checkpoint()
        if self.world.random.random() < self.world.failure_rate:
            raise StoreUnavailable("SteppedStore", operation, "down")


def run(steps: Any) -> Any:
    while True:
        try:
            steps.send(None)
        except StopIteration as stop:
            return stop.value


def name_of(cookie: str) -> str:
    """Return the hash of the id in a cookie, or ""."""
    if not cookie:
        return ""
    return hash_id(Keyring(KEY).verify(cookie.partition("=")[2], "spica.session"))


class Call:
    """A request, or a call of `Sessions`."""

    def __init__(self, world: World, kind: str, cookie: str) -> None:
        world.calls.append(self)
        self.world = world
        self.kind = kind
        self.key = f"k{len(world.calls)}"
        self.old = name_of(cookie)
        self.browser = Browser(app_with(self.endpoint, world.store), cookie)
        self.status = 0
        self.bound_at = -1
        self.began_at = world.time
        self.is_dropped = False
        self._steps = self.run()

    def step(self) -> bool:
        self.world.running = self
        try:
            self._steps.send(None)
        except StopIteration:
            return False
        return True

    def finish(self) -> None:
        while self.step():
            pass

    async def run(self) -> None:
        sessions = Sessions(self.world.store)
        try:
            if self.kind == "revoke_all":
                await sessions.revoke_all("7")
            elif self.kind == "revoke":
                await sessions.revoke(self.old)
            else:
                self.status = (await self.browser.get()).status
                return
            self.status = 200
        except StoreUnavailable:
            self.status = 503

    async def endpoint(self, request: Any) -> None:
        session = request.session
        await checkpoint()
        if "clear" in self.kind:
            session.clear()
        if "set" in self.kind:
            session[self.key] = 1
        if "save" in self.kind:
            await session.save()
        if "regenerate" in self.kind:
            session.regenerate()
        if "bind" in self.kind:
            session.bind("7")
            self.bound_at = self.world.time
            await checkpoint()

    @property
    def new(self) -> str:
        return name_of(self.browser.cookie)


def check(world: World) -> None:
    calls = world.calls
    known = {call.new for call in calls} - {""}
    alive = {name for name in known if world.read(name) is not None}
    listed = set(run(world.store.prefixed("session").members("7")))
    assert {call.status for call in calls} <= {200, 503}
    if all(call.status == 200 for call in calls):
        assert listed <= known  # no device that is none
    for call in calls:
        if call.status == 200 and call.old and not call.is_dropped:
            has_moved = any(word in call.kind for word in ("regenerate", "bind", "clear"))
            if has_moved or call.kind == "revoke":
                assert call.old not in alive, f"{call.kind}: the old id lives"
        if call.status == 200 and call.kind == "revoke_all":
            is_login_late = any(other.bound_at >= call.began_at for other in calls)
            assert is_login_late or not listed & known
    check_writes(world)


def check_writes(world: World) -> None:
    """A change that was not dropped is there, unless a request gave the session a new id meanwhile."""
    moves = ("regenerate", "bind", "clear")
    if any(word in call.kind for call in world.calls[1:] for word in moves):
        return
    for call in world.calls:
        fields = world.read(call.new) if call.status == 200 and not call.is_dropped else None
        assert fields is None or "set" not in call.kind or f".{call.key}" in fields


@pytest.fixture(autouse=True)
def note_drops(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    """Let the log note which call has dropped its changes."""
    worlds: list[World] = []

    def note(*_: Any) -> None:
        running = worlds[-1].running
        assert running is not None
        running.is_dropped = True

    monkeypatch.setattr(logging.getLogger("spica.sessions"), "info", note)
    return worlds


def test_no_session_is_revived_and_no_write_is_lost(note_drops: list[World]) -> None:
    for seed in SEEDS:
        world = World(seed)
        note_drops.append(world)
        world.play()
        check(world)
