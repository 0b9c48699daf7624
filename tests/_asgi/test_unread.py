"""Iterators of responses that are not sent, or not to their end."""

import contextlib
import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from spica._asgi import unread
from spica._asgi.unread import CloseOnce, close_unread, has_started_running
from spica.concurrency import iterate_in_threadpool

pytestmark = pytest.mark.anyio


class Resource:
    """Something that a generator holds, with a note of how it was released."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def chunks(self) -> Any:
        self.log.append("begun")
        try:
            yield b"first"
            yield b"second"
        finally:
            await anyio.lowlevel.checkpoint()  # an await in `finally` works
            self.log.append("released")

    async def waiting(self) -> Any:
        try:
            await anyio.sleep_forever()
            yield b""
        finally:
            self.log.append("released")

    async def failing(self) -> Any:
        try:
            raise ValueError("of the generator")
            yield b""
        finally:
            self.log.append("released")

    async def empty(self) -> Any:
        try:
            if self.log:
                yield b""
        finally:
            self.log.append("released")

    def sync_chunks(self) -> Any:
        self.log.append("begun")
        try:
            yield b"first"
        finally:
            self.log.append("released")


async def test_the_finally_of_a_generator_that_has_not_begun_runs() -> None:
    resource = Resource()
    await close_unread(resource.chunks())
    assert resource.log == ["begun", "released"]


async def test_that_of_a_plain_generator_runs_too() -> None:
    resource = Resource()
    await close_unread(iterate_in_threadpool(resource.sync_chunks()))
    assert resource.log == ["begun", "released"]


async def test_a_generator_that_has_begun_is_only_closed() -> None:
    resource = Resource()
    chunks = resource.chunks()
    assert not has_started_running(chunks)
    await anext(chunks)
    assert has_started_running(chunks)
    await close_unread(chunks)
    assert resource.log == ["begun", "released"]
    await close_unread(chunks)  # again, when it has ended
    assert resource.log == ["begun", "released"]


async def test_a_generator_without_items() -> None:
    resource = Resource()
    await close_unread(resource.empty())
    assert resource.log == ["released"]


async def test_a_generator_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    resource = Resource()
    with caplog.at_level(logging.ERROR, unread.LOGGER_NAME):
        await close_unread(resource.failing())
    assert resource.log == ["released"]
    assert "has failed" in caplog.text
    assert "of the generator" in caplog.text


async def test_a_generator_that_waits_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "UNREAD_SECONDS", 0.01)
    resource = Resource()
    await close_unread(resource.waiting())
    assert resource.log == ["released"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_awaits_in_finally_work_after_that_on_asyncio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread, "UNREAD_SECONDS", 0.01)
    log = []

    async def chunks() -> Any:
        try:
            await anyio.sleep_forever()
            yield b""
        finally:
            await anyio.lowlevel.checkpoint()
            log.append("released")

    await close_unread(chunks())
    assert log == ["released"]


async def test_a_generator_that_never_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unread, "UNREAD_SECONDS", 0.01)
    goes_on = anyio.Event()
    has_ended = anyio.Event()

    async def chunks() -> Any:
        try:
            yield b""
        finally:
            while not goes_on.is_set():
                with contextlib.suppress(BaseException), anyio.CancelScope(shield=True):
                    await goes_on.wait()
            has_ended.set()

    with caplog.at_level(logging.ERROR, unread.LOGGER_NAME):
        await close_unread(chunks())
    assert "does not end" in caplog.text
    goes_on.set()
    await has_ended.wait()


async def test_it_is_closed_though_the_caller_is_cancelled() -> None:
    resource = Resource()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await close_unread(resource.chunks())
    assert resource.log == ["begun", "released"]


class Closable:
    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        raise AssertionError("it is not asked for an item")


class WithAclose(Closable):
    async def aclose(self) -> None:
        self.closed += 1


class WithClose(Closable):
    def close(self) -> None:
        self.closed += 1


class WithAsyncClose(Closable):
    async def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("cls", [WithAclose, WithClose, WithAsyncClose])
async def test_an_iterator_that_is_no_generator_is_closed(cls: Any) -> None:
    iterator = cls()
    close = CloseOnce(iterator)
    await close()
    await close()
    assert iterator.closed == 1


async def test_an_iterator_that_can_not_be_closed_is_left() -> None:
    await close_unread(Closable())
