"""Tests of spica/middleware/compression/layer.py."""

import re
import sys

import anyio
import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica._http.codings import DECODERS
from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.compression import CompressionMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.gzip import gzip_threads
from spica.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from spica.responses.events import EventSourceResponse, ServerSentEvent
from spica.routing import Mount, Route
from spica.staticfiles import StaticFiles

pytestmark = pytest.mark.anyio

TEXT = "spica " * 200
CODINGS = ("zstd", "br", "gzip")
EVENTS = "text/event-stream"


def decode(coding, body):
    decoder = DECODERS[coding](coding)
    decoded = decoder.decode(body, 10_000_000)
    while decoder.has_more:
        decoded += decoder.decode(b"", 10_000_000)
    decoder.finish()
    return decoded.decode()


async def ask(app, accept="zstd, br, gzip", method="GET", path="/", headers=(), **options):
    headers = [*headers, ("accept-encoding", accept)] if accept is not None else headers
    return await call(CompressionMiddleware(app, **options), method, path, headers=headers)


async def foreign(scope, receive, send):
    headers = [(b"content-type", b"text/plain"), (b"etag", b'"a"')]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(3):
        await send({"type": "http.response.body", "body": TEXT.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def stream_of(*chunks, **options):
    async def iterate():
        for chunk in chunks:
            yield chunk

    return StreamingResponse(iterate(), media_type="text/plain", **options)


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_response_in_memory(coding):
    response = PlainTextResponse(TEXT, headers={"etag": '"a"', "accept-ranges": "bytes"})
    exchange = await ask(response, coding)
    assert decode(coding, exchange.body) == TEXT
    assert exchange.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-encoding": coding,
        "content-length": str(len(exchange.body)),
        "etag": 'W/"a"',  # RFC 9110 s.8.8.1: the bytes differ
        "vary": "Accept-Encoding",
    }
    assert response.headers["etag"] == '"a"'  # the endpoint's own object


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_foreign_app(coding):
    exchange = await ask(foreign, coding)
    assert decode(coding, exchange.body) == TEXT * 3
    assert exchange.headers["etag"] == 'W/"a"'
    assert len(exchange.chunks) == 4


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("flush", [True, False])
async def test_a_stream(coding, flush):
    exchange = await ask(stream_of(*["chunk "] * 50), coding, flush=flush)
    assert decode(coding, exchange.body) == "chunk " * 50
    assert "content-length" not in exchange.headers
    if not flush:
        assert len(exchange.body) < 100


@pytest.mark.parametrize("coding", CODINGS)
async def test_each_chunk_of_a_stream_can_be_decoded_when_it_arrives(coding):
    exchange = await ask(stream_of("first", "second"), coding)
    decoder = DECODERS[coding](coding)
    parts = [decoder.decode(chunk, 1000) for chunk in exchange.chunks]
    assert parts[:2] == [b"first", b"second"]


async def test_a_client_without_accept_encoding_gets_identity_with_vary():
    exchange = await ask(PlainTextResponse(TEXT), None)
    assert exchange.text == TEXT
    assert exchange.headers["vary"] == "Accept-Encoding"


async def test_the_order_of_encodings_is_the_preference():
    exchange = await ask(PlainTextResponse(TEXT), encodings=["gzip", "zstd"])
    assert exchange.headers["content-encoding"] == "gzip"


async def test_the_level_is_used():
    text = "".join(f"{number * 7919}," for number in range(3000))
    sizes = [
        len((await ask(PlainTextResponse(text), "gzip", levels={"gzip": level})).body)
        for level in (0, 9)
    ]
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize(
    ("media_type", "is_compressed"),
    [
        ("text/html", True),
        ("TEXT/CSS; charset=utf-8", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("application/atom+xml", True),
        ("image/svg+xml", True),
        ("text/javascript", True),
        ("application/wasm", True),
        ("font/ttf", True),
        ("font/woff2", False),
        ("font/woff", False),
        ("image/png", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/octet-stream", False),
        ("application/some-new-format", False),
        ("application/grpc", False),
        ("application/grpc+json", False),
        ("text/event-stream", False),
        (None, False),
    ],
)
async def test_only_listed_media_types_are_compressed(media_type, is_compressed):
    exchange = await ask(Response(TEXT, media_type=media_type))
    assert ("content-encoding" in exchange.headers) is is_compressed
    assert ("vary" in exchange.headers) is is_compressed


async def test_a_list_of_your_own():
    types = ["application/vnd.own", "image/*", "+cbor"]
    for media_type in ("application/vnd.own", "image/png", "application/a+cbor"):
        response = Response(TEXT, media_type=media_type)
        exchange = await ask(response, include_content_types=types)
        assert exchange.headers["content-encoding"] == "zstd"
    exchange = await ask(PlainTextResponse(TEXT), include_content_types=types)
    assert "content-encoding" not in exchange.headers


@pytest.mark.parametrize(
    "response",
    [
        PlainTextResponse("x" * 499),
        PlainTextResponse(TEXT, headers={"cache-control": "private, no-transform"}),
        PlainTextResponse(TEXT, headers={"content-encoding": "br"}),
        PlainTextResponse(TEXT, 206, headers={"content-range": "bytes 0-1199/9999"}),
        Response(status_code=204),
        stream_of(TEXT, headers={"cache-control": "no-transform"}),
    ],
    ids=["small", "no-transform", "encoded", "206", "204", "stream"],
)
async def test_responses_that_stay_as_they_are(response):
    plain = await call(response)
    exchange = await ask(response)
    vary = {"vary": "Accept-Encoding"} if plain.status == 206 else {}
    assert exchange.headers == {**plain.headers, **vary}


async def tick():
    yield ServerSentEvent("x" * 600)
    yield ServerSentEvent("y")


@pytest.mark.parametrize("is_plain", [False, True], ids=["EventSourceResponse", "stream"])
async def test_event_streams_are_compressed_only_if_they_are_listed(is_plain):
    """Each event is then flushed, even with flush=False."""

    def events():
        if is_plain:
            return stream_of("data: x\n\n", "data: y\n\n", headers={"content-type": EVENTS})
        return EventSourceResponse(tick())

    assert "content-encoding" not in (await ask(events(), include_content_types=["text/*"])).headers
    exchange = await ask(events(), include_content_types=[EVENTS], flush=False)
    assert (exchange.headers["content-encoding"], exchange.headers["vary"]) == (
        "zstd",
        "Accept-Encoding",
    )
    chunks = [message["body"] for message in exchange.sent[1:]]
    decoder = DECODERS["zstd"]("zstd")
    assert [decoder.decode(chunk, 1000)[-3:-2] for chunk in chunks[:2]] == [b"x", b"y"]


async def test_a_304_has_the_fields_of_the_200():
    response = Response(status_code=304, headers={"etag": '"a"'})
    exchange = await ask(response, headers=[("if-none-match", 'W/"a"')])
    assert exchange.headers == {"etag": 'W/"a"', "vary": "Accept-Encoding"}


async def test_a_head_response_has_the_fields_of_the_get(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    head = await ask(FileResponse(tmp_path / "a.txt"), method="HEAD")
    get = await ask(FileResponse(tmp_path / "a.txt"))
    assert head.body == b""
    assert head.headers.items() <= get.headers.items()
    assert head.headers["content-encoding"] == "zstd"


async def test_files_are_compressed_and_their_ranges_are_not(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    app = Spica(
        routes=[Mount("/", StaticFiles(directory=tmp_path))],
        middleware=[Middleware(CompressionMiddleware)],
    )
    accept = ("accept-encoding", "br")
    whole = await call(app, path="/a.txt", headers=[accept])
    assert decode("br", whole.body) == TEXT
    again = [accept, ("if-none-match", whole.headers["etag"])]
    assert (await call(app, path="/a.txt", headers=again)).status == 304
    part = await call(app, path="/a.txt", headers=[accept, ("range", "bytes=0-4")])
    assert (part.status, part.text, part.headers["vary"]) == (206, "spica", "Accept-Encoding")
    # RFC 9110 s.15.3.7: a 206 has the Vary of the 200, also if its own type is multipart/byteranges.
    parts = await call(app, path="/a.txt", headers=[accept, ("range", "bytes=0-4,8-9")])
    assert (parts.status, parts.headers["vary"]) == (206, "Accept-Encoding")


async def test_large_bodies_are_compressed_in_a_thread(monkeypatch):
    sizes = []
    run = type(gzip_threads).run

    async def counted(self, function, *args):
        sizes.append(len(args[0]))
        return await run(self, function, *args)

    monkeypatch.setattr(type(gzip_threads), "run", counted)
    for size in (999, 1000):
        await ask(PlainTextResponse("x" * size), thread_minimum_size=1000)
    assert sizes == [1000]


async def test_concurrent_responses_do_not_mix():
    app = CompressionMiddleware(foreign)
    texts = {}

    async def one(number):
        coding = CODINGS[number % 3]
        exchange = await call(app, headers=[("accept-encoding", coding)])
        texts[number] = decode(coding, exchange.body)

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, number)
    assert set(texts.values()) == {TEXT * 3}


async def test_an_error_page_of_json_is_compressed_with_cors():
    async def fail(request):
        return JSONResponse(["error"] * 200, status_code=500)

    app = Spica(
        routes=[Route("/", fail)],
        middleware=[
            Middleware(CORSMiddleware, allow_origins=["https://a.example"]),
            Middleware(CompressionMiddleware),
        ],
    )
    headers = [("accept-encoding", "gzip"), ("origin", "https://a.example")]
    exchange = await call(app, headers=headers)
    assert exchange.headers["vary"] == "Accept-Encoding, Origin"
    assert exchange.headers["content-encoding"] == "gzip"


async def test_websockets_pass():
    async def accept(scope, receive, send):
        await send({"type": "websocket.accept"})

    exchange = await Exchange(websocket_scope()).run(CompressionMiddleware(accept))
    assert exchange.types == ["websocket.accept"]


async def test_an_app_that_sends_its_file_by_path_stays_as_it_is():
    async def by_path(scope, receive, send):
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": "/a"})

    scope = http_scope(headers=[("accept-encoding", "br")])
    exchange = await Exchange(scope).run(CompressionMiddleware(by_path))
    assert exchange.types == ["http.response.start", "http.response.pathsend"]
    assert "content-encoding" not in exchange.headers


async def test_an_encoding_without_its_package_is_left_out(monkeypatch):
    for name in ("brotli", "brotlicffi"):
        monkeypatch.setitem(sys.modules, name, None)
    layer = CompressionMiddleware(PlainTextResponse(TEXT), encodings=["br", "gzip"])
    assert layer.missing_encodings == ("br",)
    exchange = await call(layer, headers=[("accept-encoding", "br, gzip")])
    assert exchange.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encodings": "br"}, TypeError, "must be a list of strings, not the string 'br'"),
        ({"encodings": ["deflate"]}, ValueError, "has 'deflate'. Choose from 'zstd', 'br', 'gzip'"),
        ({"levels": 3}, TypeError, "must be a mapping of encodings to levels"),
        ({"levels": {"deflate": 3}}, ValueError, "has 'deflate'"),
        ({"levels": {"br": "4"}}, TypeError, "the level of br must be an int, not '4'"),
        ({"levels": {"br": 12}}, ValueError, "the level of br must be from 0 to 11, not 12"),
        ({"levels": {"zstd": 23}}, ValueError, "from -7 to 22, not 23"),
        ({"minimum_size": -1}, ValueError, "minimum_size must be 0 or more bytes"),
        ({"thread_minimum_size": "1"}, TypeError, "must be a number of bytes"),
        ({"include_content_types": "text/*"}, TypeError, "must be a list of strings"),
        ({"include_content_types": ["*/*"]}, ValueError, "which matches no response"),
        ({"include_content_types": "*"}, ValueError, "which matches no response"),
        ({"include_content_types": ["json"]}, ValueError, "which matches no response"),
        ({"flush": "no"}, TypeError, "flush must be True or False"),
    ],
)
def test_wrong_settings_are_errors_at_construction(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        CompressionMiddleware(foreign, **options)
