"""One text in each encoding, in memory and as a stream, for ``test_compression.py``."""

from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.compression import CompressionMiddleware
from spica.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from spica.routing import Mount, Route

TEXT = "".join(f"line {number * 7919} of ünicode\n" for number in range(20_000))


async def text(request):
    return PlainTextResponse(TEXT)


async def stream(request):
    async def chunks():
        for start in range(0, len(TEXT), 1000):
            yield TEXT[start : start + 1000]

    return StreamingResponse(chunks(), media_type="text/plain")


def below(encoding):
    layer = Middleware(CompressionMiddleware, encodings=[encoding])
    return Mount(
        f"/{encoding}", routes=[Route("/text", text), Route("/stream", stream)], middleware=[layer]
    )


async def home(request):
    return HTMLResponse("<!doctype html><title>texts</title>")


app = Spica(
    routes=[
        Route("/", home),
        Route("/plain", text),
        *(below(encoding) for encoding in ("zstd", "br", "gzip")),
    ]
)
