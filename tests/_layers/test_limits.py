"""Limits of bodies and forms on application, router, mount, route and call: the one furthest in wins."""

import math
from typing import Any

import pytest
from asgi_kit import call
from stacks import ForeignPass

from spica.applications import Spica
from spica.formparsers import FormLimits
from spica.middleware import Middleware
from spica.middleware.form_limit import FormLimitMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.routing import Mount, Route, Router

MULTIPART = [("content-type", "multipart/form-data; boundary=b")]
URLENCODED = [("content-type", "application/x-www-form-urlencoded")]


def multipart(fields: int, files: int = 0, size: int = 1) -> bytes:
    """Return a form with that many fields and files, each of `size` bytes."""
    parts = [f'Content-Disposition: form-data; name="{n}"' for n in range(fields)]
    parts += [f'Content-Disposition: form-data; name="f"; filename="{n}"' for n in range(files)]
    body = b"".join(f"--b\r\n{head}\r\n\r\n".encode() + b"x" * size + b"\r\n" for head in parts)
    return body + b"--b--\r\n"


async def count(request: Request) -> PlainTextResponse:
    async with request.form() as form:
        return PlainTextResponse(str(len(form.multi_items())))


async def count_five(request: Request) -> PlainTextResponse:
    async with request.form(max_fields=5) as form:
        return PlainTextResponse(str(len(form.multi_items())))


def route(endpoint: Any = count, **settings: Any) -> Route:
    return Route("/", endpoint, methods=["POST"], **settings)


def limits(number: int | float) -> Any:
    return {"form_limits": FormLimits(max_fields=number)}


PLACES: dict[str, Any] = {
    "application": lambda own: Spica(routes=[route()], **own),
    "router": lambda own: Spica(routes=[Mount("", Router([route()], **own))]),
    "mount": lambda own: Spica(routes=[Mount("", routes=[route()], **own)]),
    "route": lambda own: Spica(routes=[route(**own)]),
    "middleware": lambda own: Spica(
        routes=[route()], middleware=[Middleware(FormLimitMiddleware, limits=own["form_limits"])]
    ),
    "behind a foreign layer": lambda own: Spica(
        routes=[route()],
        middleware=[
            Middleware(FormLimitMiddleware, limits=own["form_limits"]),
            Middleware(ForeignPass),
        ],
    ),
}


@pytest.mark.anyio
class TestForms:
    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize(("fields", "status"), [(2, 200), (3, 200), (4, 400)])
    async def test_a_limit_of_each_place(self, place: str, fields: int, status: int) -> None:
        app = PLACES[place](limits(3))
        for headers, body in ((MULTIPART, multipart(fields)), (URLENCODED, b"a=1&" * fields)):
            exchange = await call(app, "POST", headers=headers, body=body)
            assert exchange.status == status
            expected = (
                str(fields) if status == 200 else "Too many fields. Maximum number of fields is 3."
            )
            assert exchange.text == expected

    async def test_the_one_furthest_in_wins_whether_larger_or_smaller(self) -> None:
        for outer, inner in ((2, 4), (6, 4)):
            app = Spica(routes=[route(**limits(inner))], **limits(outer))
            assert (await call(app, "POST", headers=MULTIPART, body=multipart(4))).status == 200
            assert (await call(app, "POST", headers=MULTIPART, body=multipart(5))).status == 400

    async def test_what_an_inner_one_leaves_open_is_as_outside(self) -> None:
        inner = {"form_limits": FormLimits(max_files=1)}
        app = Spica(routes=[route(**inner)], **limits(3))
        assert (await call(app, "POST", headers=MULTIPART, body=multipart(4))).status == 400
        assert (await call(app, "POST", headers=MULTIPART, body=multipart(0, 2))).status == 400
        assert (await call(app, "POST", headers=MULTIPART, body=multipart(3, 1))).status == 200

    async def test_a_call_wins_over_all(self) -> None:
        app = Spica(routes=[route(count_five, **limits(2))])
        assert (await call(app, "POST", headers=MULTIPART, body=multipart(5))).status == 200
        assert (await call(app, "POST", headers=MULTIPART, body=multipart(6))).status == 400

    @pytest.mark.parametrize("headers", [MULTIPART, URLENCODED], ids=["multipart", "urlencoded"])
    async def test_inf_lifts_one(self, headers: Any) -> None:
        app = Spica(routes=[route(**limits(math.inf))])
        body = multipart(1001) if headers is MULTIPART else b"a=1&" * 1001
        assert (await call(app, "POST", headers=headers, body=body)).text == "1001"
        assert (
            await call(Spica(routes=[route()]), "POST", headers=headers, body=body)
        ).status == 400

    @pytest.mark.parametrize(
        ("name", "body", "status"),
        [
            ("max_files", multipart(0, 2), 400),
            ("max_part_size", multipart(1, size=2), 400),
            ("max_memory_size", multipart(1, size=2), 413),
            ("max_headers", multipart(0).replace(b"--b--", b"--b\r\nA: b\r\nC: d\r\n\r\n"), 400),
            ("max_header_size", multipart(1), 400),
        ],
    )
    async def test_each_limit_can_be_set(self, name: str, body: bytes, status: int) -> None:
        app = Spica(routes=[route(form_limits=FormLimits(**{name: 1}))])
        assert (await call(app, "POST", headers=MULTIPART, body=body)).status == status

    async def test_limits_hold_for_parts_too(self) -> None:
        async def parts(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str([part.name async for part in request.parts()]))

        app = Spica(routes=[route(parts, **limits(1))])
        assert (await call(app, "POST", headers=MULTIPART, body=multipart(1))).text == "['0']"
        assert (await call(app, "POST", headers=MULTIPART, body=multipart(2))).status == 400

    async def test_a_limit_of_a_call_that_is_none_is_an_error(self) -> None:
        async def wrong(request: Request) -> PlainTextResponse:
            await request.form(max_files="3")  # type: ignore[arg-type]
            return PlainTextResponse("")

        with pytest.raises(
            TypeError, match=r"form\(\): max_files must be an int, math.inf or None"
        ):
            await call(Spica(routes=[route(wrong)]), "POST", headers=MULTIPART, body=multipart(1))


