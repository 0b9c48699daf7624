"""Tests of spica/middleware/compression/decompression.py."""

import gzip
import re
import sys
import zlib

import anyio
import pytest
from asgi_kit import Exchange, body_messages, call, http_scope

from spica._http.codings import ENCODERS
from spica.applications import Spica
from spica.exceptions import HTTPException
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.middleware.compression import DecompressionMiddleware
from spica.middleware.compression.decompression import INPUT_SIZE, _DecodedReceive
from spica.requests import Request
from spica.responses import JSONResponse, PlainTextResponse
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio

TEXT = b"".join(b"%d " % (number * 7919) for number in range(5000))


def encode(coding, body=TEXT):
    if coding == "deflate":
        return zlib.compress(body)
    return ENCODERS[coding](4).encode(body, is_end=True)


async def echo(request):
    return PlainTextResponse(await request.body())


async def foreign(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await PlainTextResponse(body)(scope, receive, send)


async def in_a_task_group(scope, receive, send):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(foreign, scope, receive, send)


async def fields(request):
    return JSONResponse(dict(request.headers))


async def streamed(request):
    sizes = [len(chunk) async for chunk in request.stream()]
    return JSONResponse(sizes)


async def polls(request):
    assert not await request.is_disconnected()
    return PlainTextResponse(await request.body())


def app_with(*middleware, max_body_size=None, **options):
    return Spica(
        routes=[
            Route("/", echo, methods=["POST", "GET"]),
            Route("/fields", fields, methods=["POST"]),
            Route("/stream", streamed, methods=["POST"]),
            Route("/polls", polls, methods=["POST"]),
            Mount("/foreign", foreign),
        ],
        middleware=[Middleware(DecompressionMiddleware, **options), *middleware],
        max_body_size=max_body_size,
    )


async def post(coding, body, path="/", **options):
    headers = [("content-encoding", coding)]
    return await call(app_with(**options), "POST", path, headers=headers, body=body)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "br", "zstd"])
@pytest.mark.parametrize("path", ["/", "/foreign/", "/polls"])
@pytest.mark.parametrize("size", [10**9, 500, 1])
async def test_a_body_is_decoded(coding, path, size):
    text = TEXT[:2000] if size == 1 else TEXT
    encoded = encode("gzip" if "gzip" in coding.lower() else coding, text)
    chunks = [encoded[at : at + size] for at in range(0, len(encoded), size)]
    exchange = await post(coding, chunks, path)
    assert exchange.body == text


@pytest.mark.parametrize("coding", ["identity", ""])
async def test_a_body_without_encoding_passes(coding):
    assert (await post(coding, b"plain")).text == "plain"
    assert (await call(app_with(), "POST", body=b"plain")).text == "plain"


async def test_a_body_without_encoding_keeps_its_length():
    headers = [("content-encoding", "identity"), ("content-length", "5")]
    seen = (await call(app_with(), "POST", "/fields", headers=headers, body=b"plain")).json
    assert seen["content-length"] == "5"
    assert "content-encoding" not in seen


async def test_an_empty_body_passes():
    assert (await post("gzip", b"")).status == 200


async def test_the_app_inside_sees_neither_encoding_nor_length():
    headers = [("content-encoding", "gzip"), ("content-length", "50"), ("x-own", "1")]
    body = encode("gzip")
    exchange = await call(app_with(), "POST", "/fields", headers=headers, body=body)
    assert exchange.json == {"x-own": "1"}


