"""An event stream while it is sent: order, pings, timeouts, disconnects, the shutdown."""

import itertools

import anyio
import anyio.lowlevel
import pytest

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.middleware import Middleware
from spica.middleware.gzip import GZipMiddleware
from spica.responses import EventSourceResponse, ServerSentEvent
from spica.routing import Route
from spica.testclient.events import EventDecoder
from tests.support.virtual_time import run_in_virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
PING = b": ping\n\n"


class Connection:
    """The server's side of one request for an event stream: it takes ``delay`` seconds for each part."""

    def __init__(self, app, delay=0.0, spec_version="2.3", method="GET"):
        self.app, self.delay, self.method, self.spec_version = app, delay, method, spec_version
        self.parts, self.times, self.headers = [], [], {}
        self.is_complete = self.is_in_send = False
        self.left = anyio.Event()
        self.error = None
        self.has_asked = False

    async def run(self):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self.spec_version},
            "http_version": "1.1",
            "method": self.method,
            "path": "/",
            "query_string": b"",
            "headers": [],
        }
        try:
            await self.app(scope, self.receive, self.send)
        except Exception as error:
            self.error = error
        self.ended_at = anyio.current_time()

    async def receive(self):
        if not self.has_asked:
            self.has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        assert not self.is_in_send, "two messages at once"
        assert not self.is_complete, "a message after the last one"
        self.is_in_send = True
        try:
            if message["type"] == "http.response.start":
                self.headers = dict(message["headers"])
                return
            if self.delay:
                await anyio.sleep(self.delay)
            self.parts.append(message["body"])
            self.times.append(anyio.current_time())
            self.is_complete = not message.get("more_body", False)
        finally:
            self.is_in_send = False

    @property
    def data(self):
        return [event.data for event in EventDecoder().feed(b"".join(self.parts))]


class Events:
    """Items with a pause after each, and a note of the end."""

    def __init__(self, *items, pause=0.0, stays=False):
        self.items, self.pause, self.stays = items, pause, stays
        self.is_closed = False

    async def __aiter__(self):
        try:
            for item in self.items:
                yield item
                await anyio.sleep(self.pause)
            if self.stays:
                await anyio.sleep_forever()
        finally:
            self.is_closed = True


def app_of(events, drain_seconds=8.0, middleware=(), **options):
    async def endpoint(request):
        return EventSourceResponse(aiter(events), **options)

    return Spica(routes=[Route("/", endpoint)], drain_seconds=drain_seconds, middleware=middleware)


def play(backend, connection_of, script):
    """Run a connection beside a script, in virtual time, and return the connection."""
    connections = []

    async def main():
        connection = connection_of()
        connections.append(connection)
        with anyio.fail_after(10_000):
            async with anyio.create_task_group() as group:
                group.start_soon(connection.run)
                await script(connection)

    run_in_virtual_time(backend, main)
    return connections[0]


async def nothing(connection):
    pass


# -- events ------------------------------------------------------------------------------------------------


@BACKENDS
@pytest.mark.parametrize("pause", [0, 1])
def test_each_event_is_one_message_and_the_end_is_complete(backend, pause):
    events = Events("a\nb", ServerSentEvent("c", id=1), {"data": "d"}, pause=pause)
    connection = play(backend, lambda: Connection(app_of(events)), nothing)
    assert connection.parts == [
        b"data: a\ndata: b\n\n",
        b"id: 1\ndata: c\n\n",
        b"data: d\n\n",
        b"",
    ]
    assert (connection.is_complete, connection.error, events.is_closed) == (True, None, True)


@BACKENDS
def test_the_next_event_is_taken_when_the_server_has_taken_the_last(backend):
    asked = []

    class Noting:
        def __aiter__(self):
            return self

        async def __anext__(self):
            asked.append(anyio.current_time())
            if len(asked) > 3:
                raise StopAsyncIteration
            return "x"

    connection = play(backend, lambda: Connection(app_of(Noting()), delay=5), nothing)
    assert [round(b - a) for a, b in itertools.pairwise(asked)] == [5, 5, 5]
    assert connection.is_complete


