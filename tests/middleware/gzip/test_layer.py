"""Compression of responses: by value, as streams and by messages."""

import gzip
import subprocess
import sys
import zlib

import anyio
import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope
from hypothesis import given
from hypothesis import strategies as st

from spica._http.fields import encode_field_value
from spica._layers.layer import BaseLayer
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.gzip import (
    DEFAULT_EXCLUDED_CONTENT_TYPES,
    GZipMiddleware,
    GZipResponder,
    IdentityResponder,
    gzip_threads,
)
from spica.middleware.gzip.rules import accepts_gzip, declared_size, encode_fields, vary_fields
from spica.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from spica.routing import Route, Router
from spica.staticfiles import StaticFiles

pytestmark = pytest.mark.anyio

GZIP = [("accept-encoding", "gzip")]
LARGE = "spica " * 200


class Answer(BaseLayer):
    """A layer that always gives the same answer, by value."""

    def __init__(self, answer):
        self.answer = answer

    async def _layer_respond(self, request):
        return self.answer


class Foreign:
    """An app that is only known by running it: it sends the messages it was given."""

    def __init__(self, *messages):
        self.messages = messages

    async def __call__(self, scope, receive, send):
        for message in self.messages:
            await send(message)


def start(status=200, headers=(), **more):
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(chunk, more_body=False):
    return {"type": "http.response.body", "body": chunk, "more_body": more_body}


async def ask(app, method="GET", headers=GZIP, **options):
    return await call(GZipMiddleware(app, **options), method, headers=headers)


# -- negotiation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "accepted"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("GZip", True),
        ("x-gzip", True),
        ("br;q=1.0, gzip;q=0.001", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("br", False),
        ("gzipped", False),
        ("gzip;q=nonsense", False),
        ("", False),
    ],
)
def test_weights_decide(field, accepted):
    """RFC 9110 s.12.5.3."""
    assert accepts_gzip([(b"accept-encoding", field.encode())]) is accepted


def test_without_the_field_nothing_is_encoded():
    assert accepts_gzip([(b"accept", b"gzip")]) is False


def test_several_lines_make_one_list():
    assert accepts_gzip([(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]) is True


@given(st.binary(max_size=60))
def test_any_bytes_are_answered(field):
    assert accepts_gzip([(b"accept-encoding", field)]) in (True, False)


# -- the rules about fields ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_fields", "vary"),
    [
        ([], [b"Accept-Encoding"]),
        ([(b"vary", b"Cookie")], [b"Cookie, Accept-Encoding"]),
        ([(b"Vary", b"Cookie"), (b"vary", b"Origin")], [b"Cookie, Origin, Accept-Encoding"]),
        ([(b"vary", b"Origin"), (b"vary", b"accept-encoding")], [b"Origin, accept-encoding"]),
        ([(b"vary", b"Cookie, accept-ENCODING")], [b"Cookie, accept-ENCODING"]),
        ([(b"vary", b"*")], [b"*"]),
        ([(b"vary", b"Origin"), (b"Vary", b"Cookie")], [b"Origin, Cookie, Accept-Encoding"]),
        ([(b"x", b"y"), (b"VARY", b"Origin")], [b"Origin, Accept-Encoding"]),
    ],
)
def test_vary_names_accept_encoding_once(given_fields, vary):
    fields = vary_fields(given_fields)
    assert [value for name, value in fields if name == b"vary"] == vary
    assert fields is not given_fields


@pytest.mark.parametrize(("tag", "sent"), [(b'"a"', b'W/"a"'), (b'W/"a"', b'W/"a"')])
def test_a_strong_validator_becomes_weak(tag, sent):
    """RFC 9110 s.8.8.1."""
    assert (b"etag", sent) in encode_fields([(b"etag", tag)], "gzip", None)


def test_the_length_is_that_of_the_encoded_body():
    fields = encode_fields([(b"Content-Length", b"900")], "gzip", 40)
    assert [value for name, value in fields if name.lower() == b"content-length"] == [b"40"]


