"""The shutdown of an application: its order, its streams, its signals."""

import asyncio
import contextlib
import math
import signal
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from spica._asgi.side_task import running_asyncio_loop
from spica.applications import Spica
from spica.responses import PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route
from spica.shutdown import Shutdown
from spica.testclient import AsyncTestClient
from tests.support.virtual_time import run_in_virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Recorded:
    """A stream that notes when its turn comes, and ends if asked to."""

    def __init__(self, shutdown, after=None, ends=True):
        self.shutdown, self.end_after_seconds, self.ends = shutdown, after, ends
        self.ended_at = self.cancelled_at = None
        self.clock = (
            asyncio.get_running_loop().time if running_asyncio_loop() else trio.current_time
        )
        shutdown.add_stream(self)

    def end(self):
        self.ended_at = self.clock()
        if self.ends:
            self.shutdown.remove_stream(self)

    def cancel(self):
        self.cancelled_at = self.clock()
        self.shutdown.remove_stream(self)


@contextlib.asynccontextmanager
async def running(app):
    """Run the lifespan of an application, as a server does."""
    started, stopping = anyio.Event(), anyio.Event()
    messages = iter([{"type": "lifespan.startup"}])

    async def receive():
        for message in messages:
            return message
        await stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message):
        started.set()

    async with anyio.create_task_group() as group:
        group.start_soon(app, {"type": "lifespan", "state": {}}, receive, send)
        await started.wait()
        yield app.shutdown
        stopping.set()


class Client:
    """A client of one request for "/": it takes ``seconds`` for each part of the body."""

    def __init__(self, app, seconds=0):
        self.app, self.seconds, self.body = app, seconds, []
        self.is_complete = False

    async def get(self):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        await self.app(scope, self.receive, self.send)

    async def receive(self):
        await anyio.sleep_forever()

    async def send(self, message):
        if message["type"] == "http.response.body":
            if self.seconds:
                await anyio.sleep(self.seconds)
            self.body.append(message["body"])
            self.is_complete = not message["more_body"]


# -- the beginning -----------------------------------------------------------------------------------------


def test_nothing_has_begun_at_first():
    shutdown = Spica().shutdown
    assert not shutdown.is_begun
    assert shutdown.deadline() == math.inf


def test_the_first_begin_counts():
    shutdown = Spica(drain_seconds=3, readiness_delay_seconds=4).shutdown
    shutdown.begin("a deploy")
    shutdown.begin("another")
    assert (shutdown.is_begun, shutdown.reason) == (True, "a deploy")
    assert 6 < shutdown.deadline() <= 7


@pytest.mark.anyio
async def test_wait_returns_at_the_beginning_from_any_thread():
    shutdown = Spica().shutdown
    async with anyio.create_task_group() as group:
        group.start_soon(shutdown.wait)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(shutdown.begin)
    await shutdown.wait()


@pytest.mark.anyio
async def test_a_wait_that_is_given_up_leaves_nothing_behind():
    shutdown = Spica().shutdown
    for _ in range(3):
        with anyio.move_on_after(0):
            await shutdown.wait()
    shutdown.begin()
    await shutdown.wait()


@pytest.mark.anyio
async def test_a_wait_in_each_of_two_event_loops_returns():
    shutdown = Spica().shutdown

    def in_thread():
        anyio.run(shutdown.wait)
        return True

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, in_thread)
        group.start_soon(shutdown.wait)
        while len(shutdown._loops) < 2:
            await anyio.lowlevel.checkpoint()
        shutdown.begin()


def test_the_class_gives_the_attribute_and_a_subclass_may_replace_it():
    class Own(Spica):
        async def shutdown(self):
            pass

    app = Spica()
    app.shutdown = "mine"
    assert Own().shutdown.__name__ == "shutdown"
    assert app.shutdown == "mine"
    assert not isinstance(Spica.shutdown, Shutdown)