@BACKENDS
def test_the_reconnection_time_comes_first(backend):
    connection = play(
        backend, lambda: Connection(app_of(Events("x"), retry_milliseconds=250)), nothing
    )
    assert connection.parts[0] == b"retry: 250\n\n"


@BACKENDS
def test_an_error_in_the_middle_leaves_the_response_incomplete(backend):
    async def failing():
        yield "a"
        await anyio.sleep(1)
        raise KeyError("no")

    connection = play(backend, lambda: Connection(app_of(failing())), nothing)
    assert isinstance(connection.error, KeyError)
    assert (connection.data, connection.is_complete) == (["a"], False)


@BACKENDS
def test_an_item_that_is_no_event_closes_the_iterator(backend):
    events = Events("a", 1, stays=True)
    connection = play(backend, lambda: Connection(app_of(events)), nothing)
    assert isinstance(connection.error, TypeError)
    assert events.is_closed


@BACKENDS
def test_a_head_request_gets_the_headers_only(backend):
    events = Events("a", stays=True)
    connection = play(backend, lambda: Connection(app_of(events), method="HEAD"), nothing)
    assert connection.headers[b"content-type"] == b"text/event-stream"
    assert (connection.parts, connection.is_complete) == ([b""], True)
    assert events.is_closed


@BACKENDS
def test_gzip_leaves_the_stream_alone(backend):
    app = app_of(Events("a"), middleware=[Middleware(GZipMiddleware, minimum_size=0)])
    connection = play(backend, lambda: Connection(app), nothing)
    assert connection.data == ["a"]


@BACKENDS
def test_a_layer_may_wrap_the_body(backend):
    async def shout(chunks):
        async for chunk in chunks:
            yield chunk.upper()

    async def endpoint(request):
        response = EventSourceResponse(aiter(events), ping_seconds=2)
        response.body_iterator = shout(response.body_iterator)
        return response

    events = Events("a", pause=3)
    app = Spica(routes=[Route("/", endpoint)])
    connection = play(backend, lambda: Connection(app), nothing)
    assert connection.parts == [b"DATA: A\n\n", PING, b""]
    assert events.is_closed


def test_a_long_stream_lets_other_tasks_run():
    turns = []

    async def count(connection):
        while not connection.is_complete:
            turns.append(1)
            await anyio.lowlevel.checkpoint()

    play("asyncio", lambda: Connection(app_of(Events(*["x"] * 1000))), count)
    assert len(turns) > 5


# -- pings -------------------------------------------------------------------------------------------------


@BACKENDS
def test_a_ping_comes_after_a_time_without_output_only(backend):
    events = Events(*"abc", pause=10, stays=True)

    async def script(connection):
        await anyio.sleep(56)
        connection.left.set()

    connection = play(backend, lambda: Connection(app_of(events, ping_seconds=15)), script)
    begin = connection.times[0]
    assert connection.parts == [*(b"data: %c\n\n" % c for c in b"abc"), PING, PING]
    assert [round(time - begin) for time in connection.times] == [0, 10, 20, 35, 50]


@BACKENDS
def test_no_ping_without_a_time(backend):
    options = {"ping_seconds": None, "send_timeout_seconds": None}

    async def script(connection):
        await anyio.sleep(1000)
        connection.left.set()

    connection = play(
        backend, lambda: Connection(app_of(Events("a", stays=True), **options)), script
    )
    assert connection.parts == [b"data: a\n\n"]


@BACKENDS
def test_an_event_waits_for_a_ping_that_is_being_sent(backend):
    connection = play(
        backend,
        lambda: Connection(app_of(Events(*"abcd", pause=3), ping_seconds=2), delay=2),
        nothing,
    )  # the connection checks that no two messages are sent at once
    assert (connection.data, connection.is_complete) == (["a", "b", "c", "d"], True)
    assert PING in connection.parts


