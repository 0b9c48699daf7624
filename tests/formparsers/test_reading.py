from collections.abc import Callable

import pytest

from spica.formparsers import MultiPartException
from spica.requests import Request
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
