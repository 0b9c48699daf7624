import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from spica.testclient.interface import httpx

START = {"type": "http.response.start", "status": 200}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


class Script:
    """An application that sends what it is told, and notes its end."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.log: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                await send(step)
            self.log.append("returned")
        except anyio.get_cancelled_exc_class():
            self.log.append("cancelled")
            raise


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send the request body back piece by piece, each before the next is received."""
    await send(START)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send(body(message["body"], more))


# Responses


def test_a_response_has_what_the_application_sent(make_client: Any) -> None:
    start = {**START, "status": 418, "headers": [(b"x-a", b"1"), (b"x-a", b"2")]}
    response = make_client(Script(start, body(b"ab"))).get("/")
    assert (response.status_code, response.content) == (418, b"ab")
    assert response.headers.get_list("x-a") == ["1", "2"]


def test_trailers_are_an_extension_of_the_response(make_client: Any) -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"a", b"b")]}
    app = Script({**START, "trailers": True}, body(b""), trailers)
    assert make_client(app).get("/").extensions == {"http.response.trailers": [(b"a", b"b")]}


def test_debug_information_is_an_extension_and_gives_template_and_context(
    make_client: Any,
) -> None:
    info = {"template": object(), "context": {"a": 1}}
    app = Script({"type": "http.response.debug", "info": info}, START, body(b""))
    response = make_client(app).get("/")
    assert response.extensions == {"http.response.debug": info}
    assert (response.template, response.context) == (info["template"], info["context"])


def test_other_responses_have_no_template(make_client: Any) -> None:
    response = make_client(Script(START, body(b""))).get("/")
    assert not hasattr(response, "template")


def test_a_scheme_that_no_server_speaks_is_refused(make_client: Any) -> None:
    with pytest.raises(httpx.UnsupportedProtocol, match=r"'ftp'. Allowed: http, https, ws, wss"):
        make_client(Script()).get("ftp://h/")


# Failures


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([], id="before the start"),
        pytest.param([START], id="after the start"),
        pytest.param([START, body(b"a", True)], id="in the body"),
        pytest.param([START, body(b"a")], id="after the response"),
    ],
)
def test_what_the_application_raises_reaches_the_test(make_client: Any, steps: list[Any]) -> None:
    error = ValueError("x")
    with pytest.raises(ValueError) as caught:
        make_client(Script(*steps, error)).get("/")
    assert caught.value is error


@pytest.mark.parametrize(
    ("steps", "status", "content"),
    [
        pytest.param([], 500, b"", id="before the start"),
        pytest.param([START], 200, b"", id="after the start"),
        pytest.param([START, body(b"a", True)], 200, b"a", id="in the body"),
        pytest.param([START, body(b"a")], 200, b"a", id="after the response"),
    ],
)
def test_without_raising_a_failure_ends_the_response(
    make_client: Any, steps: list[Any], status: int, content: bytes
) -> None:
    client = make_client(Script(*steps, ValueError("x")), raise_server_exceptions=False)
    response = client.get("/")
    assert (response.status_code, response.content) == (status, content)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_exit_always_reaches_the_test(make_client: Any, error: BaseException) -> None:
    with pytest.raises(type(error)):
        make_client(Script(error), raise_server_exceptions=False).get("/")


def test_a_broken_rule_reaches_the_test(make_client: Any) -> None:
    with pytest.raises(AssertionError, match="TestClient did not receive any response"):
        make_client(Script()).get("/")


def test_a_broken_rule_without_raising_is_a_500(make_client: Any) -> None:
    client = make_client(Script({**START, "headers": [("a", "b")]}), raise_server_exceptions=False)
    assert client.get("/").status_code == 500


# Streams


def test_a_stream_begins_before_the_application_ends_and_holds_it_up(make_client: Any) -> None:
    app = Script(START, body(b"a", True), body(b"b", True), body(b"c"))
    with make_client(app).stream("GET", "/") as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"a"
        assert app.log == []
        assert list(chunks) == [b"b", b"c"]
        assert app.log == ["returned"]