def test_an_idle_stream_has_no_task_and_wakes_for_its_pings_only():
    import asyncio

    async def main():
        loop, calls = asyncio.get_running_loop(), []
        app = app_of(Events("a", stays=True))
        connections = [Connection(app) for _ in range(20)]
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(connection.run())
            await asyncio.sleep(1)
            assert len(asyncio.all_tasks()) == 21
            original = loop._run_once
            loop._run_once = lambda: (calls.append(1), original())
            await asyncio.sleep(13)
            assert len(calls) <= 2
            for connection in connections:
                connection.left.set()

    run_in_virtual_time("asyncio", main)


# -- clients that leave, or take nothing -------------------------------------------------------------------


@BACKENDS
@pytest.mark.parametrize("delay", [0, 100], ids=["while waiting", "while sending"])
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_a_disconnect_ends_the_iteration_and_runs_the_task(backend, delay, spec_version):
    ran = []

    async def note():
        ran.append(anyio.current_time())

    events = Events("a", stays=True)
    app = app_of(events, background=BackgroundTask(note), send_timeout_seconds=None)

    async def script(connection):
        await anyio.sleep(5)
        connection.left.set()

    connection = play(
        backend, lambda: Connection(app, delay=delay, spec_version=spec_version), script
    )
    assert (connection.error, connection.is_complete) == (None, False)
    assert events.is_closed
    assert ran == [connection.ended_at]


@BACKENDS
def test_a_send_that_fails_is_a_disconnect(backend):
    events = Events(*"abc", pause=1)

    class Broken(Connection):
        async def send(self, message):
            if len(self.parts) == 2:
                raise OSError
            await super().send(message)

    connection = play(backend, lambda: Broken(app_of(events)), nothing)
    assert (connection.data, connection.error) == (["a", "b"], None)
    assert events.is_closed


@BACKENDS
def test_a_ping_that_fails_is_a_disconnect(backend):
    events = Events("a", stays=True)

    class Broken(Connection):
        async def send(self, message):
            if message.get("body") == PING:
                raise OSError
            await super().send(message)

    connection = play(backend, lambda: Broken(app_of(events)), nothing)
    assert connection.error is None
    assert events.is_closed


@BACKENDS
@pytest.mark.parametrize("ping_seconds", [None, 1, 15, 100])
def test_a_client_that_takes_nothing_is_dropped(backend, ping_seconds):
    events = Events("a", "b", pause=0.5, stays=True)

    class Stalled(Connection):
        async def send(self, message):
            if self.parts:
                await anyio.sleep_forever()
            await super().send(message)

    connection = play(backend, lambda: Stalled(app_of(events, ping_seconds=ping_seconds)), nothing)
    assert (connection.data, connection.error) == (["a"], None)
    assert events.is_closed
    assert connection.ended_at - connection.times[0] == pytest.approx(30.5, abs=0.1)


@BACKENDS
def test_a_ping_that_is_not_taken_is_dropped_too(backend):
    events = Events("a", stays=True)

    class Stalled(Connection):
        async def send(self, message):
            if message.get("body") == PING:
                await anyio.sleep_forever()
            await super().send(message)

    connection = play(backend, lambda: Stalled(app_of(events)), nothing)
    assert connection.ended_at - connection.times[0] == pytest.approx(45, abs=0.1)
    assert events.is_closed


@BACKENDS
def test_a_slow_client_is_not_dropped(backend):
    connection = play(backend, lambda: Connection(app_of(Events(*"abc")), delay=29), nothing)
    assert (connection.data, connection.is_complete) == (["a", "b", "c"], True)


@BACKENDS
def test_an_error_of_receive_ends_the_stream(backend):
    class Broken(Connection):
        async def receive(self):
            if self.has_asked:
                raise ValueError("broken")
            return await super().receive()

    events = Events("a", stays=True)
    connection = play(backend, lambda: Broken(app_of(events)), nothing)
    assert isinstance(connection.error, ValueError)
    assert events.is_closed


