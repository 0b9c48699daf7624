"""Tests of spica/websockets/frames.py."""

import json
import pickle

import pytest

from spica.exceptions import WebSocketException
from spica.websockets.frames import Frames, MalformedJSON, UnexpectedFrame


def test_an_unexpected_frame_closes_with_1003():
    """RFC 6455 s.7.4.1."""
    error = UnexpectedFrame("text", "binary")
    assert (error.expected, error.received) == ("text", "binary")
    assert isinstance(error, WebSocketException)
    assert (error.code, error.reason) == (1003, "Expected a text frame, received a binary frame.")


def test_an_unexpected_frame_is_a_key_error():
    with pytest.raises(KeyError):
        raise UnexpectedFrame("text", "binary")


def test_malformed_json_closes_with_1007():
    """RFC 6455 s.7.4.1."""
    error = MalformedJSON("Expecting value", "[", 1)
    assert isinstance(error, WebSocketException)
    assert (error.code, error.reason) == (1007, "The message is not JSON.")


def test_malformed_json_is_a_json_decode_error():
    with pytest.raises(json.JSONDecodeError) as caught:
        raise MalformedJSON("Expecting value", "[\n", 2)
    assert (caught.value.msg, caught.value.doc, caught.value.pos) == ("Expecting value", "[\n", 2)
    assert (caught.value.lineno, caught.value.colno) == (2, 1)


def test_malformed_json_tells_the_place():
    error = MalformedJSON("Expecting value", "[", 1)
    place = "line 1 column 2 (char 1)"
    assert str(error) == f"1007: The message is not JSON. Expecting value: {place}"


@pytest.mark.parametrize(
    "error",
    [UnexpectedFrame("text", "binary"), MalformedJSON("Expecting value", "[", 1)],
    ids=lambda error: type(error).__name__,
)
def test_the_errors_pickle(error):
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)


class TestFrames:
    """One after another, until the peer has left."""

    def make(self, *frames):
        self.left = list(frames)
        return Frames(self.receive, LookupError)

    async def receive(self):
        return self.left.pop(0)  # an IndexError, which is a LookupError, at the end

    @pytest.mark.anyio
    async def test_all_are_given_out(self):
        assert [frame async for frame in self.make("a", "b")] == ["a", "b"]

    @pytest.mark.anyio
    async def test_the_end_is_the_end(self):
        frames = self.make()
        assert [frame async for frame in frames] == []
        self.left = ["a"]
        assert [frame async for frame in frames] == []

    @pytest.mark.anyio
    async def test_another_error_is_raised(self):
        frames = Frames(self.receive, KeyError)
        self.left = []
        with pytest.raises(IndexError):
            await anext(frames)

    @pytest.mark.anyio
    async def test_it_can_be_closed(self):
        frames = self.make("a", "b")
        assert await anext(frames) == "a"
        await frames.aclose()
        assert [frame async for frame in frames] == []
