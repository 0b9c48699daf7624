"""Operations that stop when the client leaves."""

import asyncio
from typing import Any

import anyio
import pytest
from asgi_kit import DISCONNECT, body_messages, http_scope

from spica._asgi.body import BodyChannel
from spica._asgi.disconnect import run_until_disconnect
from spica.types import Message, Send

pytestmark = pytest.mark.anyio


class Client:
    """A receive that waits until the client leaves, or fails."""

    def __init__(self, *chunks: bytes) -> None:
        self.messages = body_messages(*chunks) if chunks else []
        self.left = anyio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> Any:
        if self.messages:
            return self.messages.pop(0)
        await self.left.wait()
        if self.error is not None:
            raise self.error
        return DISCONNECT

    def leave(self) -> None:
        self.left.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.left.set()

    def channel(self, spec_version: str = "2.3") -> BodyChannel:
        return BodyChannel(self, http_scope(asgi={"spec_version": spec_version}))


async def idle(send: Send) -> None:
    await anyio.sleep_forever()


async def settle(send: Send) -> None:
    await anyio.wait_all_tasks_blocked()


async def nowhere(message: Message) -> None:
    raise AssertionError(message)


async def test_an_operation_runs_to_its_end() -> None:
    steps = []

    async def operation(send: Send) -> None:
        steps.append("begun")
        await anyio.wait_all_tasks_blocked()
        steps.append("over")

    with anyio.fail_after(30):
        assert await run_until_disconnect(operation, nowhere, Client().channel()) is True
    assert steps == ["begun", "over"]


async def test_an_idle_operation_stops_when_the_client_leaves() -> None:
    client = Client()
    results: list[bool] = []

    async def run() -> None:
        results.append(await run_until_disconnect(idle, nowhere, client.channel()))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            client.leave()
    assert results == [False]


async def test_the_operation_may_clean_up() -> None:
    client = Client()
    steps = []

    async def operation(send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
                steps.append("clean")

    client.leave()
    with anyio.fail_after(30):
        assert await run_until_disconnect(operation, nowhere, client.channel()) is False
    assert steps == ["clean"]


async def test_an_unread_body_is_kept() -> None:
    client = Client(b"ab", b"cd")
    channel = client.channel()
    client.leave()
    with anyio.fail_after(30):
        await run_until_disconnect(idle, nowhere, channel)
    assert await channel.read() == b"abcd"


async def test_an_error_of_the_operation_is_raised_as_it_is() -> None:
    async def operation(send: Send) -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError("operation")

    with pytest.raises(ValueError, match="operation"):
        await run_until_disconnect(operation, nowhere, Client().channel())


async def test_an_error_of_receive_surfaces() -> None:
    client = Client()
    client.fail(ConnectionResetError("receive"))
    with anyio.fail_after(30):
        with pytest.raises(Exception) as info:
            await run_until_disconnect(idle, nowhere, client.channel())
    error = info.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert repr(error) == "ConnectionResetError('receive')"


async def test_a_cancelled_caller_cancels_the_operation() -> None:
    steps = []

    async def operation(send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            steps.append("over")

    async with anyio.create_task_group() as group:
        group.start_soon(run_until_disconnect, operation, nowhere, Client().channel())
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert steps == ["over"]


async def test_a_cancelled_caller_waits_for_a_receive_that_takes_time_to_end() -> None:
    steps = []
    waits = anyio.Event()

    async def receive() -> Any:
        waits.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
            steps.append("receive is over")

    async def run() -> None:
        try:
            await run_until_disconnect(idle, nowhere, BodyChannel(receive, http_scope()))
        finally:
            steps.append("caller goes on")

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await waits.wait()
        group.cancel_scope.cancel()
    assert steps == ["receive is over", "caller goes on"]


class HypercornSend:
    """A ``send`` that tells the client's leaving before the last message is all sent, as hypercorn does."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sent: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if not message.get("more_body", False):
            self.client.leave()
            await anyio.wait_all_tasks_blocked()  # until who listens has heard of it
        self.sent.append(message["body"])


async def send_two(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await send({"type": "http.response.body", "body": b"last"})


class TestOnTrio:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"

    async def test_the_last_send_is_not_cancelled_when_the_server_tells_its_end(self) -> None:
        client = Client()
        send = HypercornSend(client)
        with anyio.fail_after(30):
            assert await run_until_disconnect(send_two, send, client.channel()) is True
        assert send.sent == [b"first", b"last"]

    async def test_a_send_before_the_last_is_cancelled(self) -> None:
        client = Client()

        async def send(message: Message) -> None:
            client.leave()
            await anyio.sleep_forever()

        with anyio.fail_after(30):
            assert await run_until_disconnect(send_two, send, client.channel()) is False


class TestOnAsyncio:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_an_operation_that_never_waits_starts_no_task(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def operation(send: Send) -> None:
            pass

        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "create_task", None)
            assert await run_until_disconnect(operation, nowhere, Client().channel()) is True
            await asyncio.sleep(0)  # nor afterwards

    async def test_the_operation_stays_in_the_caller_s_task(self) -> None:
        tasks = []

        async def operation(send: Send) -> None:
            await asyncio.sleep(0)
            tasks.append(asyncio.current_task())

        await run_until_disconnect(operation, nowhere, Client().channel())
        assert tasks == [asyncio.current_task()]

    async def test_no_task_is_left(self) -> None:
        before = asyncio.all_tasks()
        for operation in (settle, idle):
            client = Client()
            if operation is idle:
                client.leave()
            await run_until_disconnect(operation, nowhere, client.channel())
        assert asyncio.all_tasks() == before