@pytest.mark.parametrize(
    ("value", "size"),
    [(b"12", 12), (b"-1", 0), (b"1e3", 0), (b"9" * 20, 0), (b"9" * 19, 10**19 - 1)],
)
def test_a_declared_size_is_a_number(value, size):
    assert declared_size([(b"content-length", value)]) == size


# -- by value ------------------------------------------------------------------------------------------


async def test_a_body_in_memory_is_compressed():
    exchange = await ask(PlainTextResponse(LARGE))
    assert gzip.decompress(exchange.body).decode() == LARGE
    assert exchange.headers["content-encoding"] == "gzip"
    assert exchange.headers["vary"] == "Accept-Encoding"
    assert exchange.headers["content-length"] == str(len(exchange.body))


async def test_the_answer_stays_a_value():
    layer = GZipMiddleware(Answer(PlainTextResponse(LARGE)))
    seen = []

    async def dispatch(request, call_next):
        seen.append(await call_next(request))
        return seen[0]

    exchange = await call(BaseHTTPMiddleware(layer, dispatch), headers=GZIP)
    assert type(seen[0]) is PlainTextResponse
    assert gzip.decompress(exchange.body).decode() == LARGE


@pytest.mark.parametrize(("size", "encoded"), [(499, False), (500, True), (501, True)])
async def test_small_bodies_stay_as_they_are(size, encoded):
    exchange = await ask(Answer(Response(b"x" * size)))
    assert ("content-encoding" in exchange.headers) is encoded
    assert ("vary" in exchange.headers) is encoded


async def test_a_memoryview_counts_its_bytes():
    """Its items may be larger than bytes."""
    view = memoryview(b"x" * 400).cast("I")
    exchange = await ask(Answer(Response(view)), minimum_size=400)
    assert gzip.decompress(exchange.body) == b"x" * 400


async def test_one_response_for_many_requests_is_not_changed():
    shared = PlainTextResponse(LARGE, headers={"etag": '"a"'})
    before = shared.raw_headers[:]
    layer = GZipMiddleware(Answer(shared))
    first = await call(layer, headers=GZIP)
    second = await call(layer)
    assert first.headers["etag"] == 'W/"a"'
    assert second.text == LARGE
    assert second.headers["etag"] == '"a"'
    assert (shared.raw_headers, shared.body) == (before, LARGE.encode())


async def test_a_client_without_gzip_is_told_that_it_matters():
    exchange = await ask(Answer(PlainTextResponse(LARGE)), headers=[("accept-encoding", "br")])
    assert exchange.text == LARGE
    assert exchange.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in exchange.headers


UNTOUCHED = {
    "partial content": Response(
        b"x" * 600, 206, {"content-range": "bytes 0-599/9000", "vary": "*"}
    ),
    "a part of little": Response(b"x" * 9, 206, {"content-range": "bytes 0-8/499"}),
    "a part of an image": Response(b"x", 206, {"content-range": "bytes 0-0/900"}, "image/png"),
    "not to be transformed": Response(
        b"x" * 600, headers={"cache-control": "no-store, No-Transform"}
    ),
    "a PDF": Response(b"x" * 600, media_type="application/pdf"),
    "an e-book": Response(b"x" * 600, media_type="application/epub+zip"),
    "a compressed file": Response(b"x" * 600, media_type="application/zstd"),
    "encoded already": Response(b"x" * 600, headers={"content-encoding": "br"}),
    "with a digest": Response(b"x" * 600, headers={"repr-digest": "sha-256=:AA==:"}),
    "an image": Response(b"x" * 600, media_type="image/png"),
    "any video": Response(b"x" * 600, media_type="video/x-new; codecs=a"),
    "gRPC": Response(b"x" * 600, media_type="application/grpc"),
    "a subtype of gRPC": Response(b"x" * 600, media_type="application/grpc+proto"),
    "in capitals": Response(b"x" * 600, media_type="IMAGE/PNG"),
}


