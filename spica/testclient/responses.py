"""The responses of both clients: those of httpx2, and the parts that only a test can see."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from spica.testclient.events import EVENT_STREAM, EventDecoder, ReceivedEvent
from spica.testclient.library import httpx


class ReceivedResponse(httpx.Response):
    """A response of `TestClient`."""

    def events(self) -> Iterator[ReceivedEvent]:
        """Iterate over the server-sent events of the body, each as soon as it is complete.

        Raises:
            ValueError: the media type of the response is not ``text/event-stream``.
        """
        decoder = _decoder_for(self)
        for chunk in self.iter_bytes():
            yield from decoder.feed(chunk)


class AsyncReceivedResponse(httpx.Response):
    """A response of `AsyncTestClient`.

    Its `extensions` have the trailers as "trailers", a list of (name, value) pairs, if the
    application declared trailers.
    """

    exchange: Any = None

    async def events(self) -> AsyncIterator[ReceivedEvent]:
        """Iterate over the server-sent events of the body, each as soon as it is complete.

        Close the response, or leave ``async with client.stream(...)``, to end an infinite stream.

        Raises:
            ValueError: the media type of the response is not ``text/event-stream``.
        """
        decoder = _decoder_for(self)
        async for chunk in self.aiter_bytes():
            for event in decoder.feed(chunk):
                yield event

    @property
    def early_hints(self) -> list[str]:
        """The Link values of the early hints (RFC 8297) before this response, in their order."""
        return [] if self.exchange is None else list(self.exchange.early_hints)

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that the application started for this request and that still run."""
        return [] if self.exchange is None else self.exchange.running_tasks()


def _decoder_for(response: httpx.Response) -> EventDecoder:
    """Return a decoder, if the response is an event stream."""
    content_type = response.headers.get("content-type", "")
    # WHATWG HTML s.9.2.2: the client fails the connection for any other type
    if content_type.partition(";")[0].strip().lower() != EVENT_STREAM:
        raise ValueError(
            f"The response {response.status_code} is not an event stream: its Content-Type is "
            f"{content_type!r:.80}, not {EVENT_STREAM!r}."
        )
    return EventDecoder()