@pytest.mark.parametrize(
    ("value", "error"),
    [("8", TypeError), (True, TypeError), (-1, ValueError), (math.inf, ValueError)],
)
def test_a_drain_that_is_no_time_is_refused(value, error):
    with pytest.raises(error, match="drain_seconds must be a"):
        Spica(drain_seconds=value)
    with pytest.raises(error, match="readiness_delay_seconds must be a"):
        Spica(readiness_delay_seconds=value)


# -- mounted applications ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_mounted_applications_share_the_shutdown_of_the_outermost_one():
    innermost = Spica()
    inner = Spica(routes=[Mount("/innermost", innermost)])
    before = inner.shutdown
    app = Spica(routes=[Mount("/inner", inner)])
    async with AsyncTestClient(app) as client:
        assert inner.shutdown is innermost.shutdown is app.shutdown
        client.shutdown()
        assert before.is_begun


@pytest.mark.anyio
async def test_request_app_shutdown_is_that_of_the_outermost_application_without_a_lifespan():
    async def endpoint(request):
        return PlainTextResponse(request.app.shutdown.reason)

    inner = Spica(routes=[Route("/", endpoint)])
    app = Spica(routes=[Mount("/inner", inner)])
    app.shutdown.begin("a deploy")
    messages = []
    scope = {"type": "http", "method": "GET", "path": "/inner/", "headers": [], "query_string": b""}

    async def send(message):
        messages.append(message)

    await app(scope, None, send)
    assert messages[1]["body"] == b"a deploy"


@pytest.mark.anyio
async def test_an_application_that_is_mounted_below_itself_has_its_own():
    inner = Spica()
    app = Spica(routes=[Mount("/inner", inner)])
    inner.mount("/again", app)
    async with AsyncTestClient(app):
        assert app.shutdown is inner.shutdown


# -- streams -----------------------------------------------------------------------------------------------


@BACKENDS
def test_streams_end_in_the_first_half_of_the_drain_after_the_delay(backend):
    async def main():
        async with running(Spica(drain_seconds=10, readiness_delay_seconds=20)) as shutdown:
            streams = [Recorded(shutdown) for _ in range(20)]
            begin = anyio.current_time()
            shutdown.begin()
            await anyio.sleep(40)
            turns = sorted(stream.ended_at - begin for stream in streams)
            assert turns[0] >= 20
            assert turns[-1] <= 25.001
            assert turns[-1] - turns[0] > 1  # random, so the clients do not all reconnect at once
            assert not any(stream.cancelled_at for stream in streams)

    run_in_virtual_time(backend, main)


@BACKENDS
def test_streams_that_stay_are_cancelled_at_the_end_of_the_drain(backend):
    async def main():
        async with running(Spica(drain_seconds=10)) as shutdown:
            stays = Recorded(shutdown, ends=False)
            never = Recorded(shutdown, math.inf)
            begin = anyio.current_time()
            shutdown.begin()
            await anyio.sleep(1)
            assert shutdown.deadline() == pytest.approx(9, abs=0.01)
            await anyio.sleep(10)
            assert stays.cancelled_at - begin == pytest.approx(10, abs=0.01)
            assert (never.ended_at, never.cancelled_at) == (None, stays.cancelled_at)

    run_in_virtual_time(backend, main)


@BACKENDS
def test_a_stream_that_begins_during_the_drain_gets_its_turn(backend):
    async def main():
        async with running(Spica(drain_seconds=10)) as shutdown:
            shutdown.begin()
            await anyio.sleep(3)
            early = Recorded(shutdown)
            await anyio.sleep(4)
            late = Recorded(shutdown)
            await anyio.sleep(0.01)
            assert early.ended_at
            assert late.ended_at

    run_in_virtual_time(backend, main)


@contextlib.asynccontextmanager
async def with_streams(app):
    """Start a task that reads until its stream ends, and another one with a block of cancel_soon."""

    async def read():
        app.state.stream = Recorded(app.shutdown)
        async with app.shutdown.cancel_soon():
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        app.tasks.start(read)
        group.start_soon(read)
        yield


