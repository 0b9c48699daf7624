"""One event, in bytes: what a browser makes of it must be what was meant (HTML s.9.2.5, s.9.2.6)."""

from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.exceptions import SpicaConfigurationWarning
from spica.responses import ServerSentEvent
from spica.responses.events.event import encode_event
from spica.testclient.events import EventDecoder

LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class Word(str, Enum):  # noqa: UP042  # its format differs from its value
    GO = "go"


def decode(data):
    return EventDecoder().feed(data)


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (ServerSentEvent("a"), b"data: a\n\n"),
        (ServerSentEvent(""), b"data: \n\n"),
        (ServerSentEvent(b"a\xff"), b"data: a\xff\n\n"),
        (ServerSentEvent("é"), b"data: \xc3\xa9\n\n"),
        (ServerSentEvent("a\nb\rc\r\nd\n"), b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
        (ServerSentEvent("\u2028\x0b\x1c"), b"data: \xe2\x80\xa8\x0b\x1c\n\n"),  # no ends of lines
        (ServerSentEvent({"a": [1]}), b'data: {"a":[1]}\n\n'),
        (ServerSentEvent(0), b"data: 0\n\n"),
        (ServerSentEvent(id=7), b"id: 7\n\n"),
        (ServerSentEvent(id="", data=" x"), b"id: \ndata:  x\n\n"),
        (ServerSentEvent("x", event="tick", id="a"), b"id: a\nevent: tick\ndata: x\n\n"),
        (ServerSentEvent(retry_milliseconds=0), b"retry: 0\n\n"),
        (ServerSentEvent(comment="a\r\nb"), b": a\n: b\n\n"),
        (ServerSentEvent(), b"\n"),
        (ServerSentEvent(b"a\nb\rc\r\nd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (ServerSentEvent(Word.GO, event=Word.GO, id=Word.GO), b"id: go\nevent: go\ndata: go\n\n"),
    ],
)
def test_the_bytes_of_an_event(event, encoded):
    assert event.encode() == encoded


@given(
    TEXT,
    st.none() | LINE.filter(bool),
    st.none() | LINE | st.integers(0),
    st.none() | st.integers(0, 10**6),
    st.none() | TEXT,
)
def test_a_browser_gets_what_was_meant(data, event, id, retry, comment):
    written = ServerSentEvent(
        data, event=event, id=id, retry_milliseconds=retry, comment=comment
    ).encode()
    (read,) = decode(written)
    assert read.data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert (read.event, read.id) == (event or "message", "" if id is None else str(id))
    assert read.retry_milliseconds == retry


@given(st.lists(st.tuples(TEXT, LINE), max_size=5), st.data())
def test_any_split_of_a_stream_gives_the_same_events(events, data):
    stream = b"".join(ServerSentEvent(text, id=id).encode() for text, id in events)
    cut = data.draw(st.integers(0, len(stream)))
    decoder = EventDecoder()
    assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == decode(stream)
    assert len(decode(stream)) == len(events)


@pytest.mark.parametrize("bad", ["a\n", "\r", "a\0b"])
@pytest.mark.parametrize("name", ["event", "id"])
def test_a_line_that_would_end_early_is_refused(name, bad):
    with pytest.raises(ValueError, match=f"{name} must not contain CR, LF or NUL"):
        ServerSentEvent("x", **{name: bad})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"event": 1}, TypeError, "event must be a str, not 1"),
        ({"id": 1.5}, TypeError, "id must be a str or an int, not 1.5"),
        ({"id": True}, TypeError, "id must be a str or an int, not True"),
        ({"comment": b"x"}, TypeError, "comment must be a str"),
        ({"retry_milliseconds": -1}, ValueError, "must not be negative"),
        ({"retry_milliseconds": "1"}, TypeError, "retry_milliseconds must be an int"),
        ({"retry_milliseconds": True}, TypeError, "retry_milliseconds must be an int"),
        ({"data": "\ud800"}, ValueError, "data contains a surrogate"),
        ({"event": "\ud800"}, ValueError, "event contains a surrogate"),
        ({"id": "\ud800"}, ValueError, "id contains a surrogate"),
        ({"comment": "\ud800", "data": {}}, ValueError, "comment contains a surrogate"),
        ({"data": object()}, TypeError, "JSON"),
    ],
)
def test_an_argument_that_has_no_form_is_refused_at_once(arguments, error, message):
    with pytest.raises(error, match=message):
        ServerSentEvent(**arguments)


def test_the_representation_names_what_was_given():
    assert repr(ServerSentEvent("x", id=1)) == "ServerSentEvent(data='x', id=1)"


# -- items of a stream -------------------------------------------------------------------------------------


class Convertible:
    def to_server_sent_event(self):
        return ServerSentEvent("gap", event="gap")


class Own(ServerSentEvent):
    __slots__ = ()

    def encode(self):
        return b": own\n\n"


@pytest.mark.parametrize(
    ("item", "encoded"),
    [
        ("a\nb", b"data: a\ndata: b\n\n"),
        (b"a", b"data: a\n\n"),
        ({"data": {"a": 1}, "id": 3}, b'id: 3\ndata: {"a":1}\n\n'),
        (Convertible(), b"event: gap\ndata: gap\n\n"),
        (Own("x"), b": own\n\n"),
    ],
)
def test_items_that_become_events(item, encoded):
    assert encode_event(item) == encoded


def test_a_mapping_with_another_key_names_the_fix():
    with pytest.raises(
        TypeError, match=r"not 'price'. To send it as JSON, write ServerSentEvent\(data="
    ):
        encode_event({"price": 3})


@pytest.mark.parametrize("item", [None, 1, ["a"]])
def test_an_item_that_is_no_event_names_the_fix(item):
    with pytest.raises(TypeError, match=r"must be a ServerSentEvent, a str or a mapping"):
        encode_event(item)


def test_an_event_that_was_encoded_by_hand_is_warned_of() -> None:
    with pytest.warns(SpicaConfigurationWarning, match=r"probably an encoded event"):
        ServerSentEvent("data: 1\n\n")
