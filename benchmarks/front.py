"""What the layers of the front of a service cost: browser safety, compression, static files.

Each row compares two apps in one process. They take turns, and the quickest rounds are compared. A bound is a
number of microseconds on top of the other app, or a part of its time.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.driver import App, Call, take_time
from benchmarks.table import markdown_table
from spica._http.codings import Accepted

ACCEPTED = Accepted(("zstd", "br", "gzip"))

REQUESTS = 40
"""Requests in a round, if one takes microseconds."""


@dataclass
class Comparison:
    """An app, the one it is compared with, and the bound."""

    name: str
    app: App
    other: App
    call: Call
    bound: float
    is_ratio: bool = True
    other_call: Call | None = None
    requests: int = REQUESTS

    def value(self, own: float, other: float) -> float:
        """Return the ratio, or the difference in microseconds."""
        return own / other if self.is_ratio else (own - other) * 1e6


def spica_app(*middleware: Any, **options: Any) -> App:
    from spica.applications import Spica
    from spica.middleware import Middleware
    from spica.responses import PlainTextResponse, Response
    from spica.routing import Route

    body = page()

    async def plain(request: Any) -> Any:
        return PlainTextResponse("ok")

    async def big(request: Any) -> Any:
        return Response(body, media_type="application/json")

    layers = [Middleware(cls, **settings) for cls, settings in middleware]
    routes = [Route("/", plain, methods=["GET", "POST"]), Route("/page", big)]
    return Spica(routes=routes, middleware=layers, **options)


def starlette_gzip() -> App:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.responses import Response
    from starlette.routing import Route

    body = page()

    async def big(request: Any) -> Any:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/page", big)], middleware=[Middleware(GZipMiddleware)])


def page() -> bytes:
    """Return 64 KB of JSON."""
    users = [
        {"id": number, "name": f"user {number * 7919 % 1000}", "mail": f"u{number}@example.org"}
        for number in range(1050)
    ]
    return json.dumps(users).encode()


def safety() -> list[Comparison]:
    from spica.middleware.crossorigin import CrossOriginMiddleware
    from spica.middleware.securityheaders import SecurityHeadersMiddleware

    own = [(b"sec-fetch-site", b"same-origin"), (b"origin", b"http://localhost:8000")]
    post = Call(method="POST", headers=own)
    origins = spica_app((CrossOriginMiddleware, {}))
    headers = spica_app((SecurityHeadersMiddleware, {}))
    plain = spica_app()
    return [
        Comparison("cross-origin, POST (us)", origins, plain, post, 0.6, is_ratio=False),
        Comparison("cross-origin, GET (us)", origins, plain, Call(), 0.6, is_ratio=False),
        Comparison("security headers (us)", headers, plain, Call(), 1.2, is_ratio=False),
    ]


def compression() -> list[Comparison]:
    from spica.middleware.compression import CompressionMiddleware

    layer = spica_app((CompressionMiddleware, {}))
    gzip_only = spica_app((CompressionMiddleware, {"encodings": ["gzip"]}))
    starlette, call = starlette_gzip(), Call("/page")
    return [
        Comparison("zstd, 64 KB of JSON", layer, starlette, call, 0.10, requests=3),
        Comparison("gzip 6, 64 KB of JSON", gzip_only, starlette, call, 0.35, requests=3),
        Comparison("negotiation (us)", negotiate, do_nothing, Call(), 1.5, is_ratio=False),
        Comparison("compression, 2 bytes (us)", layer, spica_app(), Call(), 1.5, is_ratio=False),
    ]


def work() -> list[Comparison]:
    """Proxies, rate limits, admission and timeouts, in microseconds on top of a plain request."""
    from spica.applications import Spica
    from spica.middleware import Middleware
    from spica.middleware.admission import AdmissionMiddleware
    from spica.middleware.proxyheaders import ProxyHeadersMiddleware
    from spica.middleware.ratelimit import Limit, Rate, RateLimitMiddleware
    from spica.middleware.timeout import TimeoutMiddleware
    from spica.stores import MemoryStore

    limit, store = Limit(Rate(10**6, 3600)), MemoryStore()
    limited = Spica(
        routes=spica_app().routes,  # type: ignore[attr-defined]  # an app is known as a callable only
        middleware=[Middleware(RateLimitMiddleware, limit, store=store)],
    )
    proxied = spica_app((ProxyHeadersMiddleware, {}))
    entry = Call(headers=[(b"x-forwarded-for", b"192.0.2.1")])
    admitted = spica_app((AdmissionMiddleware, {"max_active": 100}))
    timed = spica_app((TimeoutMiddleware, {}))
    plain = spica_app()
    return [
        Comparison("proxy headers, one entry (us)", proxied, plain, entry, 2.0, is_ratio=False),
        Comparison("rate limit in memory (us)", limited, plain, Call(), 5.0, is_ratio=False),
        Comparison("admission (us)", admitted, plain, Call(), 5.0, is_ratio=False),
        Comparison("timeout (us)", timed, plain, Call(), 3.0, is_ratio=False),
    ]


def observation() -> list[Comparison]:
    """Request ids, the access log and metrics, in microseconds on top of a plain request."""
    import logging

    from spica.middleware.accesslog import AccessLogMiddleware
    from spica.middleware.metrics import MetricsMiddleware
    from spica.middleware.requestid import RequestIdMiddleware

    # The time of a handler depends on its target. The record is made and its handlers are called.
    log = logging.getLogger("spica.access")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(logging.NullHandler())
    plain, call = spica_app(), Call()
    identified = spica_app((RequestIdMiddleware, {}))
    logged = spica_app((AccessLogMiddleware, {}))
    measured = spica_app((MetricsMiddleware, {}))
    return [
        Comparison("request id (us)", identified, plain, call, 1.5, is_ratio=False),
        Comparison("access log (us)", logged, plain, call, 6.0, is_ratio=False),
        Comparison("metrics (us)", measured, plain, call, 8.0, is_ratio=False),
    ]


async def negotiate(scope: Any, receive: Any, send: Any) -> None:
    ACCEPTED.choose(scope["headers"])


async def do_nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


def static_files(directory: Path) -> list[Comparison]:
    import gzip
    import os

    import starlette.applications
    import starlette.routing
    import starlette.staticfiles

    import spica.applications
    import spica.responses
    import spica.routing
    import spica.staticfiles

    content = b"p { margin: 0 }\n" * 64
    (directory / "small.css").write_bytes(content)
    (directory / "small.css.gz").write_bytes(gzip.compress(content))
    for path in directory.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    files = spica.staticfiles.StaticFiles(directory=directory)
    siblings = spica.staticfiles.StaticFiles(directory=directory, precompressed=["gzip"])
    own: Any = spica.applications.Spica(routes=[spica.routing.Mount("/", files)])
    packed: Any = spica.applications.Spica(routes=[spica.routing.Mount("/", siblings)])
    other: Any = starlette.applications.Starlette(
        routes=[
            starlette.routing.Mount("/", starlette.staticfiles.StaticFiles(directory=directory))
        ]
    )
    call = Call("/small.css")
    # Both frameworks make the same tag of this time and size, so both answer 304.
    status = (directory / "small.css").stat()
    tag = spica.responses.FileResponse(directory / "small.css", stat_result=status).headers["etag"]
    again = Call("/small.css", headers=[(b"if-none-match", tag.encode())])
    return [
        Comparison("static file, 1 KB", own, other, call, 0.03, requests=20),
        Comparison("static file, 304", own, other, again, 0.03, requests=20),
        Comparison("static file, sibling", packed, other, call, 0.03, requests=20),
    ]


GROUPS: dict[str, Callable[[Path], list[Comparison]]] = {
    "safety": lambda directory: safety(),
    "work": lambda directory: work(),
    "observation": lambda directory: observation(),
    "compression": lambda directory: compression(),
    "static": static_files,
}
"""The comparisons of each area."""


async def take_time_warm(app: App, call: Call, requests: int) -> float:
    """Make some requests, then take the time of as many others.

    The app before has filled the caches of the processor, and its threads may still run: the row after
    Starlette's static files would show up to 0.7 us more.
    """
    await asyncio.sleep(0.001)  # threads come to rest
    await take_time(app, call, requests)
    return await take_time(app, call, requests)


async def measure(comparisons: list[Comparison], rounds: int) -> list[tuple[float, float]]:
    """Return the seconds of a request to both apps of each comparison."""
    best = [(float("inf"), float("inf"))] * len(comparisons)
    for one in comparisons:
        for app, call in ((one.app, one.call), (one.other, one.other_call or one.call)):
            await take_time(app, call, 3)
    for _ in range(rounds):
        for index, one in enumerate(comparisons):
            own = await take_time_warm(one.app, one.call, one.requests)
            call = one.other_call or one.call
            other = await take_time_warm(one.other, call, one.requests)
            best[index] = min(best[index][0], own), min(best[index][1], other)
    return best


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="areas to measure (all)")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of each app (200)")


def run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as directory:
        names = options.groups or list(GROUPS)
        comparisons = [one for name in names for one in GROUPS[name](Path(directory))]
        times = asyncio.run(measure(comparisons, options.rounds))
    rows, is_missed = [], False
    for one, (own, other) in zip(comparisons, times, strict=True):
        value = one.value(own, other)
        is_missed |= value > one.bound
        rows.append(
            [one.name, f"{own * 1e6:.2f}", f"{other * 1e6:.2f}", f"{value:.3f}", f"{one.bound}"]
        )
    print(markdown_table(["case", "us", "us of the other", "value", "at most"], rows))
    return int(is_missed)