@BACKENDS
def test_tasks_of_a_lifespan_do_not_delay_the_end(backend):
    async def main():
        async with running(Spica(lifespan=with_streams, drain_seconds=1000)):
            await anyio.wait_all_tasks_blocked()
            begin = anyio.current_time()
        assert anyio.current_time() - begin < 0.1

    run_in_virtual_time(backend, main)


@BACKENDS
@pytest.mark.parametrize("kind", ["task", "stream"])
def test_a_second_signal_ends_the_wait_of_the_lifespan(kind, backend):
    async def main():
        app = Spica(drain_seconds=1000)
        async with anyio.create_task_group() as group, running(app) as shutdown:
            if kind == "task":
                app.tasks.start(anyio.sleep_forever)
            else:
                Recorded(shutdown, ends=False)
            group.start_soon(call_after, 10, shutdown._cut_short)
            begin = anyio.current_time()
        assert anyio.current_time() - begin < 12

    run_in_virtual_time(backend, main)


async def call_after(seconds, function):
    await anyio.sleep(seconds)
    function()


@BACKENDS
def test_streams_of_lifespans_end_after_those_of_clients(backend):
    async def main():
        app = Spica(lifespan=with_streams, drain_seconds=1000)
        async with running(app) as shutdown:
            await anyio.wait_all_tasks_blocked()
            clients = [Recorded(shutdown) for _ in range(5)]
        assert app.state.stream.ended_at >= max(stream.ended_at for stream in clients)
        assert app.state.stream.cancelled_at is None

    run_in_virtual_time(backend, main)


@BACKENDS
def test_streams_of_lifespans_that_stay_are_cancelled_at_the_end_of_the_drain(backend):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        app.state.stream = Recorded(app.shutdown, ends=False)
        yield

    async def main():
        app = Spica(lifespan=lifespan, drain_seconds=10)
        async with running(app):
            begin = anyio.current_time()
        assert app.state.stream.ended_at - begin == pytest.approx(0, abs=0.01)
        assert app.state.stream.cancelled_at - begin == pytest.approx(10, abs=0.01)

    run_in_virtual_time(backend, main)


@BACKENDS
def test_lifespans_wait_for_streams_and_then_for_the_functions_after_them(backend):
    steps = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        app.shutdown.after_streams(first)
        app.shutdown.after_streams(second)
        app.shutdown.after_streams(second)
        yield
        steps.append("lifespan")

    async def first():
        steps.append("first")
        assert stream.ended_at is not None

    async def second():
        steps.append("second")

    async def main():
        nonlocal stream
        app = Spica(lifespan=lifespan, drain_seconds=10)
        async with running(app) as shutdown:
            stream = Recorded(shutdown)

    stream = None
    run_in_virtual_time(backend, main)
    assert steps == ["second", "first", "lifespan"]


@pytest.mark.anyio
async def test_an_error_after_the_streams_does_not_keep_the_lifespans_from_ending():
    steps = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        app.shutdown.after_streams(fail)
        yield
        steps.append("lifespan")

    async def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async with AsyncTestClient(Spica(lifespan=lifespan)):
            pass
    assert steps == ["lifespan"]


@pytest.mark.anyio
async def test_tasks_have_the_rest_of_the_drain():
    seen = []

    async def watch():
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(app.shutdown.deadline())

    app = Spica(drain_seconds=0)
    async with AsyncTestClient(app):
        app.tasks.start(watch)
        await anyio.wait_all_tasks_blocked()
    assert seen == [0]


@BACKENDS
def test_the_end_of_the_lifespan_ends_the_readiness_delay(backend):
    async def main():
        app = Spica(drain_seconds=2, readiness_delay_seconds=1000)
        async with running(app) as shutdown:
            stream = Recorded(shutdown)
            begin = anyio.current_time()
            shutdown.begin()
            await anyio.sleep(1)
        assert stream.ended_at - begin <= 2.01

    run_in_virtual_time(backend, main)


