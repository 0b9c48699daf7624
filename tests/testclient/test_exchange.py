import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from spica.testclient import exchange as exchange_module
from spica.testclient.exchange import Exchange

pytestmark = pytest.mark.anyio


class Bare(Exchange):
    """An exchange without messages."""

    async def receive(self) -> Any:
        return await self.wait_in_vain()

    async def send(self, message: Any) -> None:
        self.outbox.put(message)


class Strict(Bare):
    def check_end(self) -> None:
        raise AssertionError("too early")


def app_of(act: Callable[[], Awaitable[None]]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await act()

    return app


async def run(exchange: Exchange, app: Any) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run, app, {})


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_what_the_application_raises_is_kept(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    exchange = Bare()
    await run(exchange, app_of(fail))
    assert exchange.take_failure() is error


async def test_a_failure_is_taken_once() -> None:
    exchange = Bare()
    exchange.failure = ValueError()
    assert exchange.take_failure() is not None
    assert exchange.take_failure() is None


async def test_a_return_too_early_is_a_failure() -> None:
    exchange = Strict()
    await run(exchange, app_of(anyio.lowlevel.checkpoint))
    assert str(exchange.take_failure()) == "too early"


async def test_cancelling_waits_for_the_application_and_is_no_failure() -> None:
    log = []

    async def clean_up() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            log.append("clean")

    exchange = Strict()
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run, app_of(clean_up), {})
        await exchange.cancel()
        assert log == ["clean"]
    assert exchange.take_failure() is None


async def test_an_exchange_that_never_ran_can_be_ended() -> None:
    exchange = Bare()
    await exchange.cancel()
    await exchange.settle()


async def test_one_that_waits_for_a_further_message_is_cancelled_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange_module, "CLEANUP_SECONDS", float("inf"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange._noticed.set()
        await receive()

    exchange = Bare()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(exchange.run, app, {})
            await exchange.settle()


async def test_one_that_knows_of_the_end_may_clean_up() -> None:
    log = []

    async def clean_up() -> None:
        exchange._noticed.set()
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        log.append("clean")

    exchange = Bare()
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run, app_of(clean_up), {})
        await exchange.settle()
        assert log == ["clean"]


async def test_one_that_a_busy_machine_has_stopped_may_still_notice_the_end() -> None:
    log = []

    async def clean_up() -> None:
        await anyio.sleep(0.001)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        exchange._noticed.set()
        log.append("clean")

    async def stop_the_process() -> None:
        time.sleep(2 * exchange_module.UNNOTICED_SECONDS)  # noqa: ASYNC251  # the fault itself

    exchange = Bare()
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run, app_of(clean_up), {})
        tasks.start_soon(stop_the_process)
        await exchange.settle()
    assert log == ["clean"]


@pytest.mark.parametrize("is_noticed", [False, True])
async def test_one_that_does_not_end_is_cancelled_after_a_while(
    is_noticed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_module, "CLEANUP_SECONDS", 0.01)

    async def stay() -> None:
        if is_noticed:
            exchange._noticed.set()
        await anyio.sleep_forever()

    exchange = Bare()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(exchange.run, app_of(stay), {})
            await exchange.settle()