@pytest.mark.parametrize("response", UNTOUCHED.values(), ids=UNTOUCHED.keys())
@pytest.mark.parametrize("by_value", [True, False], ids=["value", "message"])
async def test_what_must_not_be_encoded_is_sent_as_it_is(response, by_value):
    app = (
        Answer(response) if by_value else Foreign(start(response.status_code, response.raw_headers))
    )
    exchange = await ask(app)
    assert exchange.raw_headers == response.raw_headers


@pytest.mark.parametrize("media_type", ["image/svg+xml", "application/grpc-web", "font/woff3"])
async def test_neighbours_of_excluded_types_are_compressed(media_type):
    exchange = await ask(Answer(Response(b"x" * 600, media_type=media_type)))
    assert exchange.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("excluded", "media_type", "encoded"),
    [
        (("text/html",), "text/html; charset=utf-8", False),
        ((" Text/HTML ; q=1",), "text/html", False),
        (("text/*",), "text/css", False),
        (("text/html",), "text/css", True),
        ((), "image/png", True),
        ((), "application/grpc+proto", True),
    ],
)
async def test_excluded_types_can_be_set(excluded, media_type, encoded):
    response = Response(b"x" * 600, headers={"content-type": media_type})
    exchange = await ask(Answer(response), exclude_content_types=excluded)
    assert ("content-encoding" in exchange.headers) is encoded


async def test_a_response_without_content_stays_as_it_is():
    exchange = await ask(Answer(Response(status_code=204)), minimum_size=0)
    assert exchange.raw_headers == []


async def test_a_directive_that_only_contains_no_transform_is_another_one():
    response = PlainTextResponse(LARGE, headers={"cache-control": "x-no-transform"})
    assert (await ask(Answer(response))).headers["content-encoding"] == "gzip"


async def test_a_compressed_response_offers_no_ranges():
    """RFC 9110 s.14.3."""
    response = PlainTextResponse(LARGE, headers={"accept-ranges": "bytes"})
    assert "accept-ranges" not in (await ask(Answer(response))).headers
    assert (await ask(Answer(response), headers=())).headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("by_value", [True, False], ids=["value", "message"])
@pytest.mark.parametrize("headers", [GZIP, ()], ids=["gzip", "identity"])
async def test_a_part_names_vary_and_keeps_its_tag(headers, by_value):
    """RFC 9110 s.15.3.7."""
    fields = {"content-range": "bytes 0-8/900", "etag": '"a"'}
    response = Response(b"x" * 9, 206, fields)
    app = (
        Answer(response) if by_value else Foreign(start(206, response.raw_headers), body(b"x" * 9))
    )
    exchange = await ask(app, headers=headers)
    assert exchange.headers["vary"] == "Accept-Encoding"
    assert (exchange.headers["etag"], exchange.body) == ('"a"', b"x" * 9)


@pytest.mark.parametrize("by_value", [True, False], ids=["value", "message"])
@pytest.mark.parametrize(
    ("accept", "if_none_match", "etag"),
    [
        ("gzip", 'W/"a"', 'W/"a"'),
        ("gzip", '"a"', '"a"'),
        ("gzip", '"b", "a", W/"a"', 'W/"a"'),
        ("gzip", "*", 'W/"a"'),
        ("gzip", None, 'W/"a"'),
        ("br", 'W/"a"', '"a"'),
    ],
)
async def test_a_304_has_vary_and_the_tag_of_its_200(accept, if_none_match, etag, by_value):
    """RFC 9110 s.15.4.5."""
    response = Response(status_code=304, headers={"etag": '"a"'})
    app = Answer(response) if by_value else Foreign(start(304, response.raw_headers), body(b""))
    headers = [("accept-encoding", accept)]
    headers += [("if-none-match", if_none_match)] if if_none_match else []
    exchange = await ask(app, headers=headers)
    assert exchange.headers == {"etag": etag, "vary": "Accept-Encoding"}