@pytest.mark.anyio
async def test_a_second_run_begins_anew():
    app = Spica()
    async with AsyncTestClient(app) as client:
        client.shutdown()
        assert app.shutdown.is_begun
    async with AsyncTestClient(app):
        assert not app.shutdown.is_begun
        assert app.shutdown.reason == ""


# -- plain streams -----------------------------------------------------------------------------------------


@BACKENDS
def test_the_end_of_the_drain_cancels_a_plain_stream(backend):
    closed = []

    async def endless():
        try:
            while True:
                yield b"tick"
                await anyio.sleep(1)
        finally:
            closed.append(anyio.current_time())

    async def endpoint(request):
        return StreamingResponse(endless())

    async def main():
        app = Spica(routes=[Route("/", endpoint)], drain_seconds=5)
        async with running(app) as shutdown, anyio.create_task_group() as group:
            client = Client(app)
            group.start_soon(client.get)
            await anyio.sleep(0.5)
            begin = anyio.current_time()
            shutdown.begin()
            await anyio.sleep(10)
            assert closed == [pytest.approx(begin + 5, abs=0.1)]
            assert not client.is_complete  # so that the client notices

    run_in_virtual_time(backend, main)


# -- cancel_soon -------------------------------------------------------------------------------------------


@BACKENDS
def test_cancel_soon_cancels_its_block_some_seconds_after_the_beginning(backend):
    async def main():
        shutdown = Spica().shutdown
        begin = anyio.current_time()
        shutdown.begin()
        async with shutdown.cancel_soon(seconds=2) as ending:
            await anyio.sleep(100)
        assert ending.is_over
        assert anyio.current_time() - begin == pytest.approx(2, abs=0.01)
        await anyio.sleep(1)  # the task itself is not cancelled

    run_in_virtual_time(backend, main)


@BACKENDS
def test_cancel_soon_without_seconds_takes_a_random_turn(backend):
    async def main():
        shutdown = Spica(drain_seconds=8).shutdown
        shutdown.begin()
        begin = anyio.current_time()
        async with shutdown.cancel_soon():
            await anyio.sleep(100)
        assert anyio.current_time() - begin <= 4.01

    run_in_virtual_time(backend, main)


@pytest.mark.anyio
async def test_a_block_that_ends_by_itself_is_left_alone():
    shutdown = Spica(drain_seconds=0).shutdown
    async with shutdown.cancel_soon(seconds=0) as ending:
        pass
    shutdown.begin()
    await anyio.lowlevel.checkpoint()
    assert not ending.is_over


@pytest.mark.anyio
async def test_an_error_in_the_block_is_raised():
    with pytest.raises(KeyError):
        async with Spica().shutdown.cancel_soon(seconds=1):
            raise KeyError


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
def test_a_time_that_is_none_is_refused_by_cancel_soon(seconds):
    with pytest.raises(ValueError, match="seconds must be a number from 0"):
        Spica().shutdown.cancel_soon(seconds)


def ticks_until(shutdown, log):
    async def ticks():
        try:
            async with shutdown.cancel_soon(seconds=2):
                while True:
                    yield b"tick"
                    await anyio.sleep(1)
            yield b"last"
        finally:
            log.append("closed")

    return ticks()


@BACKENDS
@pytest.mark.parametrize("seconds", [0, 5])
def test_a_generator_may_yield_inside_and_sends_its_last_words(backend, seconds):
    if backend == "trio" and seconds:
        pytest.skip("a cancel scope of trio around a yield also cancels the consumer")
    log = []

    async def endpoint(request):
        return StreamingResponse(ticks_until(request.app.shutdown, log))

    async def main():
        app = Spica(routes=[Route("/", endpoint)], drain_seconds=20)
        client = Client(app, seconds)
        async with running(app) as shutdown, anyio.create_task_group() as group:
            group.start_soon(client.get)
            await anyio.sleep(0.5)
            shutdown.begin()
        assert client.body[-2:] == [b"last", b""]
        assert client.is_complete

    run_in_virtual_time(backend, main)
    assert log == ["closed"]


