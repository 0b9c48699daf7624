"""Who is in a channel, on every backend."""

import copy
import time
from contextlib import AsyncExitStack, aclosing

import anyio
import pytest

from spica.channels import Channels, EventTooLarge, MemoryBackend, PresenceEvent

pytestmark = pytest.mark.anyio


@pytest.fixture
async def listen():
    """A function that starts to read the changes of a channel, and returns a function for the next ones."""

    async with AsyncExitStack() as stack:

        async def listen(channels, channel="room"):
            events = channels.presence.events(channel)
            await stack.enter_async_context(aclosing(events))

            async def following(count):
                with anyio.fail_after(30):
                    return [await anext(events) for _ in range(count)]

            return following

        yield listen


async def test_members_by_user(start):
    one, two = await start(), await start()
    async with one.presence.track("room", "ann", {"device": "phone"}):
        async with two.presence.track("room", "ann"), two.presence.track("room", "bob"):
            users = await one.presence.list("room")
            assert sorted(users) == ["ann", "bob"]
            assert sorted(map(str, users["ann"])) == ["{'device': 'phone'}", "{}"]
            assert await one.presence.list("other") == {}
    assert await two.presence.list("room") == {}


async def test_a_snapshot_then_joins_and_leaves(start, listen):
    one, two = await start(), await start()
    async with one.presence.track("room", "ann"):
        following = await listen(two)
        assert await following(1) == [PresenceEvent("snapshot", "room", users={"ann": [{}]})]
        async with one.presence.track("room", "ann", {"n": 2}):
            assert await following(1) == [
                PresenceEvent("join", "room", user="ann", meta={"n": 2}, connections=2)
            ]
        assert await following(1) == [
            PresenceEvent("leave", "room", user="ann", meta={"n": 2}, connections=1)
        ]
    [event] = await following(1)
    assert (event.kind, event.user, event.connections) == ("leave", "ann", 0)


async def test_a_killed_worker_leaves_after_its_time(start, listen):
    killed, watcher = await start(), await start()
    watcher.presence.sweep_seconds = 0.05
    context = killed.presence.track("room", "ann")
    await context.__aenter__()
    following = await listen(watcher)
    assert (await following(1))[0].users == {"ann": [{}]}
    await refresh(killed, seconds=0.01)
    killed.presence._tracked.clear()  # it refreshes nothing any more
    await restart_loop(watcher)
    [event] = await following(1)
    assert (event.kind, event.user) == ("leave", "ann")
    await context.__aexit__(None, None, None)


async def refresh(channels, seconds):
    """Let the members of a worker count for a time from now on."""
    channels.presence.valid_seconds = seconds
    await channels.presence._refresh("room", dict(channels.presence._tracked["room"]))


async def test_a_worker_with_many_members_is_killed(start, listen):
    killed, watcher = await start(), await start(max_event_size=1500)
    async with AsyncExitStack() as members:
        for number in range(10):
            context = killed.presence.track("room", str(number), {"text": "x" * 500})
            await members.enter_async_context(context)
        following = await listen(watcher)
        assert len((await following(1))[0].users) == 10
        await refresh(killed, seconds=0.01)
        killed.presence._tracked.clear()
        watcher.presence.sweep_seconds = 0.05
        await restart_loop(watcher)
        events = await following(10)
        assert sorted(event.user for event in events) == [*"0123456789"]
        await watcher.publish("news", "still alive")


async def test_a_failed_refresh_does_not_end_the_application(start, monkeypatch, caplog):
    channels = await start()
    monkeypatch.setattr(channels.presence, "_refresh", lambda *args: 1 / 0)
    channels.presence._tracked["room"] = {}
    channels.presence.refresh_seconds = channels.presence.sweep_seconds = 0.01
    await restart_loop(channels)
    with anyio.fail_after(30):
        while "ZeroDivisionError" not in caplog.text:
            await anyio.sleep(0.01)
    await channels.publish("news", "still alive")


async def restart_loop(channels):
    """Let the sweep of a worker use its new interval now."""
    channels._hub.start_soon(channels.presence.run)


async def test_a_refresh_keeps_members_and_announces_those_that_were_swept(start, listen):
    one, two = await start(), await start()
    async with one.presence.track("room", "ann"):
        following = await listen(two)
        await following(1)
        await refresh(one, seconds=0.01)
        await anyio.sleep(0.02)
        await two.presence._sweep("room")
        assert await two.presence.list("room") == {}
        await refresh(one, seconds=30)
        assert [event.kind for event in await following(2)] == ["leave", "join"]
        assert await two.presence.list("room") == {"ann": [{}]}


async def test_members_leave_when_the_application_ends(backend, start, listen):
    watcher = await start()
    channels = backend.channels()
    async with channels.lifespan():
        context = channels.presence.track("room", "ann")
        await context.__aenter__()
        following = await listen(watcher)
        await following(1)
    assert [event.kind for event in await following(1)] == ["leave"]
    await context.__aexit__(None, None, None)


async def test_a_cancelled_member_leaves(channels):
    async def member():
        async with channels.presence.track("room", "ann"):
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(member)
        with anyio.fail_after(30):
            while not await channels.presence.list("room"):
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert await channels.presence.list("room") == {}


@pytest.mark.parametrize("user", ["", "x" * 257, 5])
async def test_a_user_is_a_short_string(user):
    channels = Channels()
    with pytest.raises(ValueError, match="user must be a str of 1 to 256"):
        async with channels.presence.track("room", user):
            pass


async def test_meta_data_are_bounded():
    channels = Channels()
    async with channels.lifespan():
        async with channels.presence.track("room", "ann", {"a": "x" * 8}, max_meta_size=16):
            pass
        with pytest.raises(EventTooLarge, match="17 bytes"):
            async with channels.presence.track("room", "ann", {"a": "x" * 9}, max_meta_size=16):
                pass


async def test_meta_data_fit_into_an_event():
    channels = Channels(max_event_size=300)
    async with channels.lifespan():
        with pytest.raises(EventTooLarge, match="the limit is 300"):
            async with channels.presence.track("room", "ann", {"a": "x" * 300}):
                pass
        assert await channels.presence.list("room") == {}


async def test_members_need_the_lifespan(backend):
    channels = backend.channels()
    with pytest.raises(RuntimeError, match="Channels has not started"):
        async with channels.presence.track("room", "ann"):
            pass
    with pytest.raises(RuntimeError, match="Channels has not started"):
        await channels.presence.list("room")


async def test_forked_processes_have_members_of_their_own():
    """gunicorn --preload makes the object before it forks: its memory is a copy."""
    original = Channels(MemoryBackend())
    fork = copy.copy(original)
    fork.presence = copy.copy(original.presence)
    fork.presence._carrier, fork.presence._tracked = fork, {}
    async with original.lifespan(), fork.lifespan():
        async with original.presence.track("room", "ann"), fork.presence.track("room", "bob"):
            assert sorted(await original.presence.list("room")) == ["ann", "bob"]
        assert await original.presence.list("room") == {}


@pytest.mark.parametrize("step", [-3600, 3600])
async def test_a_step_of_the_clock_changes_no_members(start, monkeypatch, step):
    one, two = await start(), await start()
    now = time.time
    async with one.presence.track("room", "ann"):
        monkeypatch.setattr(time, "time", lambda: now() + step)
        await two.presence._sweep("room")
        assert await two.presence.list("room") == {"ann": [{}]}
        await refresh(one, seconds=0.01)
        with anyio.fail_after(30):
            while await two.presence.list("room"):
                await anyio.sleep(0.01)
        monkeypatch.undo()