@pytest.mark.parametrize("extensions", [{}, {"http.response.pathsend": {}}], ids=["body", "path"])
@pytest.mark.parametrize("headers", [GZIP, []], ids=["gzip", "identity"])
@pytest.mark.parametrize(("name", "size"), [("a.txt", 10), ("a.txt", 9000), ("a.png", 9000)])
@pytest.mark.parametrize("make", ["response", "static"])
async def test_304_and_head_of_a_file_agree_with_its_200(
    tmp_path, name, size, headers, extensions, make
):
    """RFC 9110 s.9.3.2, s.15.4.5."""
    (tmp_path / name).write_bytes(b"x" * size)
    if make == "static":
        inner = StaticFiles(directory=tmp_path, follow_symlink=True)
    else:
        inner = Router(
            [Route("/{rest}", lambda request: FileResponse(tmp_path / name, conditional=True))]
        )
    app = GZipMiddleware(inner)

    async def get(method="GET", *more):
        scope = http_scope(method, f"/{name}", headers=[*headers, *more], extensions=extensions)
        return await Exchange(scope).run(app)

    whole, head = await get(), await get("HEAD")
    not_modified = await get("GET", ("if-none-match", whole.headers["etag"]))
    assert not_modified.status == 304
    for field in ("etag", "vary"):
        assert not_modified.headers.get(field) == whole.headers.get(field), field
    whole_fields = {n: v for n, v in whole.headers.items() if n != "content-length"}
    assert {n: v for n, v in head.headers.items() if n != "content-length"} == whole_fields


async def test_a_file_whose_body_was_replaced_is_compressed(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 9000)
    scope = http_scope(headers=GZIP, extensions={"http.response.pathsend": {}})
    response = await FileResponse(tmp_path / "a.txt")._answer(scope)
    del response.headers["content-length"]
    response.body_iterator = Chunks(b"y" * 9000)
    exchange = await Exchange(scope).run(GZipMiddleware(Answer(response)))
    assert gzip.decompress(exchange.body) == b"y" * 9000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("chunks", [[b"x" * 600], [b"x" * 300, b"x" * 300], [b"x" * 1200]])
@pytest.mark.parametrize("by_value", [True, False], ids=["value", "message"])
async def test_a_body_of_another_length_than_announced_is_never_complete(chunks, by_value, method):
    """RFC 9112 s.8."""
    fields = {"content-length": "900"}
    if by_value:
        app = Answer(StreamingResponse(Chunks(*chunks), headers=fields))
    else:
        messages = [body(chunk, True) for chunk in chunks]
        app = Foreign(start(headers=[(b"content-length", b"900")]), *messages, body(b""))
    exchange = await Exchange(http_scope(method, headers=GZIP)).run(GZipMiddleware(app))
    if method == "HEAD":
        assert exchange.error is None
    else:
        assert isinstance(exchange.error, RuntimeError)
        assert "than its Content-Length of 900 bytes, by 300 bytes" in str(exchange.error)
        assert not exchange.is_complete


async def test_a_stream_of_the_announced_length_is_compressed():
    response = StreamingResponse(Chunks(b"x" * 300, "y" * 300), headers={"content-length": "600"})
    exchange = await ask(Answer(response))
    assert gzip.decompress(exchange.body) == b"x" * 300 + b"y" * 300


async def test_a_body_that_was_changed_later_is_compressed():
    response = PlainTextResponse("short")
    response.body = LARGE.encode()
    exchange = await ask(Answer(response))
    assert gzip.decompress(exchange.body) == LARGE.encode()
    assert exchange.headers["content-length"] == str(len(exchange.body))


async def test_one_message_of_another_length_than_announced_stays_as_it_is():
    # The server sees the contradiction, and breaks the connection off.
    fields = [(b"content-length", b"900")]
    exchange = Exchange(http_scope(headers=GZIP))
    await exchange.run(GZipMiddleware(Foreign(start(headers=fields), body(b"x" * 600))))
    assert exchange.raw_headers == [*fields, (b"vary", b"Accept-Encoding")]
    assert exchange.body == b"x" * 600


