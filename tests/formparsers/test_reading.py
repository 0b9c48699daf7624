from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest
from asgi_kit import Exchange, body_messages, call, http_scope

from spica._asgi.cleanup import cleanup_of
from spica.applications import Spica
from spica.background import BackgroundTask
from spica.datastructures import FormData
from spica.exceptions import HTTPException
from spica.formparsers import MultiPartException, MultiPartParser
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import ClientDisconnect, Request
from spica.responses import PlainTextResponse, Response
from spica.routing import Route
from spica.types import Message


def urlencoded(size: int) -> tuple[str, bytes]:
    return "application/x-www-form-urlencoded", (b"a=" + b"x" * 98 + b"&") * (size // 101)


def multipart(size: int) -> tuple[str, bytes]:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 100 + b"\r\n"
    return "multipart/form-data; boundary=b", part * (size // 100) + b"--b--\r\n"


@pytest.mark.anyio
@pytest.mark.parametrize("make", [urlencoded, multipart])
@pytest.mark.parametrize(("size", "is_refused"), [(1000, False), (1300, True)])
async def test_fields_may_fill_no_more_than_the_memory_they_are_given(
    make: Callable[[int], tuple[str, bytes]], size: int, is_refused: bool
) -> None:
    content_type, body = make(size)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", content_type.encode())]
    request = Request({"type": "http", "headers": headers}, receive)
    if is_refused:
        with pytest.raises(
            MultiPartException, match=r"exceeded 1100 bytes \(max_memory_size\)"
        ) as caught:
            await request.form(max_memory_size=1100)
        assert caught.value.status_code == 413
    else:
        assert len(await request.form(max_memory_size=1100)) == 1


@pytest.mark.anyio
async def test_files_beyond_the_memory_go_to_the_disk() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + b"x" * 600
    body = (part + b"\r\n") * 2 + b"--b--\r\n"

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "headers": headers}, receive)
    async with request.form(max_memory_size=1000) as form:
        files = form.getlist("f")
        assert [file.file._rolled for file in files] == [False, True]
        assert [await file.read() for file in files] == [b"x" * 600] * 2


@pytest.mark.anyio
async def test_files_in_memory_make_room_for_what_can_be_nowhere_else() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="%b"'
    files = [(head + b'; filename="f"\r\n\r\n') % b"f" + b"x" * 300 + b"\r\n"] * 3
    field = (head + b"\r\n\r\n") % b"n" + b"y" * 200 + b"\r\n"
    body = b"".join([*files, field, *files, b"--b--\r\n"])

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "headers": headers}, receive)
    async with request.form(max_memory_size=1200) as form:
        assert form["n"] == "y" * 200
        found = form.getlist("f")
        assert [file.file._rolled for file in found] == [True] * 3 + [False, False, True]
        assert [await file.read() for file in found] == [b"x" * 300] * 6
        assert [file.size for file in found] == [300] * 6


@pytest.mark.anyio
@pytest.mark.parametrize(("room", "is_kept"), [(1, True), (0, True), (-1, False)])
async def test_a_field_behind_files_may_be_as_large_as_without_them(
    room: int, is_kept: bool
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="%b"'
    file = (head + b'; filename="f"\r\n\r\n') % b"f" + b"x" * 300 + b"\r\n"
    field = (head + b"\r\n\r\n") % b"n" + b"y" * 900 + b"\r\n--b--\r\n"
    of_head = len("Content-Disposition") + len('form-data; name="f"; filename="f"')

    async def receive() -> Message:
        return {"type": "http.request", "body": file + field, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "headers": headers}, receive)
    form = request.form(max_memory_size=of_head + len("n") + 900 + room)
    if is_kept:
        async with form as fields:
            assert len(fields) == 2
    else:
        with pytest.raises(MultiPartException, match="max_memory_size"):
            await form


@pytest.mark.anyio
async def test_a_file_before_a_field_of_the_same_name_is_closed_too() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"'
    body = head + b'; filename="f"\r\n\r\nxyz\r\n' + head + b"\r\n\r\ntext\r\n--b--\r\n"
    forms: list[FormData] = []

    async def endpoint(request: Request) -> Response:
        forms.append(await request.form())
        return PlainTextResponse("")

    headers = [("content-type", "multipart/form-data; boundary=b")]
    app = Spica(routes=[Route("/", endpoint, methods=["POST"])])
    await call(app, "POST", headers=headers, body=body)
    upload, text = forms[0].getlist("f")
    assert text == "text"
    assert upload.file.closed  # type: ignore[union-attr]