@BACKENDS
def test_a_receive_that_needs_a_task_gets_one(backend):
    class Scoped(Connection):
        async def receive(self):
            with anyio.move_on_after(100):
                return await super().receive()
            return {"type": "http.disconnect"}

    async def script(connection):
        await anyio.sleep(5)
        connection.left.set()

    events = Events("a", stays=True)
    connection = play(backend, lambda: Scoped(app_of(events)), script)
    assert (connection.error, events.is_closed) == (None, True)


# -- the shutdown ------------------------------------------------------------------------------------------


def began(seconds=1.0):
    async def script(connection):
        await anyio.sleep(seconds)
        connection.begun_at = anyio.current_time()
        connection.app.shutdown.begin()

    return script


def is_last(part):
    lines = part.split(b"\n")
    return (
        lines[0] == b": The server restarts."
        and 1000 <= int(lines[1].removeprefix(b"retry: ")) <= 5000
        and lines[2:] == [b"", b""]
    )


@BACKENDS
def test_the_shutdown_ends_the_stream_with_a_last_message(backend):
    events = Events("a", stays=True)
    connection = play(backend, lambda: Connection(app_of(events)), began())
    assert connection.parts[0] == b"data: a\n\n"
    assert is_last(connection.parts[-1])
    assert (connection.is_complete, connection.error, events.is_closed) == (True, None, True)
    assert connection.ended_at - connection.begun_at <= 4.01


@BACKENDS
def test_the_shutdown_does_not_cut_an_event_that_is_being_sent(backend):
    class Slow(Connection):
        async def send(self, message):
            self.delay = 0 if self.parts else 5
            await super().send(message)

    events = Events(*"abc", stays=True)
    connection = play(backend, lambda: Slow(app_of(events)), began(0.1))
    assert connection.data == ["a"]
    assert is_last(connection.parts[-1])
    assert connection.is_complete
    assert events.is_closed


@BACKENDS
def test_the_end_of_the_drain_cuts_a_client_that_takes_nothing(backend):
    events = Events("a", stays=True)
    connection = play(
        backend, lambda: Connection(app_of(events, drain_seconds=8), delay=1000), began()
    )
    assert connection.ended_at - connection.begun_at == pytest.approx(8, abs=0.1)
    assert (connection.error, events.is_closed) == (None, True)


@BACKENDS
def test_a_generator_that_watches_the_shutdown_ends_by_itself(backend):
    async def ticks():
        yield "a"
        await app.shutdown.wait()
        await anyio.sleep(6)
        yield "goodbye"

    app = app_of(ticks(), at_shutdown="leave")
    connection = play(backend, lambda: Connection(app), began())
    assert (connection.data, connection.is_complete) == (["a", "goodbye"], True)


@BACKENDS
def test_a_generator_that_does_not_end_by_itself_gets_the_last_message(backend):
    events = Events("a", stays=True)
    connection = play(backend, lambda: Connection(app_of(events, at_shutdown="leave")), began())
    assert is_last(connection.parts[-1])
    assert connection.ended_at - connection.begun_at == pytest.approx(8, abs=0.1)


@BACKENDS
def test_a_stream_that_ends_by_itself_during_the_drain_has_one_end(backend):
    events = Events(*"ab", pause=1)
    connection = play(backend, lambda: Connection(app_of(events, drain_seconds=60)), began())
    assert connection.is_complete  # the connection checks that nothing follows


@BACKENDS
@pytest.mark.parametrize("is_ending", [True, False])
def test_events_that_make_an_iterator_of_their_own_are_closed_after_it(backend, is_ending):
    """``__aiter__`` as a generator: the stream reads an iterator that is not ``events``."""
    log = []

    class Feed:
        async def __aiter__(self):
            try:
                yield "a"
                if not is_ending:
                    await anyio.sleep_forever()
            finally:
                log.append("released")

        async def aclose(self):
            log.append("closed")

    async def script(connection):
        await anyio.sleep(5)
        connection.left.set()

    play(backend, lambda: Connection(EventSourceResponse(Feed())), script)
    assert log == ["released", "closed"]
