"""Responses whose body is in memory."""

import datetime
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, call, http_scope, websocket_scope

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import ClientDisconnect
from spica.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from spica.routing import Route

pytestmark = pytest.mark.anyio


class TestContent:
    @pytest.mark.parametrize(
        ("content", "body"),
        [
            (None, b""),
            ("é", b"\xc3\xa9"),
            (b"\xff", b"\xff"),
            (memoryview(b"ab"), b"ab"),
            ("", b""),
        ],
    )
    async def test_it_is_sent(self, content: Any, body: bytes) -> None:
        exchange = await call(Response(content))
        assert exchange.body == body
        assert exchange.headers == {"content-length": str(len(body))}

    async def test_a_memoryview_is_measured_in_bytes(self) -> None:
        import array

        view = memoryview(array.array("i", [1, 2, 3]))
        assert (await call(Response(view))).headers["content-length"] == str(view.nbytes)

    async def test_another_charset(self) -> None:
        class Latin(PlainTextResponse):
            charset = "latin-1"

        exchange = await call(Latin("é"))
        assert (exchange.body, exchange.headers["content-type"]) == (
            b"\xe9",
            "text/plain; charset=latin-1",
        )

    async def test_a_rendering_of_one_s_own(self) -> None:
        class Reversed(PlainTextResponse):
            def render(self, content: Any) -> bytes:
                return content[::-1].encode()

        assert (await call(Reversed("abc"))).text == "cba"

    def test_what_cannot_be_encoded(self) -> None:
        with pytest.raises(TypeError) as info:
            Response({"a": 1})
        assert str(info.value) == (
            "Response: content must be str or bytes, not {'a': 1} of type dict. "
            "Use JSONResponse to send a value as JSON."
        )

    @pytest.mark.parametrize("url", [None, print])
    def test_a_redirect_to_nowhere(self, url: Any) -> None:
        with pytest.raises(TypeError, match=r"^RedirectResponse: url must be a str or a URL"):
            RedirectResponse(url)

    async def test_one_start_and_one_body(self) -> None:
        exchange = await call(Response("ab", 201))
        assert exchange.sent == [
            {"type": "http.response.start", "status": 201, "headers": exchange.raw_headers},
            {"type": "http.response.body", "body": b"ab", "more_body": False},
        ]


class TestHeaders:
    @pytest.mark.parametrize(
        ("response", "content_type"),
        [
            (Response("a"), None),
            (Response("a", media_type="text/csv"), "text/csv; charset=utf-8"),
            (Response("a", media_type="text/css; charset=latin-1"), "text/css; charset=latin-1"),
            (Response("a", media_type="image/png"), "image/png"),
            (PlainTextResponse("a"), "text/plain; charset=utf-8"),
            (HTMLResponse("a"), "text/html; charset=utf-8"),
            (JSONResponse("a"), "application/json"),
            (JSONResponse("a", media_type="application/problem+json"), "application/problem+json"),
        ],
    )
    def test_the_content_type(self, response: Response, content_type: Any) -> None:
        """RFC 9110 s.8.3.2: text says which charset it has."""
        assert response.headers.get("content-type") == content_type

    def test_one_s_own_come_first_and_win(self) -> None:
        response = PlainTextResponse("ab", headers={"X-A": "1", "Content-Type": "text/x"})
        assert response.raw_headers == [
            (b"x-a", b"1"),
            (b"content-type", b"text/x"),
            (b"content-length", b"2"),
        ]

    @pytest.mark.parametrize("make", [Response, StreamingResponse, RedirectResponse])
    def test_what_is_no_mapping(self, make: Any) -> None:
        with pytest.raises(TypeError) as info:
            make("/", headers=[("a", "b")])
        assert str(info.value) == (
            f"{make.__name__}: headers must be a mapping of names to values, not of type list. Write a "
            "dict. To repeat a name, use response.headers.append(name, value)."
        )

    def test_a_length_of_one_s_own(self) -> None:
        """As the answer to a HEAD has it."""
        assert Response(headers={"content-length": "9"}).headers["content-length"] == "9"
        assert Response("ab", headers={"content-length": "2"}).headers["content-length"] == "2"

    @pytest.mark.parametrize("content", ["ab", b"ab", memoryview(b"ab")])
    def test_a_length_that_is_not_the_body_s(self, content: Any) -> None:
        with pytest.raises(ValueError) as caught:
            Response(content, headers={"Content-Length": "9"})
        assert str(caught.value) == (
            "Response has the header Content-Length: 9, but its body has 2 bytes. "
            "Leave the header out: it is set from the body."
        )

    @pytest.mark.parametrize("status", [100, 199, 204, 304])
    async def test_a_status_without_content(self, status: int) -> None:
        """RFC 9110 s.6.4.1, s.8.6."""
        exchange = await call(Response("ab", status))
        assert (exchange.headers, exchange.body) == ({}, b"")

    @pytest.mark.parametrize("status", [200, 205, 303, 404])
    async def test_every_other_status_has_a_length(self, status: int) -> None:
        assert (await call(Response(status_code=status))).headers == {"content-length": "0"}

    def test_they_are_a_live_view(self) -> None:
        response = Response()
        response.headers["x-a"] = "1"
        response.headers.raw.append((b"x-b", b"2"))
        response.raw_headers.append((b"x-c", b"3"))
        assert [response.headers[name] for name in ("x-a", "x-b", "x-c")] == ["1", "2", "3"]

    def test_another_list_is_seen(self) -> None:
        response = Response()
        response.headers["x-a"] = "1"
        response.raw_headers = [(b"x-b", b"2")]
        assert dict(response.headers) == {"x-b": "2"}

    @pytest.mark.parametrize("value", ["a\r\nx: 1", "a\nb", "a\0b"])
    def test_what_would_end_a_field_is_refused(self, value: str) -> None:
        """RFC 9110 s.5.5."""
        with pytest.raises(ValueError, match="CR, LF, NUL or other control"):
            Response(headers={"x-a": value})
        with pytest.raises(ValueError, match="CR, LF, NUL or other control"):
            Response().headers["x-a"] = value

    @pytest.mark.parametrize("name", ["", "a b", "a:", "a\n", "é"])
    def test_a_name_is_a_token(self, name: str) -> None:
        with pytest.raises(ValueError, match="name"):
            Response(headers={name: "1"})