async def run_with_form(endpoint: Any, **more: Any) -> Exchange:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nxyz\r\n--b--\r\n'
    headers = [("content-type", "multipart/form-data; boundary=b")]
    app = Spica(routes=[Route("/", endpoint, methods=["POST"])], **more)
    return await call(app, "POST", headers=headers, body=part)


@pytest.mark.anyio
@pytest.mark.parametrize("layers", [0, 2])
async def test_a_form_left_open_is_closed_after_the_background_tasks(layers: int) -> None:
    forms: list[FormData] = []
    read: list[bytes] = []

    async def keep(form: FormData) -> None:
        read.append(await form["f"].read())  # type: ignore[union-attr]

    async def endpoint(request: Request) -> Response:
        forms.append(await request.form())
        return PlainTextResponse("ok", background=BackgroundTask(keep, forms[0]))

    async def pass_on(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    dispatch = Middleware(BaseHTTPMiddleware, dispatch=pass_on)
    assert (await run_with_form(endpoint, middleware=[dispatch] * layers)).text == "ok"
    assert read == [b"xyz"]
    assert forms[0]["f"].file.closed  # type: ignore[union-attr]


@pytest.mark.anyio
async def test_a_form_left_open_is_closed_after_an_error() -> None:
    forms: list[FormData] = []

    async def endpoint(request: Request) -> Response:
        forms.append(await request.form())
        raise HTTPException(409)

    assert (await run_with_form(endpoint)).status == 409
    assert forms[0]["f"].file.closed  # type: ignore[union-attr]


@pytest.mark.anyio
async def test_a_form_left_open_is_closed_when_the_request_is_cancelled() -> None:
    forms: list[FormData] = []

    async def endpoint(request: Request) -> Response:
        forms.append(await request.form())
        scope.cancel()
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.CancelScope() as scope:
        await run_with_form(endpoint)
    assert forms[0]["f"].file.closed  # type: ignore[union-attr]


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["async with", "form.close", "request.close"])
async def test_a_form_that_was_closed_leaves_nothing_to_do_after_the_response(way: str) -> None:
    seen: list[bool] = []

    async def endpoint(request: Request) -> Response:
        if way == "async with":
            async with request.form() as form:
                seen.append(cleanup_of(request).is_empty)
        else:
            form = await request.form()
            seen.append(cleanup_of(request).is_empty)
            await (form.close() if way == "form.close" else request.close())
        seen.append(cleanup_of(request).is_empty)
        assert form["f"].file.closed  # type: ignore[union-attr]
        return PlainTextResponse("ok")

    assert (await run_with_form(endpoint)).text == "ok"
    assert seen == [False, True]


@pytest.mark.anyio
async def test_a_client_that_leaves_in_the_middle_leaves_no_file(
    spools: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    messages: list[Message] = [
        {"type": "http.request", "body": part + b"x" * 600 + b"\r\n" + part, "more_body": True},
        {"type": "http.request", "body": b"y" * 600, "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    monkeypatch.setattr(MultiPartParser, "spool_max_size", 500)
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "headers": headers}, receive)
    with pytest.raises(ClientDisconnect):
        await request.form()
    assert [file.closed for file in spools] == [True, True]


URLENCODED = [("content-type", "application/x-www-form-urlencoded")]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([b"a=1&b=2"], id="one"),
        pytest.param([b"a=1", b"&b=2"], id="two"),
        pytest.param([b"a=1&b=2", b""], id="an-empty-end"),
        pytest.param([b"", b"a=1&b=2"], id="an-empty-start"),
    ],
)
@pytest.mark.parametrize("is_read_before", [False, True])
async def test_the_chunks_of_a_body_do_not_change_its_form(
    chunks: list[bytes], is_read_before: bool
) -> None:
    messages = body_messages(*chunks)

    async def receive() -> Message:
        return messages.pop(0)

    request = Request(http_scope(headers=URLENCODED), receive)
    if is_read_before:
        await request.body()
    form = await request.form()
    assert form.multi_items() == [("a", "1"), ("b", "2")]


@pytest.mark.anyio
@pytest.mark.parametrize("more", [{}, {"more_body": True}])
async def test_an_overridden_stream_delivers_the_form(more: dict[str, bool]) -> None:
    class Decrypted(Request):
        async def stream(self) -> AsyncGenerator[bytes, None]:
            async for chunk in super().stream():
                yield chunk[::-1]

    messages = [{"type": "http.request", "body": b"1=a", **more}, {"type": "http.request"}]

    async def receive() -> Message:
        return messages.pop(0)

    form = await Decrypted(http_scope(headers=URLENCODED), receive).form()
    assert form.multi_items() == [("a", "1")]
