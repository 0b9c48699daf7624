import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.testclient.events import EventDecoder, ReceivedEvent


def decode(*chunks: bytes) -> list[ReceivedEvent]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"data: a\n\n", [ReceivedEvent("a")], id="data"),
        pytest.param(b"data:a\n\n", [ReceivedEvent("a")], id="no space"),
        pytest.param(b"data:  a\n\n", [ReceivedEvent(" a")], id="one space is removed"),
        pytest.param(b"data: a\ndata: b\n\n", [ReceivedEvent("a\nb")], id="two lines"),
        pytest.param(b"data\n\n", [ReceivedEvent("")], id="empty data"),
        pytest.param(b"data\ndata\n\n", [ReceivedEvent("\n")], id="two empty lines"),
        pytest.param(b"event: x\n\n", [], id="no data, no event"),
        pytest.param(b"event: x\n\ndata: a\n\n", [ReceivedEvent("a")], id="type is forgotten"),
        pytest.param(b"event: x\ndata: a\n\n", [ReceivedEvent("a", "x")], id="type"),
        pytest.param(b": ping\n\ndata: a\n\n", [ReceivedEvent("a")], id="comment"),
        pytest.param(b"other: 1\ndata: a\n\n", [ReceivedEvent("a")], id="unknown field"),
        pytest.param(b"data: a\n", [], id="cut off"),
        pytest.param(
            b"data: a\r\n\r\ndata: b\r\r", [ReceivedEvent("a"), ReceivedEvent("b")], id="CR"
        ),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [ReceivedEvent("a")], id="byte order mark"),
        pytest.param(b"data: \xff\n\n", [ReceivedEvent("\ufffd")], id="not UTF-8"),
        pytest.param(b"data: a:b\n\n", [ReceivedEvent("a:b")], id="colon in the value"),
        pytest.param(
            "data: a\u2028b\x0b\n\n".encode(), [ReceivedEvent("a\u2028b\x0b")], id="U+2028"
        ),
    ],
)
def test_a_stream_is_decoded_as_a_browser_does(stream: bytes, events: Any) -> None:
    # WHATWG HTML s.9.2.6
    assert decode(stream) == events


def test_the_last_event_id_stays_until_another_one_comes() -> None:
    events = decode(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: \0\ndata: d\n\n")
    assert [event.id for event in events] == ["1", "1", "", ""]


def test_a_retry_of_digits_is_the_reconnection_time() -> None:
    decoder = EventDecoder()
    events = decoder.feed(b"retry: 20\ndata: a\n\nretry: 3x\ndata: b\n\nretry: \xd9\xa1\n\n")
    assert [event.retry_milliseconds for event in events] == [20, None]
    assert decoder.retry_milliseconds == 20


def test_a_carriage_return_completes_an_event_at_once() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\r\r") == [ReceivedEvent("a")]
    assert decoder.feed(b"\ndata: b\n\n") == [ReceivedEvent("b")]


def test_an_event_decodes_its_json() -> None:
    assert ReceivedEvent('{"a": 1}').json() == {"a": 1}


PIECES = st.sampled_from(
    [b"data", b":", b" ", b"\r", b"\n", b"\r\n", b"id", b"event", b"retry", b"7", b"\0"]
    + ["\u00e9".encode(), b"\xff", b"\xef\xbb\xbf", b"x"]
)


@given(st.lists(PIECES, max_size=40), st.data())
def test_any_split_of_the_bytes_gives_the_same_events(pieces: list[bytes], data: Any) -> None:
    stream = b"".join(pieces) + b"\n\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert decode(*chunks) == decode(stream)
    assert decode(*(bytes([byte]) for byte in stream)) == decode(stream)
