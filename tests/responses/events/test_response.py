"""EventSourceResponse as a value, and the position of a client that comes back."""

import math

import pytest

from spica import jsoncodec
from spica.applications import Spica
from spica.channels import Channels
from spica.requests import HTTPConnection
from spica.responses import EventSourceResponse, ServerSentEvent, StreamingResponse, last_event_id
from spica.routing import Mount, Route
from spica.testclient import TestClient


async def no_events():
    return
    yield


def response_of(**options):
    return EventSourceResponse(no_events(), **options)


def test_the_headers_of_a_stream():
    assert response_of().raw_headers == [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ]


def test_headers_of_the_caller_win():
    response = response_of(headers={"Cache-Control": "no-cache", "X-Own": "1"}, status_code=201)
    assert response.headers.items() == [
        ("cache-control", "no-cache"),
        ("x-own", "1"),
        ("content-type", "text/event-stream"),
        ("x-accel-buffering", "no"),
    ]
    assert response.status_code == 201
    assert isinstance(response, StreamingResponse)


def test_stop_tells_the_browser_not_to_come_back():
    response = EventSourceResponse.stop()
    assert (response.status_code, response.body) == (204, b"")


async def a_coroutine():
    pass


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (no_events, r"Call the function: EventSourceResponse\(no_events\(\)\)"),
        (a_coroutine, "Call the function"),
        (["a"], "iterate_in_threadpool"),
        (Channels().subscribe("news"), r"write channels.events\(name\)"),
        (None, "not NoneType"),
    ],
)
def test_events_that_are_no_async_iterable_name_the_fix(events, message):
    with pytest.raises(TypeError, match=message):
        EventSourceResponse(events)


def test_a_coroutine_is_closed_and_names_the_fix():
    with pytest.raises(TypeError, match="use `yield`"):
        EventSourceResponse(a_coroutine())


@pytest.mark.parametrize("name", ["ping_seconds", "send_timeout_seconds"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (math.inf, ValueError),
        ("1", TypeError),
        (True, TypeError),
    ],
)
def test_a_time_that_is_none_is_refused(name, value, error):
    with pytest.raises(error, match=f"{name} must be a number"):
        response_of(**{name: value})


def test_other_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="at_shutdown must be 'end' or 'leave'"):
        response_of(at_shutdown="stop")
    with pytest.raises(ValueError, match="EventSourceResponse: retry_milliseconds"):
        response_of(retry_milliseconds=-1)


class Codec:
    def encode(self, value):
        return b'{\n"own": 1}'

    def decode(self, data):
        return jsoncodec.decode(data)


def test_events_use_the_codec_of_the_application_also_below_a_mount():
    async def endpoint(request):
        async def events():
            yield ServerSentEvent({"a": 1})

        return EventSourceResponse(events())

    inner = Spica(routes=[Route("/", endpoint)])
    app = Spica(routes=[Mount("/inner", inner)], json_codec=Codec())
    with TestClient(app) as client:
        (event,) = client.get("/inner/").events()
    assert event.data == '{\n"own": 1}'


# -- the position of a client ------------------------------------------------------------------------------


def connection(header=None, query=b"", kind="http"):
    headers = [] if header is None else [(b"last-event-id", header)]
    return HTTPConnection({"type": kind, "path": "/", "headers": headers, "query_string": query})


@pytest.mark.parametrize(
    ("header", "query", "found"),
    [
        (None, b"", None),
        (b"7", b"", "7"),
        (b"7", b"from=8", "7"),
        (None, b"from=8", "8"),
        (b"", b"", None),
        ("é".encode(), b"", "é"),
        (b"\xff", b"", None),
        (b"x" * 256, b"", "x" * 256),
        (b"x" * 257, b"", None),
        (None, b"from=a%00", None),
        (None, b"from=a%0a", None),
        (None, b"from=%ff", "\ufffd"),
    ],
)
def test_the_last_event_id(header, query, found):
    assert last_event_id(connection(header, query), query="from") == found
    assert last_event_id(connection(header, query, "websocket"), query="from") == found


def test_the_query_counts_only_if_it_is_named():
    assert last_event_id(connection(query=b"from=8")) is None


def test_the_limit_can_be_set():
    assert last_event_id(connection(b"abc"), max_length=3) == "abc"
    assert last_event_id(connection(b"abcd"), max_length=3) is None
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        last_event_id(connection(), max_length=0)