@pytest.mark.anyio
class TestTotalSize:
    """Without a limit a single upload could fill the disk."""

    body = multipart(0, 1, size=1000)

    @pytest.mark.parametrize(("limit", "status"), [(-1, 413), (0, 200), (1, 200)])
    async def test_it_counts_files(self, limit: int, status: int) -> None:
        own = FormLimits(max_total_size=len(self.body) + limit)
        app = Spica(routes=[route(form_limits=own)])
        chunks = [self.body[:500], self.body[500:]]
        exchange = await call(app, "POST", headers=MULTIPART, body=chunks)
        assert exchange.status == status
        if status == 413:
            text = f"The form exceeded {own.max_total_size} bytes (max_total_size)."
            assert exchange.text == text

    async def test_a_call_can_set_it(self) -> None:
        async def small(request: Request) -> PlainTextResponse:
            async with request.form(max_total_size=100):
                return PlainTextResponse("")

        app = Spica(routes=[route(small)])
        assert (await call(app, "POST", headers=MULTIPART, body=self.body)).status == 413

    async def test_the_default_is_finite(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("spica.formparsers.reading.MAX_TOTAL_SIZE", 100)
        app = Spica(routes=[route()])
        assert (await call(app, "POST", headers=MULTIPART, body=self.body)).status == 413

    @pytest.mark.parametrize("size", [10_000, math.inf])
    async def test_where_the_body_has_a_limit_that_one_counts(
        self, size: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("spica.formparsers.reading.MAX_TOTAL_SIZE", 100)
        app = Spica(routes=[route(max_body_size=size)])
        assert (await call(app, "POST", headers=MULTIPART, body=self.body)).status == 200


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def length_without_end(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body(max_size=math.inf))))


BEYOND_DEFAULT = [b"x" * 1024 * 1024] * 16 + [b"x"]


@pytest.mark.anyio
class TestBodies:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: Spica(routes=[route(length)], max_body_size=math.inf),
            lambda: Spica(routes=[Mount("", Router([route(length)], max_body_size=math.inf))]),
            lambda: Spica(routes=[Mount("", routes=[route(length)], max_body_size=math.inf)]),
            lambda: Spica(routes=[route(length, max_body_size=math.inf)], max_body_size=10),
            lambda: Spica(routes=[route(length_without_end)]),
        ],
        ids=["application", "router", "mount", "route", "call"],
    )
    async def test_inf_lifts_the_limit(self, make: Any) -> None:
        exchange = await call(make(), "POST", body=BEYOND_DEFAULT)
        assert exchange.text == str(16 * 1024 * 1024 + 1)

    async def test_the_default_is_finite(self) -> None:
        exchange = await call(Spica(routes=[route(length)]), "POST", body=BEYOND_DEFAULT)
        assert (exchange.status, exchange.text) == (413, "Content Too Large")


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda wrong: Spica(form_limits=wrong).build_middleware_stack(), "Spica: form_limits"),
        (lambda wrong: Router(form_limits=wrong), "Router: form_limits"),
        (lambda wrong: Mount("/a", routes=[], form_limits=wrong), r"Mount\('/a'\): form_limits"),
        (lambda wrong: Route("/a", count, form_limits=wrong), r"Route\('/a'\): form_limits"),
        (lambda wrong: FormLimitMiddleware(Router(), wrong), "FormLimitMiddleware: limits"),
    ],
)
def test_what_are_no_limits_is_refused(make: Any, place: str) -> None:
    with pytest.raises(
        TypeError, match=place + r" must be FormLimits\(max_files=...\), not {'a': 1}"
    ):
        make({"a": 1})