def test_a_generator_whose_client_is_slow_is_cancelled_when_it_continues():
    async def main():
        shutdown, log, sent = Spica().shutdown, [], []
        shutdown.begin()
        async for chunk in ticks_until(shutdown, log):
            sent.append(chunk)
            await anyio.sleep(5)  # the consumer, which must not be cancelled
        assert sent == [b"tick", b"last"]
        assert log == ["closed"]

    run_in_virtual_time("asyncio", main)


def test_a_generator_that_is_closed_at_its_yield_leaves_the_block():
    async def main():
        shutdown, log = Spica().shutdown, []
        generator = ticks_until(shutdown, log)
        await anext(generator)
        shutdown.begin()
        with anyio.CancelScope(shield=True):
            await generator.aclose()
        assert log == ["closed"]
        await anyio.sleep(5)

    run_in_virtual_time("asyncio", main)


@BACKENDS
def test_the_body_of_a_context_manager_around_it_is_cancelled(backend):
    @contextlib.asynccontextmanager
    async def polite(shutdown):
        async with shutdown.cancel_soon(seconds=1) as ending:
            yield ending

    async def main():
        shutdown = Spica().shutdown
        shutdown.begin()
        async with polite(shutdown) as ending:
            await anyio.sleep(100)
        assert ending.is_over

    run_in_virtual_time(backend, main)


# -- signals -----------------------------------------------------------------------------------------------


@pytest.fixture
def handled():
    """The signals that the handler of a server gets."""
    numbers = []

    def handler(number, frame):
        numbers.append(number)

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
    yield numbers
    assert signal.getsignal(signal.SIGTERM) is handler, "the handler was not restored"
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])


@pytest.mark.anyio
async def test_a_signal_begins_the_shutdown_and_reaches_the_server(handled):
    async with running(Spica()) as shutdown:
        signal.raise_signal(signal.SIGTERM)
        assert (shutdown.is_begun, shutdown.reason) == (True, "SIGTERM")
        assert handled == [signal.SIGTERM]
        signal.raise_signal(signal.SIGINT)
        assert handled == [signal.SIGTERM, signal.SIGINT]


@BACKENDS
def test_the_server_learns_of_the_signal_after_the_delay(backend, handled):
    async def main():
        async with running(Spica(readiness_delay_seconds=5)) as shutdown:
            signal.raise_signal(signal.SIGTERM)
            assert (shutdown.is_begun, handled) == (True, [])
            await anyio.sleep(4.9)
            assert handled == []
            await anyio.sleep(0.2)
            assert handled == [signal.SIGTERM]

    run_in_virtual_time(backend, main)


@BACKENDS
def test_a_second_signal_does_not_wait(backend, handled):
    async def main():
        async with running(Spica(readiness_delay_seconds=5)):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert handled == [signal.SIGINT]
            await anyio.sleep(10)
            assert handled == [signal.SIGINT]  # the first is not passed on in addition

    run_in_virtual_time(backend, main)


@pytest.mark.anyio
async def test_a_default_handler_is_left_alone():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    async with running(Spica()):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.anyio
async def test_a_handler_that_somebody_installed_later_is_kept(handled):
    def later(number, frame):
        pass

    earlier = signal.getsignal(signal.SIGTERM)
    async with running(Spica()):
        signal.signal(signal.SIGTERM, later)
    assert signal.getsignal(signal.SIGTERM) is later
    signal.signal(signal.SIGTERM, earlier)


def test_another_thread_than_the_main_one_installs_nothing(handled):
    earlier, seen = signal.getsignal(signal.SIGTERM), []

    async def main():
        async with running(Spica()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=anyio.run, args=(main,))
    thread.start()
    thread.join()
    assert seen == [earlier]
