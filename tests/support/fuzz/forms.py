"""Targets for forms: any body cut anywhere gives the same, within limits, and leaves no file."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st

from fuzz.rubbish import NASTY, NUMBERS, cuts, noise, split, values_of, words
from fuzz.targets import demand, target
from spica.datastructures import FormData, Headers, UploadFile
from spica.formparsers import FormParser, MultiPartException, MultiPartParser

LIMITS: dict[str, Any] = {"max_fields": 5, "max_part_size": 100, "max_memory_size": 300}
PART_LIMITS: dict[str, Any] = {**LIMITS, "max_files": 3, "max_headers": 4, "max_header_size": 200}


class Body:
    """A body in chunks, which knows whether it was read to its end or closed."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = list(chunks)
        self.is_over = False

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        if self.chunks:
            return self.chunks.pop(0)
        self.is_over = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.is_over = True


class SmallParser(MultiPartParser):
    """Files go to the disk early."""

    spool_max_size = 20


async def read(parser: FormParser | MultiPartParser, body: Body) -> Any:
    """Return what a form is, or the error; its files are closed."""
    try:
        form = await parser.parse()
    except MultiPartException as error:
        demand(error.status_code in (400, 413, 415), "a status", error.status_code)
        result: Any = "refused"  # by which limit depends on what comes first
    else:
        demand(len(form.multi_items()) <= 8, "more parts than the limits allow")
        result = [await describe(name, value) for name, value in form.multi_items()]
        await close(form)
    demand(body.is_over, "the body was left open")
    return result


async def describe(name: str, value: UploadFile | str) -> tuple[str, Any]:
    name.encode("utf-8", "surrogatepass")
    if isinstance(value, str):
        return name, value
    data = await value.read()
    demand(len(data) == value.size, "the size of a file", len(data), value.size)
    demand(bool(value.safe_filename), "a name for a file", value.filename)
    demand(not set("/\\\0:") & set(value.safe_filename), "a safe name", value.safe_filename)
    return name, (value.filename, data, value.content_type)


async def close(form: FormData) -> None:
    await form.close()
    for _, value in form.multi_items():
        demand(isinstance(value, str) or value.file.closed, "a file is open")


def read_both(make: Any, data: bytes, places: list[int]) -> None:
    """Read a body as a whole and in pieces, and compare what comes of it."""
    results = []
    for chunks in ([data], split(data, places), [data[i : i + 1] for i in range(len(data))]):
        body = Body(chunks if len(chunks) < 500 else [data])
        results.append(asyncio.run(read(make(body), body)))
    demand(
        results[0] == results[1] == results[2], "another form when it is cut otherwise", *results
    )


urlencoded = words(
    b"a=b", b"&", b"&&", b"=", b"%", b"%41", b"+", b"%26", b"%3D", b"a" * 99, b"a" * 101
)


@target("urlencoded", st.tuples(urlencoded, cuts))
def check_urlencoded(values: tuple[bytes, list[int]]) -> None:
    """Forms of fields only, cut anywhere."""
    headers = Headers({"content-type": "application/x-www-form-urlencoded"})
    read_both(lambda body: FormParser(headers, body, **LIMITS), *values)


HEADS = [
    b'Content-Disposition: form-data; name="a"\r\n',
    b'Content-Disposition: form-data; name="f"; filename="x.txt"\r\n',
    b"Content-Disposition: form-data; name=f; filename*=utf-8''..%2F%00a\r\n",
    b"content-disposition: form-data\r\n",
    b"Content-Type: text/plain; charset=utf-16\r\n",
    b"Content-Type: text/plain\r\n",
    b"X-A: " + b"a" * 190 + b"\r\n",
    b"X-A: " + b"a" * 300 + b"\r\n",
    b": \r\n",
]
head = st.lists(
    st.one_of(
        st.sampled_from(HEADS),
        st.sampled_from(HEADS[:3]),
        st.builds(
            lambda value: b"Content-Disposition: form-data; name=n; filename=" + value + b"\r\n",
            values_of(b"content-disposition"),
        ),
    ),
    min_size=1,
    max_size=3,
).map(b"".join)
piece = st.one_of(
    st.builds(
        lambda head, body: b"--b\r\n" + head + b"\r\n" + body + b"\r\n",
        head,
        st.one_of(
            st.sampled_from([b"", b"value", b"v" * 99, b"v" * 101, b"--b", b"\r\n--"]), noise
        ),
    ),
    st.sampled_from([b"--b--", b"--b--\r\n", b"--b", b"\r\n--b", b"--b\r\n", b"--", b"--b \t\r\n"]),
    st.sampled_from(NASTY),
    st.sampled_from(NUMBERS),
)
multipart = st.builds(
    lambda pieces, often, end: b"".join(pieces) * often + end,
    st.lists(piece, max_size=4),
    st.sampled_from([1, 1, 1, 3]),
    st.sampled_from([b"--b--\r\n", b"--b--\r\n", b"--b--", b""]),
)


@target("multipart", st.tuples(multipart, cuts))
def check_multipart(values: tuple[bytes, list[int]]) -> None:
    """Forms with files, cut anywhere; the files are gone whatever comes."""
    headers = Headers({"content-type": "multipart/form-data; boundary=b"})
    read_both(lambda body: SmallParser(headers, body, **PART_LIMITS), *values)


@target("multipart-type", st.tuples(values_of(b"content-type"), multipart))
def check_multipart_type(values: tuple[bytes, bytes]) -> None:
    """Any Content-Type of a form with files."""
    headers = Headers(raw=[(b"content-type", b"multipart/form-data; " + values[0])])
    body = Body([values[1]])
    try:
        asyncio.run(read(MultiPartParser(headers, body, **PART_LIMITS), body))
    except MultiPartException as error:
        demand(error.status_code == 400, "a status", error.status_code)


async def read_parts(data: bytes, places: list[int]) -> Any:
    headers = Headers({"content-type": "multipart/form-data; boundary=b"})
    body = Body(split(data, places))
    parts = MultiPartParser(headers, body, **PART_LIMITS).parts()
    found: list[Any] = []
    try:
        async for part in parts:
            # Every other part is left unread.
            text = await part.text(50) if len(found) % 2 == 0 else ""
            found.append((part.name, part.filename, text))
    except MultiPartException as error:
        demand(error.status_code in (400, 413), "a status", error.status_code)
        return "refused"
    finally:
        await parts.aclose()
    return found


@target("parts", st.tuples(multipart, cuts))
def check_parts(values: tuple[bytes, list[int]]) -> None:
    """Parts one by one, cut anywhere, some of them not read."""
    data, places = values
    whole, pieces = asyncio.run(read_parts(data, [])), asyncio.run(read_parts(data, places))
    demand(whole == pieces, "other parts when they are cut otherwise", whole, pieces)
