"""What a cache of responses costs for one that is stored, one that is not, and one that is stored again."""

import argparse
import asyncio
from typing import Any

from benchmarks.driver import App, Call
from benchmarks.front import Comparison, do_nothing, measure
from benchmarks.table import markdown_table


def app(control: str, *, has_cache: bool = True) -> App:
    """Return an app with one response that has this Cache-Control."""
    from spica.applications import Spica
    from spica.middleware import Middleware
    from spica.middleware.cache import ResponseCacheMiddleware
    from spica.responses import PlainTextResponse
    from spica.routing import Route
    from spica.stores import MemoryStore

    async def index(request: Any) -> Any:
        return PlainTextResponse("ok", headers={"cache-control": control})

    layer = Middleware(ResponseCacheMiddleware, store=MemoryStore())
    return Spica(routes=[Route("/", index)], middleware=[layer] if has_cache else [])


def comparisons() -> list[Comparison]:
    """Return the cases: a whole request, and two times on top of an app without a cache."""
    hit, miss, passed = app("public, max-age=86400"), app("public, max-age=86400"), app("private")
    plain = app("private", has_cache=False)
    # A request with no-cache is computed, and its response is stored.
    fresh = Call(headers=[(b"cache-control", b"no-cache")])
    return [
        Comparison("cache, hit (us)", hit, do_nothing, Call(), 8, is_ratio=False),
        Comparison("cache, not stored (us)", passed, plain, Call(), 15, is_ratio=False),
        Comparison("cache, stored again (us)", miss, plain, fresh, 28, is_ratio=False),
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=200, help="rounds of each app (200)")


def run(options: argparse.Namespace) -> int:
    cases = comparisons()
    times = asyncio.run(measure(cases, options.rounds))
    rows, is_missed = [], False
    for one, (own, other) in zip(cases, times, strict=True):
        value = one.value(own, other)
        is_missed |= value > one.bound
        rows.append(
            [one.name, f"{own * 1e6:.2f}", f"{other * 1e6:.2f}", f"{value:.2f}", f"{one.bound}"]
        )
    print(markdown_table(["case", "us", "us of the other", "value", "at most"], rows))
    return int(is_missed)
