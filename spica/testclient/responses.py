"""The responses of both clients: httpx2 responses with additions for tests."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, cast

from spica.testclient.events import EVENT_STREAM, EventDecoder, ReceivedEvent
from spica.testclient.interface import httpx


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
    _kept: list[Any] | None = None

    def keep_iterators(self) -> None:
        """Close all iterators of the body together with the response.

        A test can leave a loop over the body at any time. trio warns about an async generator that the
        garbage collector closes.
        """
        self._kept = []
        self.stream = _KeptStream(self.stream, self._kept)

    def _keep(self, iterator: Any) -> Any:
        if self._kept is not None:
            self._kept.append(iterator)
        return iterator

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        """Iterate over the body as the application sent it."""
        return cast("AsyncGenerator[bytes, None]", self._keep(super().aiter_raw(chunk_size)))

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        """Iterate over the body, decoded by its Content-Encoding."""
        return cast("AsyncGenerator[bytes, None]", self._keep(super().aiter_bytes(chunk_size)))

    def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """Iterate over the body as strings."""
        return cast(AsyncIterator[str], self._keep(super().aiter_text(chunk_size)))

    def aiter_lines(self) -> AsyncIterator[str]:
        """Iterate over the lines of the body."""
        return cast(AsyncIterator[str], self._keep(super().aiter_lines()))

    async def aclose(self) -> None:
        """Close the response; before its end, this disconnects the client."""
        # Close the outer iterators first. At the end of the body, the running iterator is the caller.
        for iterator in self._kept or ():
            if not iterator.ag_running:
                await iterator.aclose()
        await super().aclose()

    def events(self) -> AsyncIterator[ReceivedEvent]:
        """Iterate over the server-sent events of the body, each as soon as it is complete.

        Close the response, or leave ``async with client.stream(...)``, to end an infinite stream.

        Raises:
            ValueError: the media type of the response is not ``text/event-stream``.
        """
        return cast(AsyncIterator[ReceivedEvent], self._keep(self._events(_decoder_for(self))))

    async def _events(self, decoder: EventDecoder) -> AsyncIterator[ReceivedEvent]:
        async for chunk in self.aiter_bytes():
            for event in decoder.feed(chunk):
                yield event

    @property
    def early_hints(self) -> list[str]:
        """The Link values of the early hints (RFC 8297) before this response, in order of arrival."""
        return [] if self.exchange is None else list(self.exchange.early_hints)

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that the application started for this request and that still run."""
        return [] if self.exchange is None else self.exchange.running_tasks()


class _KeptStream(httpx.AsyncByteStream):
    """The stream of a response, whose iterators the response keeps."""

    def __init__(self, stream: Any, kept: list[Any]) -> None:
        self._stream = stream
        self._kept = kept

    def __aiter__(self) -> AsyncIterator[bytes]:
        iterator = aiter(self._stream)
        self._kept.append(iterator)
        return cast(AsyncIterator[bytes], iterator)

    async def aclose(self) -> None:
        await self._stream.aclose()


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