@pytest.mark.parametrize("by_value", [True, False], ids=["value", "message"])
async def test_layers_that_vary_send_one_line(by_value):
    inner = Answer(PlainTextResponse(LARGE)) if by_value else Foreign(start(), body(LARGE.encode()))
    app = GZipMiddleware(CORSMiddleware(inner, allow_origins=["https://a.org"]))
    scope = http_scope(headers=[*GZIP, ("origin", "https://a.org")])
    exchange = await Exchange(scope).run(app)
    assert [v for n, v in exchange.raw_headers if n == b"vary"] == [b"Origin, Accept-Encoding"]


async def test_an_empty_body_is_not_encoded():
    exchange = await ask(Answer(Response("")), minimum_size=0)
    assert exchange.headers == {"content-length": "0", "vary": "Accept-Encoding"}
    assert exchange.body == b""


async def test_background_tasks_run():
    ran = []

    async def task():
        ran.append(True)

    await ask(Answer(PlainTextResponse(LARGE, background=task)))
    assert ran == [True]


@pytest.mark.parametrize("limit", [1199, 1200, 1201])
async def test_large_bodies_are_compressed_in_threads_of_their_own(limit):
    used = []

    class Watching(GZipResponder):
        def _compress(self, chunk, more_body):
            used.append(gzip_threads_in_use())
            return super()._compress(chunk, more_body)

    def gzip_threads_in_use():
        import threading

        return threading.current_thread() is not main

    import threading

    main = threading.current_thread()
    responder = Watching(PlainTextResponse(LARGE), 500, thread_minimum_size=limit)
    exchange = await call(responder)
    assert gzip.decompress(exchange.body).decode() == LARGE
    assert used == [limit <= len(LARGE)]


STREAMED = [b"a" * 1000, b"b" * 1000]


async def stream_chunks():
    for chunk in STREAMED:
        yield chunk


@pytest.mark.parametrize(
    "make",
    [
        lambda: Answer(StreamingResponse(stream_chunks(), media_type="text/plain")),
        lambda: Foreign(start(), body(STREAMED[0], more_body=True), body(STREAMED[1])),
    ],
    ids=["value", "message"],
)
async def test_a_stream_waits_for_a_thread_as_long_as_it_takes(monkeypatch, make):
    monkeypatch.setattr(gzip_threads, "max_wait_seconds", 0)
    monkeypatch.setattr(gzip_threads, "total", 1)
    limiter = gzip_threads.current()
    exchange = Exchange(http_scope(headers=GZIP))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            limiter.acquire_on_behalf_of_nowait(group)
            group.start_soon(exchange.run, GZipMiddleware(make(), thread_minimum_size=1))
            await anyio.wait_all_tasks_blocked()
            limiter.release_on_behalf_of(group)
    assert exchange.error is None
    assert gzip.decompress(exchange.body) == b"".join(STREAMED)


async def test_what_has_not_begun_is_a_503_where_no_thread_becomes_free(monkeypatch):
    monkeypatch.setattr(gzip_threads, "max_wait_seconds", 0)
    monkeypatch.setattr(gzip_threads, "total", 1)
    limiter = gzip_threads.current()
    limiter.acquire_on_behalf_of_nowait(limiter)
    app = GZipMiddleware(Answer(PlainTextResponse(LARGE)), thread_minimum_size=1)
    exchange = await Exchange(http_scope(headers=GZIP)).run(app)
    limiter.release_on_behalf_of(limiter)
    assert exchange.error.status_code == 503


def test_the_threads_are_forty():
    assert (gzip_threads.name, gzip_threads.total) == ("gzip", 40)


async def test_what_is_no_answer_is_named_by_whoever_sends_it():
    exchange = await Exchange(http_scope(headers=GZIP)).run(GZipMiddleware(Answer(None)))
    assert isinstance(exchange.error, TypeError)
    assert "must return a Response" in str(exchange.error)


# -- streams -------------------------------------------------------------------------------------------