async def test_a_dispatch_middleware_inside_reads_the_decoded_body():
    class Reads(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            request.state.size = len(await request.body())
            response = await call_next(request)
            response.headers["x-size"] = str(request.state.size)
            return response

    app = app_with(Middleware(Reads))
    headers = [("content-encoding", "br")]
    exchange = await call(app, "POST", headers=headers, body=encode("br"))
    assert (exchange.headers["x-size"], exchange.body) == (str(len(TEXT)), TEXT)


async def test_a_body_that_a_layer_outside_has_read_is_decoded():
    class Reads(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            await request.body()
            return await call_next(request)

    layers = [Middleware(Reads), Middleware(DecompressionMiddleware)]
    app = Spica(routes=[Route("/", echo, methods=["POST"])], middleware=layers)
    headers = [("content-encoding", "gzip")]
    exchange = await call(app, "POST", headers=headers, body=encode("gzip"))
    assert exchange.body == TEXT


@pytest.mark.parametrize("coding", ["compress", "gzip, br", "aes128gcm", "gzip;q=1", "*"])
async def test_other_encodings_get_a_415_with_the_accepted_ones(coding):
    # RFC 9110 s.15.5.16
    exchange = await post(coding, b"body")
    assert exchange.status == 415
    assert exchange.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert exchange.receive.calls == 0  # the body was not read


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("path", ["/", "/foreign/", "/polls"])
@pytest.mark.parametrize(
    "spoil",
    [lambda body: body[:-1], lambda body: body + b"garbage!", lambda body: b"\x00garbage" + body],
    ids=["truncated", "trailing", "garbage"],
)
async def test_a_malformed_body_gets_a_400(coding, path, spoil):
    exchange = await post(coding, spoil(encode(coding)), path)
    assert exchange.status == 400
    assert exchange.text.startswith("The body does not match its Content-Encoding: ")


@pytest.mark.parametrize(
    ("spoil", "status"),
    [(lambda body: body[:-1], 400), (lambda body: encode("gzip", bytes(9_000_000)), 413)],
    ids=["truncated", "bomb"],
)
@pytest.mark.parametrize("inner", [foreign, in_a_task_group, DecompressionMiddleware(foreign)])
async def test_without_an_application_the_middleware_answers_itself(spoil, status, inner):
    """A foreign app has no handler for the exception, so the client would get a 500."""
    app = DecompressionMiddleware(inner)
    headers = [("content-encoding", "gzip")]
    exchange = await call(app, "POST", headers=headers, body=spoil(encode("gzip")))
    assert exchange.status == status


async def test_without_an_application_other_errors_pass():
    async def refuses(scope, receive, send):
        raise HTTPException(418)

    headers = [("content-encoding", "gzip")]
    with pytest.raises(HTTPException, match="418"):
        await call(DecompressionMiddleware(refuses), "POST", headers=headers, body=encode("gzip"))


async def test_all_readers_of_a_malformed_body_get_the_error():
    async def twice(request):
        errors = []
        for _ in range(2):
            try:
                await request.body()
            except Exception as exc:
                errors.append(exc.status_code)
        return JSONResponse(errors)

    layers = [Middleware(DecompressionMiddleware)]
    app = Spica(routes=[Route("/", twice, methods=["POST"])], middleware=layers)
    headers = [("content-encoding", "gzip")]
    assert (await call(app, "POST", headers=headers, body=b"garbage")).json == [400, 400]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("path", ["/", "/stream", "/foreign/"])
async def test_a_bomb_gets_a_413(coding, path):
    exchange = await post(coding, encode(coding, bytes(50_000_000)), path)
    assert exchange.status == 413


@pytest.mark.parametrize(("ratio", "status"), [(49, 413), (51, 200)])
async def test_the_ratio_is_that_of_the_setting(ratio, status):
    body = b"%d" % 7919 * 50_000
    ratio_of_body = len(body) / len(gzip.compress(body))
    exchange = await post("gzip", gzip.compress(body), max_ratio=ratio * ratio_of_body / 50)
    assert exchange.status == status


async def test_small_bodies_may_be_repetitive():
    assert (await post("gzip", gzip.compress(bytes(16 * 1024)))).status == 200
    assert (await post("gzip", gzip.compress(bytes(17 * 1024)), max_ratio=10)).status == 413


@pytest.mark.parametrize(("size", "status"), [(len(TEXT), 200), (len(TEXT) - 1, 413)])
@pytest.mark.parametrize("path", ["/", "/stream"])
async def test_the_decoded_bytes_count_against_the_body_limit(size, status, path):
    assert (await post("br", encode("br"), path, max_body_size=size)).status == status


async def test_a_bomb_never_takes_much_memory():
    # Each message that the app inside receives has one piece.
    sizes = []

    async def measure(request):
        async for chunk in request.stream():
            sizes.append(len(chunk))
        return PlainTextResponse("")

    app = DecompressionMiddleware(measured_app(measure), max_ratio=10**6)
    for coding in ("gzip", "br", "zstd"):
        headers = [("content-encoding", coding)]
        await call(app, "POST", headers=headers, body=encode(coding, bytes(3_000_000)))
    assert max(sizes) <= 100_000
    assert sum(sizes) == 9_000_000


class Copying:
    """A decoder that decodes one byte at a time, and notes how many it keeps."""

    def __init__(self):
        self.rest, self.largest = b"", 0

    @property
    def has_more(self):
        return bool(self.rest)

    def decode(self, chunk, max_size):
        self.rest += chunk
        self.largest = max(self.largest, len(self.rest))
        decoded, self.rest = self.rest[:1], self.rest[1:]
        return decoded

    def finish(self):
        pass


async def test_a_decoder_never_copies_more_than_a_part_of_a_large_chunk():
    async def receive():
        return {"type": "http.request", "body": bytes(3 * INPUT_SIZE)}

    decoder = Copying()
    decoded = _DecodedReceive(receive, decoder, 100)
    message, size = await decoded(), 0
    while message["more_body"]:
        size += len(message["body"])
        message = await decoded()
    assert (size + len(message["body"]), decoder.largest) == (3 * INPUT_SIZE, INPUT_SIZE)


def measured_app(endpoint):
    async def app(scope, receive, send):
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)

    return app


async def test_a_disconnect_passes():
    scope = http_scope("POST", headers=[("content-encoding", "gzip")])
    messages = [body_messages(encode("gzip")[:100], b"")[0], {"type": "http.disconnect"}]
    seen = []

    async def app(scope, receive, send):
        while not seen or seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    await Exchange(scope, messages).run(DecompressionMiddleware(app))
    assert seen == ["http.request", "http.disconnect"]


async def test_an_encoding_without_its_package_is_not_accepted(monkeypatch):
    for name in ("brotli", "brotlicffi"):
        monkeypatch.setitem(sys.modules, name, None)
    exchange = await post("br", b"body")
    assert (exchange.status, exchange.headers["accept-encoding"]) == (415, "gzip, deflate, zstd")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encodings": "gzip"}, TypeError, "must be a list of strings, not the string 'gzip'"),
        ({"encodings": ["lzma"]}, ValueError, "has 'lzma'. Choose from 'gzip', 'deflate'"),
        ({"max_ratio": "100"}, TypeError, "max_ratio must be a number, not '100'"),
        ({"max_ratio": 0.5}, ValueError, "max_ratio must be at least 1, not 0.5"),
    ],
)
def test_wrong_settings_are_errors_at_construction(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        DecompressionMiddleware(foreign, **options)