class TestCookies:
    def cookie(self, **options: Any) -> str:
        response = Response()
        response.set_cookie("a", "1", **options)
        return response.headers["set-cookie"]

    def test_the_defaults(self) -> None:
        assert self.cookie() == "a=1; Path=/; SameSite=lax"

    def test_all_attributes(self) -> None:
        expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
        cookie = self.cookie(
            max_age=10,
            expires=expires,
            path="/p",
            domain="example.org",
            secure=True,
            httponly=True,
            samesite="none",
            partitioned=True,
        )
        assert cookie == (
            "a=1; Domain=example.org; expires=Wed, 02 Jan 2030 03:04:05 GMT; HttpOnly; Max-Age=10; "
            "Partitioned; Path=/p; SameSite=none; Secure"
        )

    def test_several_are_several_fields(self) -> None:
        response = Response()
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        assert len(response.headers.getlist("set-cookie")) == 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"key": "a;b"}, "'a;b' is not a valid cookie name"),
            ({"key": ""}, "'' is not a valid cookie name"),
            ({"key": "a", "path": "/;x"}, "The path of a cookie is '/;x'"),
            ({"key": "a", "domain": "x\r\n"}, "The domain of a cookie is"),
            ({"key": "a", "samesite": "sometimes"}, "samesite must be either"),
        ],
    )
    def test_what_may_not_stand_in_one_is_refused(
        self, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            Response().set_cookie(**arguments)

    def test_a_deletion_expires_it(self) -> None:
        response = Response()
        response.delete_cookie("a", path="/p", partitioned=True, secure=True)
        cookie = response.headers["set-cookie"].lower()
        assert cookie.startswith("a=")
        assert "max-age=0" in cookie
        assert "path=/p" in cookie
        assert "partitioned" in cookie


class TestBackground:
    ran: list[str]

    async def task(self) -> None:
        self.ran.append("task")

    @pytest.fixture(autouse=True)
    def _forget(self) -> None:
        self.ran = []

    async def test_it_runs_when_the_response_is_sent(self) -> None:
        exchange = Exchange()

        async def task() -> None:
            self.ran.append(f"complete: {exchange.is_complete}")

        await exchange.run(Response("ok", background=BackgroundTask(task)))
        assert self.ran == ["complete: True"]

    @pytest.mark.parametrize("gone_after", [0, 1])
    async def test_it_runs_when_the_client_has_left(self, gone_after: int) -> None:
        exchange = Exchange(gone_after=gone_after)
        await exchange.run(Response("ok", background=BackgroundTask(self.task)))
        assert isinstance(exchange.error, (OSError, ClientDisconnect))
        assert self.ran == ["task"]

    async def test_it_does_not_run_when_the_request_is_cancelled(self) -> None:
        async def send(message: Any) -> None:
            await anyio.sleep_forever()

        response = Response("ok", background=BackgroundTask(self.task))
        with anyio.move_on_after(0):
            await response(http_scope(), None, send)  # type: ignore[arg-type]
        assert self.ran == []

    async def test_its_error_is_raised(self) -> None:
        async def fail() -> None:
            raise ValueError("task")

        exchange = await Exchange().run(Response("ok", background=BackgroundTask(fail)))
        assert (exchange.text, repr(exchange.error)) == ("ok", "ValueError('task')")


class TestAsApp:
    async def test_one_object_answers_any_number_of_requests(self) -> None:
        response = PlainTextResponse("ok")
        first, second = await call(response), await call(response)
        assert (first.text, second.text) == ("ok", "ok")
        assert first.raw_headers == second.raw_headers

    async def test_a_layer_that_edits_the_message_does_not_edit_the_object(self) -> None:
        response = PlainTextResponse("ok")
        exchange = await call(response)
        exchange.sent[0]["headers"].append((b"x-a", b"1"))
        assert "x-a" not in response.headers

    async def test_a_websocket_handshake_is_denied(self) -> None:
        sent = []

        async def send(message: Any) -> None:
            sent.append(message["type"])

        scope: Any = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
        await Response("no", 403)(scope, None, send)  # type: ignore[arg-type]
        assert sent == ["websocket.http.response.start", "websocket.http.response.body"]

    async def test_a_subclass_without_init(self) -> None:
        class Events(Response):
            def __init__(self) -> None:
                self.status_code = 200
                self.background = None
                self.init_headers({"x-a": "1"})
                self.body = b"events"

        exchange = await call(Events())
        assert (exchange.text, exchange.headers) == ("events", {"x-a": "1"})

    @pytest.mark.parametrize("headers", [None, {"x-a": "1"}])
    async def test_a_subclass_with_headers_of_its_own(self, headers: Any) -> None:
        class Own(Response):
            def init_headers(self, headers: Any = None) -> None:
                super().init_headers({**(headers or {}), "x-own": "1"})

        assert (await call(Own("a", headers=headers))).headers == {
            **(headers or {}),
            "x-own": "1",
            "content-length": "1",
        }


class TestChangedBody:
    """RFC 9112 s.8: a Content-Length that is not that of the body breaks the connection."""

    @pytest.mark.parametrize("headers", [None, {"Content-Length": "2", "x-a": "1"}])
    @pytest.mark.parametrize("body", [b"", b"longer", memoryview(b"view"), bytearray(b"array")])
    async def test_its_length_is_sent(self, body: Any, headers: Any) -> None:
        response = Response("ab", headers=headers)
        response.body = body
        exchange = await call(response)
        assert exchange.body == bytes(body)
        assert exchange.headers["content-length"] == str(len(body))

    async def test_a_middleware_changes_it(self) -> None:
        class Shout(BaseHTTPMiddleware):
            async def dispatch(self, request: Any, call_next: Any) -> Any:
                response = await call_next(request)
                response.body = response.body.upper() + b"!"
                return response

        async def endpoint(request: Any) -> Response:
            return JSONResponse({"a": "b"})

        app = Spica(routes=[Route("/", endpoint)], middleware=[Middleware(Shout)])
        exchange = await call(app)
        assert (exchange.text, exchange.headers["content-length"]) == ('{"A":"B"}!', "10")

    async def test_again_for_the_next_request(self) -> None:
        response = Response("ab")
        for body in (b"abc", b"a", b"a"):
            response.body = body
            assert (await call(response)).headers["content-length"] == str(len(body))

    async def test_a_length_that_was_taken_away_stays_away(self) -> None:
        response = Response("ab")
        del response.headers["content-length"]
        response.body = b"abc"
        assert (await call(response)).headers == {}

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_status_without_content_stays_without(self, status: int) -> None:
        response = Response(status_code=status)
        response.body = b"abc"
        exchange = await call(response)
        assert (exchange.body, exchange.headers) == (b"", {})

    @pytest.mark.parametrize(("body", "length"), [(b"", "2"), (b"abc", "3")])
    async def test_the_answer_to_a_head(self, body: bytes, length: str) -> None:
        """RFC 9110 s.8.6: without a body, the length is that of the answer to a GET."""
        response = Response("ab")
        response.body = body
        assert (await call(response, "HEAD")).headers["content-length"] == length

    async def test_it_must_be_bytes(self) -> None:
        response = Response("ab")
        response.body = "text"  # type: ignore[assignment]
        exchange = await Exchange().run(response)
        assert isinstance(exchange.error, TypeError)
        assert "Response: body must be bytes, not 'text' of type str" in str(exchange.error)
        assert exchange.sent == []

    async def test_a_denial_response(self) -> None:
        response = Response("ab", 403)
        response.body = b"abc"
        scope = websocket_scope(extensions={"websocket.http.response": {}})
        exchange = await Exchange(scope).run(response)
        assert (b"content-length", b"3") in exchange.sent[0]["headers"]


class TestAsValue:
    async def test_the_body_can_be_iterated(self) -> None:
        assert [chunk async for chunk in Response("ab").body_iterator] == [b"ab"]

    async def test_a_replaced_body_is_closed_if_its_start_cannot_be_sent(self) -> None:
        closed = []

        async def chunks() -> Any:
            try:
                yield b"never sent"
            finally:
                closed.append(True)

        async def send(message: Any) -> None:
            raise OSError("the client has left")

        response = Response("ab")
        response.body_iterator = chunks()
        with pytest.raises(ClientDisconnect):
            await response(http_scope(), Exchange(http_scope()).receive, send)
        assert closed == [True]

    async def test_another_body_is_sent_instead(self) -> None:
        async def chunks() -> Any:
            yield "a"
            yield b"b"
            yield memoryview(b"c")

        response = Response("ab")
        response.headers["content-length"] = "3"
        response.body_iterator = chunks()
        exchange = await call(response)
        assert exchange.chunks == [b"a", b"b", b"c", b""]

    def test_classes_that_send_themselves_are_no_values(self) -> None:
        class Sends(Response):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

        class Inherits(Sends): ...

        class Renders(Response):
            def render(self, content: Any) -> bytes:
                return b""

        plain = [cls._is_value for cls in (Response, Renders, Sends, Inherits)]
        assert plain == [True, True, False, False]


class TestJSON:
    async def test_it_is_compact_and_utf_8(self) -> None:
        exchange = await call(JSONResponse({"a": [1, None, "é"], "b": 0.5}))
        assert exchange.body == '{"a":[1,null,"é"],"b":0.5}'.encode()

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
    def test_numbers_that_json_does_not_have(self, number: float) -> None:
        """RFC 8259 s.6."""
        with pytest.raises(ValueError, match="Out of range float values"):
            JSONResponse({"a": [number]})

    def test_what_has_no_json_form(self) -> None:
        with pytest.raises(TypeError, match="object is not JSON serializable"):
            JSONResponse(object())

    async def test_none(self) -> None:
        assert (await call(JSONResponse(None))).text == "null"


class TestRedirect:
    async def test_the_defaults(self) -> None:
        exchange = await call(RedirectResponse("/a"))
        assert (exchange.status, exchange.body) == (307, b"")
        assert exchange.headers == {"content-length": "0", "location": "/a"}

    @pytest.mark.parametrize(
        ("url", "location"),
        [
            ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
            ("/é b", "/%C3%A9%20b"),
            ("/%C3%A9", "/%C3%A9"),
            ("/a\r\nx: 1", "/a%0D%0Ax:%201"),
            ("/a'(b)[c]", "/a'(b)[c]"),
        ],
    )
    def test_the_location_is_quoted(self, url: str, location: str) -> None:
        assert RedirectResponse(url, 303).headers["location"] == location


class OnlyHeaders(Response):
    def __init__(self) -> None:
        self.body = b"x"
        self.init_headers()


class OnlyBody(Response):
    def __init__(self) -> None:
        self.body = b"x"


class OnlyJSON(JSONResponse):
    def __init__(self) -> None:
        self.body = self.render({"a": 1})
        self.init_headers({"x-own": "1"})


class Derived(OnlyHeaders):
    status_code = 203


class TestOwnConstructors:
    """The constructor of a subclass need not call that of Response."""

    @pytest.mark.parametrize(
        ("cls", "status", "headers"),
        [
            (OnlyHeaders, 200, {"content-length": "1"}),
            (OnlyBody, 200, {}),
            (Derived, 203, {"content-length": "1"}),
            (
                OnlyJSON,
                200,
                {"x-own": "1", "content-length": "7", "content-type": "application/json"},
            ),
        ],
    )
    async def test_what_it_does_not_set_has_a_default(
        self, cls: Any, status: int, headers: dict[str, str]
    ) -> None:
        exchange = await call(cls())
        assert (exchange.status, exchange.headers) == (status, headers)
        assert cls().background is None

    async def test_headers_that_it_did_not_set_are_its_own(self) -> None:
        one, other = OnlyBody(), OnlyBody()
        one.headers["x"] = "1"
        assert (dict(one.headers), dict(other.headers)) == ({"x": "1"}, {})

    async def test_layers_edit_it(self) -> None:
        async def dispatch(request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x"] = "1"
            return response

        async def endpoint(request: Any) -> Any:
            return OnlyBody()

        layers = [Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
        exchange = await call(Spica(routes=[Route("/", endpoint)], middleware=layers))
        assert (exchange.status, exchange.headers, exchange.error) == (200, {"x": "1"}, None)