class Chunks:
    """A stream that knows whether it was closed."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)
        self.is_closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.chunks:
            raise StopAsyncIteration
        chunk = self.chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def aclose(self):
        self.is_closed = True


def inflate_each(chunks):
    """What a client has read after each chunk."""
    decompressor = zlib.decompressobj(31)
    return [decompressor.decompress(chunk) for chunk in chunks]


async def test_each_chunk_of_a_stream_is_readable_at_once():
    stream = StreamingResponse(Chunks("one", b"", memoryview(b"two")), headers={"etag": '"s"'})
    exchange = await ask(Answer(stream))
    assert inflate_each(exchange.chunks) == [b"one", b"", b"two", b"", b""]
    assert exchange.headers == {
        "etag": 'W/"s"',
        "vary": "Accept-Encoding",
        "content-encoding": "gzip",
    }


async def test_a_stream_loses_its_declared_length():
    stream = StreamingResponse(Chunks(b"abc", b"x" * 497), headers={"content-length": "500"})
    exchange = await ask(Answer(stream))
    assert "content-length" not in exchange.headers
    assert gzip.decompress(exchange.body) == b"abc" + b"x" * 497


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("by_value", [True, False])
async def test_a_stream_that_declares_a_small_length_is_not_compressed(method, by_value):
    """RFC 9110 s.9.3.2: the response to a HEAD, which has only the length, is that of the GET."""
    fields = [(b"content-length", b"4")]
    parts = [body(b"a", True), body(b"bcd")] if method == "GET" else [body(b"")]
    answer = StreamingResponse(Chunks(b"a", b"bcd"), headers={"content-length": "4"})
    app = Answer(answer) if by_value else Foreign(start(headers=fields), *parts)
    exchange = await ask(app, method)
    assert exchange.headers == {"content-length": "4"}
    if method == "GET":
        assert exchange.body == b"abcd"


async def test_an_empty_response_is_not_compressed_for_head_either():
    for method in ("GET", "HEAD"):
        exchange = await ask(Answer(Response()), method, minimum_size=0)
        assert exchange.headers == {"content-length": "0", "vary": "Accept-Encoding"}


async def test_an_empty_stream_is_an_empty_encoded_body():
    exchange = await ask(Answer(StreamingResponse(Chunks())))
    assert gzip.decompress(exchange.body) == b""


async def test_a_stream_for_a_client_without_gzip_is_untouched():
    exchange = await ask(Answer(StreamingResponse(Chunks(b"a", b"b"))), headers=())
    assert (exchange.body, exchange.headers) == (b"ab", {"vary": "Accept-Encoding"})


async def test_a_replaced_body_is_compressed():
    response = PlainTextResponse("short")
    del response.headers["content-length"]
    response.body_iterator = Chunks("long", "er")
    exchange = await ask(Answer(response))
    assert gzip.decompress(exchange.body) == b"longer"


async def test_a_stream_that_fails_is_closed_and_left_open_ended():
    chunks = Chunks(b"a", ValueError("broken"))
    exchange = Exchange(http_scope(headers=GZIP))
    await exchange.run(GZipMiddleware(Answer(StreamingResponse(chunks))))
    assert isinstance(exchange.error, ValueError)
    assert (exchange.is_complete, chunks.is_closed) == (False, True)


async def test_a_stream_that_was_never_begun_is_closed():
    chunks = Chunks(b"a")
    exchange = Exchange(http_scope(headers=GZIP), gone_after=1)
    await exchange.run(GZipMiddleware(Answer(StreamingResponse(chunks))))
    assert chunks.is_closed


# -- by messages ---------------------------------------------------------------------------------------


async def test_one_message_is_compressed_with_its_length():
    exchange = await ask(Foreign(start(), body(b"x" * 600)))
    assert gzip.decompress(exchange.body) == b"x" * 600
    assert exchange.headers["content-length"] == str(len(exchange.body))


async def test_the_messages_of_the_app_are_not_changed():
    first = start(headers=[(b"etag", b'"a"')])
    await ask(Foreign(first, body(b"x" * 600)))
    assert first["headers"] == [(b"etag", b'"a"')]


async def test_chunks_are_compressed_one_by_one():
    app = Foreign(start(), body(b"a", True), body(b"", True), body(b"b", True), body(b""))
    exchange = await ask(app)
    assert inflate_each(exchange.chunks) == [b"a", b"", b"b", b""]
    assert gzip.decompress(exchange.body) == b"ab"


async def test_a_start_without_headers_is_understood():
    exchange = await ask(Foreign({"type": "http.response.start", "status": 200}, body(b"x" * 600)))
    assert exchange.headers["content-encoding"] == "gzip"


async def test_a_start_that_is_not_to_be_encoded_is_sent_at_once():
    sent = []

    async def send(message):
        sent.append(message["type"])

    async def app(scope, receive, send):
        await send(start(headers=[(b"content-type", b"text/event-stream")]))
        assert sent == ["http.response.start"]

    await GZipMiddleware(app)(http_scope(headers=GZIP), None, send)
    assert sent == ["http.response.start"]


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
async def test_what_is_sent_otherwise_stays_where_nothing_is_encoded(kind):
    headers = [(b"content-type", b"image/png")]
    exchange = await ask(Foreign(start(headers=headers), {"type": kind, "path": "/x"}))
    assert exchange.sent[-1] == {"type": kind, "path": "/x"}
    assert exchange.raw_headers == headers


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
@pytest.mark.parametrize("headers", [GZIP, ()], ids=["gzip", "identity"])
async def test_files_sent_by_the_server_pass(kind, headers):
    exchange = await ask(Foreign(start(), {"type": kind, "path": "/f", "file": 3}), headers=headers)
    assert exchange.types == ["http.response.start", kind]
    assert exchange.raw_headers == []


async def test_a_file_after_compressed_chunks_is_an_error():
    app = Foreign(start(), body(b"x", True), {"type": "http.response.zerocopysend", "file": 3})
    exchange = await Exchange(http_scope(headers=GZIP)).run(GZipMiddleware(app))
    assert isinstance(exchange.error, RuntimeError)
    assert "can't follow compressed body chunks" in str(exchange.error)


@pytest.mark.parametrize("headers", [GZIP, ()], ids=["gzip", "identity"])
async def test_early_hints_and_trailers_pass(headers):
    hint = {"type": "http.response.early_hint", "links": [b"</a>"]}
    trailers = {"type": "http.response.trailers", "headers": []}
    app = Foreign(hint, start(trailers=True), body(b"x" * 600), trailers)
    exchange = await ask(app, headers=headers)
    assert exchange.types == [
        hint["type"],
        "http.response.start",
        "http.response.body",
        trailers["type"],
    ]
    assert exchange.starts[0]["trailers"] is True


async def test_a_body_before_trailers_has_no_length():
    """RFC 9112 s.7.1.2: trailers need the chunked coding."""
    exchange = await ask(Foreign(start(trailers=True), body(b"x" * 600)))
    assert "content-length" not in exchange.headers


async def test_an_error_before_the_first_chunk_can_still_be_answered():
    async def app(scope, receive, send):
        await send(start())
        raise ValueError("late")

    exchange = await Exchange(http_scope(headers=GZIP)).run(GZipMiddleware(app))
    assert isinstance(exchange.error, ValueError)
    assert exchange.sent == []


async def test_a_start_without_a_body_is_seen_by_the_server():
    exchange = await ask(Foreign(start()))
    assert exchange.types == ["http.response.start"]


@pytest.mark.parametrize("by_value", [True, False], ids=["value", "message"])
@pytest.mark.parametrize(("length", "encoded"), [(499, False), (500, True)])
async def test_head_gets_the_fields_of_get(length, encoded, by_value):
    """RFC 9110 s.9.3.2."""
    fields = {"content-length": str(length), "etag": '"a"'}
    response = Response(headers=fields)
    raw = [(name.encode(), encode_field_value(value)) for name, value in fields.items()]
    exchange = await ask(
        Answer(response) if by_value else Foreign(start(headers=raw), body(b"")), "HEAD"
    )
    assert exchange.body == b""
    if encoded:
        assert exchange.headers == {
            "etag": 'W/"a"',
            "vary": "Accept-Encoding",
            "content-encoding": "gzip",
        }
    else:
        assert exchange.headers == fields


async def test_a_file_is_compressed(tmp_path):
    path = tmp_path / "large.txt"
    path.write_bytes(b"x" * 200_000)
    exchange = await ask(FileResponse(path))
    assert gzip.decompress(exchange.body) == b"x" * 200_000
    assert exchange.headers["etag"].startswith('W/"')


async def test_other_scopes_pass():
    async def app(scope, receive, send):
        await send({"type": "websocket.close"})

    exchange = await Exchange(websocket_scope(headers=GZIP)).run(GZipMiddleware(app))
    assert exchange.types == ["websocket.close"]


# -- the responders by themselves ----------------------------------------------------------------------


async def test_a_gzip_responder_compresses_whatever_the_client_accepts():
    responder = GZipResponder(PlainTextResponse(LARGE), 500)
    first, second = await call(responder), await call(responder)
    assert gzip.decompress(first.body) == gzip.decompress(second.body) == LARGE.encode()


async def test_an_identity_responder_only_adds_vary():
    exchange = await call(IdentityResponder(PlainTextResponse(LARGE), 500), headers=GZIP)
    assert (exchange.text, exchange.headers["vary"]) == (LARGE, "Accept-Encoding")


async def test_a_responder_lets_other_scopes_pass():
    async def app(scope, receive, send):
        await send({"type": "websocket.close"})

    exchange = await Exchange(websocket_scope()).run(GZipResponder(app, 500))
    assert exchange.types == ["websocket.close"]


class Reversing(IdentityResponder):
    """A content coding of one's own, with state."""

    content_encoding = "reversed"

    def __init__(self, app, minimum_size):
        super().__init__(app, minimum_size)
        self.count = 0

    async def apply_compression(self, body, *, more_body):
        self.count += 1
        return body[::-1] + str(self.count).encode()


