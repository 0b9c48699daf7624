"""Bodies of forms, streams of chunks, and temporary files that are watched."""

import tempfile

import pytest

import spica.formparsers
from spica.datastructures import Headers
from spica.formparsers import FormParser, MultiPartParser

BOUNDARY = b"limit"


class Chunks:
    """A stream of a request's body; it remembers whether it was closed early."""

    def __init__(self, chunks, error=None):
        self.chunks = list(chunks)
        self.error = error
        self.is_closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.chunks:
            return self.chunks.pop(0)
        if self.error is not None:
            raise self.error
        raise StopAsyncIteration

    async def aclose(self):
        self.is_closed = True


class Bodies:
    """Write multipart bodies."""

    content_type = "multipart/form-data; boundary=limit"

    def part(self, disposition, data=b"", *headers):
        """One part; `disposition` is the value of its Content-Disposition, or None."""
        lines = [] if disposition is None else [b"Content-Disposition: " + disposition]
        return b"\r\n".join([b"--" + BOUNDARY, *lines, *headers, b"", data, b""])

    def field(self, name, data):
        return self.part(b'form-data; name="' + name + b'"', data)

    def file(self, name, filename, data, *headers):
        disposition = b'form-data; name="' + name + b'"; filename="' + filename + b'"'
        return self.part(disposition, data, *headers)

    def body(self, *parts):
        return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


@pytest.fixture
def chunks():
    return Chunks


@pytest.fixture(scope="session")
def bodies():
    return Bodies()


@pytest.fixture(scope="session")
def split():
    """Cut a body into pieces of one size."""
    return lambda data, size: [data[i : i + size] for i in range(0, len(data), size)]


@pytest.fixture
def multipart():
    """Make a parser over a body, or over its chunks, or over a stream."""

    def make(body, content_type=Bodies.content_type, **limits):
        stream = Chunks([body]) if isinstance(body, bytes) else body
        stream = Chunks(stream) if isinstance(stream, list) else stream
        return MultiPartParser(Headers({"content-type": content_type}), stream, **limits)

    return make


@pytest.fixture
def urlencoded():
    """Parse a body, or its chunks, and return all pairs."""

    async def parse(body, **limits):
        stream = Chunks([body]) if isinstance(body, bytes) else body
        stream = Chunks(stream) if isinstance(stream, list) else stream
        headers = Headers({"content-type": "application/x-www-form-urlencoded"})
        return (await FormParser(headers, stream, **limits).parse()).multi_items()

    return parse


@pytest.fixture
def spools(monkeypatch):
    """Every temporary file that a parser opened."""
    opened = []

    class WatchedFile(tempfile.SpooledTemporaryFile):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            opened.append(self)

    monkeypatch.setattr(spica.formparsers, "SpooledTemporaryFile", WatchedFile)
    return opened