def test_empty_pieces_do_not_come_out(make_client: Any) -> None:
    app = Script(START, body(b"", True), body(b"a", True), body(b"", True), body(b""))
    with make_client(app).stream("GET", "/") as response:
        assert list(response.iter_raw()) == [b"a"]


def test_closing_a_stream_early_cancels_the_application(make_client: Any) -> None:
    app = Script(START, body(b"a", True), body(b"b", True))
    with make_client(app).stream("GET", "/") as response:
        next(response.iter_raw())
    assert app.log == ["cancelled"]


def test_what_a_cancelled_application_raises_is_its_own_affair(make_client: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await send(body(b"a", True))
        finally:
            raise ValueError

    with make_client(app).stream("GET", "/") as response:
        assert response.status_code == 200


def test_a_late_failure_is_raised_where_the_stream_ends(make_client: Any) -> None:
    app = Script(START, body(b"a", True), ValueError("late"))
    with make_client(app).stream("GET", "/") as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"a"
        with pytest.raises(ValueError, match="late"):
            next(chunks)


@pytest.mark.parametrize("is_read", [True, False])
def test_background_work_is_waited_for(make_client: Any, is_read: bool) -> None:
    log = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"a"))
        sent.set()
        await anyio.to_thread.run_sync(log.append, "background")

    sent = threading.Event()
    with make_client(app).stream("GET", "/") as response:
        assert sent.wait(60)
        if is_read:
            assert response.read() == b"a"
    assert log == ["background"]


@pytest.mark.parametrize("is_read", [True, False])
def test_a_failure_of_background_work_is_raised(make_client: Any, is_read: bool) -> None:
    app = Script(START, body(b"a"), ValueError("background"))
    with pytest.raises(ValueError, match="background"):
        with make_client(app).stream("GET", "/") as response:
            if is_read:
                response.read()


def test_closing_the_client_cancels_open_streams(make_client: Any) -> None:
    app = Script(START, body(b"a", True), body(b"b", True))
    client = make_client(app)
    response = client.send(client.build_request("GET", "/"), stream=True)
    assert response.status_code == 200
    client.close()
    assert app.log == ["cancelled"]
    response.close()


# Request bodies


def test_a_body_of_known_size_is_one_message(make_client: Any) -> None:
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())
        await send(START)
        await send(body(b""))

    make_client(app).post("/", content=b"ab")
    make_client(app).get("/")
    assert received == [
        {"type": "http.request", "body": b"ab"},
        {"type": "http.request", "body": b""},
    ]


def test_a_generator_is_gone_through_while_the_application_reads(make_client: Any) -> None:
    log: list[bytes] = []
    threads = set()

    def pieces() -> Iterator[bytes]:
        for piece in (b"a", b"b", b"c"):
            log.append(piece)
            threads.add(threading.current_thread())
            yield piece

    with make_client(echo).stream("POST", "/", content=pieces()) as response:
        assert log == []
        for chunk in response.iter_raw():
            assert chunk == log[-1]
    assert log == [b"a", b"b", b"c"]
    assert threads == {threading.current_thread()}


def test_a_generator_that_was_sent_can_be_looked_at(make_client: Any) -> None:
    response = make_client(echo).post("/", content=iter([b"a", b"b"]))
    assert response.request.content == response.content == b"ab"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_redirect_sends_a_generator_again_from_its_beginning(
    make_client: Any, count: int
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/new":
            return await echo(scope, receive, send)
        for _ in range(count):
            await receive()
        await send({**START, "status": 307, "headers": [(b"location", b"/new")]})
        await send(body(b""))

    response = make_client(app).post("/old", content=iter([b"a", b"b", b"c"]))
    assert (response.url.path, response.content) == ("/new", b"abc")


def test_a_failing_generator_is_raised_and_cancels_the_application(make_client: Any) -> None:
    log = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            while True:
                await receive()
        finally:
            log.append("end")

    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_client(app).post("/", content=pieces())
    assert log == ["end"]


def test_a_piece_that_is_not_bytes_is_refused(make_client: Any) -> None:
    with pytest.raises(TypeError, match="made of bytes, but the test gave 'a'"):
        make_client(echo).post("/", content=iter(["a"]))