async def test_a_subclass_brings_its_own_coding():
    responder = Reversing(Foreign(start(), body(b"ab", True), body(b"cd")), 0)
    first, second = await call(responder), await call(responder)
    assert first.body == second.body == b"ba1dc2"
    assert first.headers["content-encoding"] == "reversed"


# -- settings ------------------------------------------------------------------------------------------


def test_the_defaults():
    layer = GZipMiddleware(Foreign())
    assert (layer.minimum_size, layer.compresslevel, layer.thread_minimum_size) == (500, 9, 131072)
    assert layer.exclude_content_types == DEFAULT_EXCLUDED_CONTENT_TYPES


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"compresslevel": 10}, ValueError, "compresslevel must be from 0 to 9"),
        ({"compresslevel": -2}, ValueError, "not -2"),
        ({"compresslevel": "9"}, TypeError, "compresslevel must be an int"),
        ({"minimum_size": -1}, ValueError, "minimum_size must be 0 or more bytes"),
        ({"minimum_size": "1k"}, TypeError, "minimum_size must be a number of bytes"),
        ({"thread_minimum_size": -1}, ValueError, "thread_minimum_size must be 0 or more"),
        ({"exclude_content_types": "text/html"}, TypeError, "must be a tuple of strings"),
    ],
)
def test_settings_that_cannot_work_are_named(options, error, text):
    with pytest.raises(error, match=f"^GZipMiddleware: .*{text}"):
        GZipMiddleware(Foreign(), **options)


@pytest.mark.parametrize("level", [-1, 0, 9])
async def test_every_level_of_zlib_works(level):
    exchange = await ask(Answer(PlainTextResponse(LARGE)), compresslevel=level)
    assert gzip.decompress(exchange.body).decode() == LARGE


def test_a_responder_names_itself_in_errors():
    with pytest.raises(ValueError, match=r"^GZipResponder: minimum_size"):
        GZipResponder(Foreign(), -1)


def test_zlib_is_loaded_on_use():
    program = "import sys, spica.middleware.gzip; print(spica.middleware.gzip.__dict__.get('zlib'))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "None"
