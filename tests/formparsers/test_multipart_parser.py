import errno
import math

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spica.datastructures import FormData, Headers, UploadFile
from spica.exceptions import HTTPException, SpicaDeprecationWarning
from spica.formparsers import FormMessage, MultiPartException, MultiPartParser, MultipartPart
from spica.formparsers.decoder import PartHead
from spica.formparsers.multipart_parser import _Collector
from spica.formparsers.upload_storage import MAX_OPEN_FILES

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024


class Stalled:
    """A stream that yields its chunks and then waits for ever."""

    def __init__(self, chunks):
        self.chunks = list(chunks)
        self.is_waiting = anyio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.chunks:
            return self.chunks.pop(0)
        self.is_waiting.set()
        await anyio.sleep_forever()


async def test_fields_and_files_come_in_the_order_they_were_sent(multipart, bodies):
    body = bodies.body(
        bodies.field(b"a", b"1"),
        bodies.file(b"f", b"x.txt", b"content", b"Content-Type: text/plain"),
        bodies.field(b"a", "ü".encode()),
    )
    form = await multipart(body).parse()
    assert isinstance(form, FormData)
    assert [name for name, _ in form.multi_items()] == ["a", "f", "a"]
    assert form.getlist("a") == ["1", "ü"]
    await form.close()


async def test_a_file_is_ready_to_be_read(multipart, bodies):
    header = b"Content-Type: text/plain"
    form = await multipart(bodies.body(bodies.file(b"f", b"x.txt", b"content", header))).parse()
    upload = form["f"]
    assert isinstance(upload, UploadFile)
    assert (upload.filename, upload.size, upload.content_type) == ("x.txt", 7, "text/plain")
    assert upload.headers["content-disposition"] == 'form-data; name="f"; filename="x.txt"'
    assert await upload.read() == b"content"
    await form.close()
    assert upload.file.closed


async def test_a_file_without_a_name_is_a_file(multipart, bodies):
    form = await multipart(bodies.body(bodies.file(b"f", b"", b""))).parse()
    assert form["f"].filename == ""
    await form.close()


async def test_a_form_may_be_empty(multipart, bodies):
    assert (await multipart(bodies.body()).parse()).multi_items() == []


@pytest.mark.parametrize(
    ("charset", "header", "data", "text"),
    [
        pytest.param("", (), "é€".encode(), "é€", id="utf-8"),
        pytest.param("", (), b"\xe9", "é", id="not-utf-8"),
        pytest.param("; charset=cp1252", (), b"\x80", "€", id="of-the-form"),
        pytest.param("; charset=unknown", (), b"\xe9", "é", id="unknown"),
        pytest.param(
            "",
            (b"Content-Type: text/plain; charset=utf-16",),
            "é€".encode("utf-16"),
            "é€",
            id="of-the-part",
        ),
    ],
)
async def test_a_field_is_decoded(multipart, bodies, charset, header, data, text):
    body = bodies.body(bodies.part(b'form-data; name="a"', data, *header))
    form = await multipart(body, bodies.content_type + charset).parse()
    assert form["a"] == text


def test_the_defaults_are_finite():
    parser = MultiPartParser(Headers(), None)
    assert (parser.max_files, parser.max_fields, parser.max_part_size) == (1000, 1000, MEGABYTE)
    assert (parser.max_headers, parser.max_header_size) == (8, 8192)
    assert (MultiPartParser.spool_max_size, MultiPartParser.max_part_size) == (MEGABYTE, MEGABYTE)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_files": 1}, "Too many files. Maximum number of files is 1."),
        ({"max_fields": 0}, "Too many fields. Maximum number of fields is 0."),
        ({"max_part_size": 2}, "Part exceeded maximum size of 2 bytes."),
        (
            {"max_headers": 1},
            "Invalid multipart data. Too many headers in a part. Maximum number of headers is 1.",
        ),
        (
            {"max_header_size": 30},
            "Invalid multipart data. A header of a part exceeded maximum size of 30 bytes.",
        ),
    ],
)
async def test_each_limit_is_obeyed_and_leaves_no_file(multipart, bodies, spools, limits, message):
    file = bodies.file(b"f", b"x.txt", b"content", b"Content-Type: text/plain")
    body = bodies.body(file, file, bodies.field(b"a", b"123"))
    with pytest.raises(MultiPartException) as caught:
        await multipart(body, **limits).parse()
    assert str(caught.value) == message
    assert all(file.closed for file in spools)


@pytest.mark.parametrize(("size", "is_on_disk"), [(10, False), (11, True)])
async def test_spool_max_size_of_a_subclass_says_what_stays_in_memory(
    chunks, bodies, spools, size, is_on_disk
):
    class Small(MultiPartParser):
        spool_max_size = 10

    body = bodies.body(bodies.file(b"f", b"x", b"y" * size))
    parser = Small(Headers({"content-type": bodies.content_type}), chunks([body]))
    form = await parser.parse()
    assert [file._rolled for file in spools] == [is_on_disk]
    assert await form["f"].read() == b"y" * size
    await form.close()


async def test_a_large_file_goes_to_the_disk_whole(multipart, bodies, split, spools):
    data = bytes(range(256)) * 4096 * 3
    form = await multipart(split(bodies.body(bodies.file(b"f", b"x", data)), 65536)).parse()
    assert [file._rolled for file in spools] == [True]
    assert form["f"].size == len(data)
    assert await form["f"].read() == data
    await form.close()
    assert [file.closed for file in spools] == [True]


async def test_a_body_in_one_chunk_is_parsed_in_slices(multipart, bodies):
    data = b"\r\n--limi" * 100_000
    form = await multipart(bodies.body(bodies.file(b"f", b"x", data))).parse()
    assert await form["f"].read() == data
    await form.close()


async def test_the_body_is_read_to_its_end(chunks, multipart, bodies):
    stream = chunks([bodies.body(), b"epilogue", b"", b"more"])
    await multipart(stream).parse()
    assert stream.chunks == []


# Whatever goes wrong, no file is left


async def test_a_cut_body_leaves_no_file(multipart, bodies, spools):
    body = bodies.body(bodies.file(b"f", b"x", b"content"), bodies.file(b"g", b"x", b"content"))
    with pytest.raises(MultiPartException, match="ended before the closing boundary"):
        await multipart(body[:-20]).parse()
    assert [file.closed for file in spools] == [True, True]


async def test_an_error_of_the_stream_leaves_no_file(chunks, multipart, bodies, spools):
    stream = chunks([bodies.file(b"f", b"x", b"content")], error=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await multipart(stream).parse()
    assert [file.closed for file in spools] == [True]


async def test_an_error_of_the_parser_closes_the_stream(chunks, multipart, bodies):
    stream = chunks([b"--limit\r\nbad\r\n\r\n", b"more"])
    with pytest.raises(MultiPartException):
        await multipart(stream).parse()
    assert stream.is_closed


async def test_a_full_disk_leaves_no_file(multipart, bodies, spools, monkeypatch):
    parser = multipart([bodies.file(b"f", b"x", b"y" * 20), bodies.body()])
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 10)
    monkeypatch.setattr("spica.formparsers.SpooledTemporaryFile.rollover", full_disk)
    with pytest.raises(HTTPException) as caught:
        await parser.parse()
    assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "10"})
    assert [file.closed for file in spools] == [True]


def full_disk(file):
    raise OSError("No space left on device")


async def test_a_form_without_a_descriptor_left_is_a_503_and_logged(
    multipart, bodies, spools, monkeypatch, caplog
):
    body = bodies.body(bodies.file(b"f", b"x", b"y" * 600), bodies.field(b"a", b"z" * 600))
    monkeypatch.setattr("spica.formparsers.SpooledTemporaryFile.rollover", no_descriptor)
    with pytest.raises(HTTPException) as caught:
        await multipart(body, max_memory_size=1000).parse()
    assert caught.value.status_code == 503
    assert [file.closed for file in spools] == [True]
    [record] = caplog.records
    assert record.name == "spica.formparsers"
    assert "Too many open files. Raise the limit of open files (ulimit -n)" in record.getMessage()


def no_descriptor(file):
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("size", [100, 1100], ids=["moved", "large"])
async def test_a_form_of_many_files_opens_few(multipart, bodies, spools, size):
    """One form of 990 files and a large field took 990 descriptors."""
    files = [bodies.file(b"f", b"x%d" % n, b"%04d" % n * (size // 4)) for n in range(300)]
    body = bodies.body(*files, bodies.field(b"a", b"z" * 60_000))
    parser = multipart(body, max_memory_size=100_000)
    parser.spool_max_size = 1000
    form = await parser.parse()
    assert sum(file._rolled and not file.closed for file in spools) == MAX_OPEN_FILES
    contents = [await upload.read() for upload in form.getlist("f")]
    assert contents == [b"%04d" % n * (size // 4) for n in range(300)]
    await form.close()
    assert all(upload.file.closed for upload in form.getlist("f"))


async def test_tiny_pieces_take_no_more_memory_than_their_bytes(bodies):
    collector = _Collector(1024 * 1024, math.inf)
    head = PartHead("a", None, "utf-8", [])
    await collector.add([head, *[b"xy"] * 10_000])
    assert len(collector._pieces) < 64
    await collector.add([None])
    assert collector.items == [("a", "xy" * 10_000)]


async def test_a_cancellation_leaves_no_file(multipart, bodies, spools):
    part = bodies.file(b"f", b"x", b"y" * 2 * MEGABYTE)
    stream = Stalled([part[:-20]])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(multipart(stream).parse)
        await stream.is_waiting.wait()
        tasks.cancel_scope.cancel()
    assert [file.closed for file in spools] == [True]


async def test_a_parser_without_a_boundary_closes_the_stream(chunks, multipart):
    stream = chunks([b"a"])
    with pytest.raises(MultiPartException, match="Missing boundary in multipart"):
        await multipart(stream, "multipart/form-data").parse()
    assert stream.is_closed


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.sampled_from(
            [
                b"--limit\r\n",
                b'Content-Disposition: form-data; name="a"; filename="f"\r\n\r\n',
                b'Content-Disposition: form-data; name="a"\r\n\r\n',
                b"\r\n--limit\r\n",
                b"\r\n--limit--",
                b"data",
                b"\xff\r\n",
            ]
        ),
        max_size=12,
    )
)
def test_a_form_comes_out_or_no_file_is_left(multipart, spools, pieces):
    spools.clear()
    anyio.run(parse_and_check, multipart(pieces), spools)


async def parse_and_check(parser, spools):
    try:
        form = await parser.parse()
    except MultiPartException:
        assert all(file.closed for file in spools)
    else:
        assert len(spools) == sum(isinstance(v, UploadFile) for _, v in form.multi_items())
        await form.close()


# Cost


async def test_a_large_body_lets_other_tasks_run(multipart, bodies):
    turns = []
    is_done = anyio.Event()

    async def other():
        while not is_done.is_set():
            turns.append(None)
            await anyio.lowlevel.checkpoint()

    body = bodies.body(bodies.file(b"f", b"x", b"y" * MEGABYTE))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        parser = multipart(body)
        parser.spool_max_size = 2 * MEGABYTE
        form = await parser.parse()
        is_done.set()
    assert len(turns) >= 2
    await form.close()


async def test_tiny_chunks_are_parsed_like_any_other(multipart, bodies, split):
    body = bodies.body(bodies.field(b"a", b"text"), bodies.file(b"f", b"x", b"content" * 500))
    form = await multipart(split(body, 1)).parse()
    assert form["a"] == "text"
    assert await form["f"].read() == b"content" * 500
    await form.close()


# What is kept of the heads of parts counts as well


@pytest.mark.parametrize(("size", "is_kept"), [(99, True), (100, True), (101, False)])
async def test_names_of_fields_are_within_the_memory(multipart, bodies, size, is_kept):
    parser = multipart(bodies.body(bodies.field(b"a" * (size - 10), b"b" * 10)))
    parser.max_memory_size = 100
    if is_kept:
        assert len(await parser.parse()) == 1
    else:
        with pytest.raises(MultiPartException, match=r"exceeded 100 bytes \(max_memory_size\)"):
            await parser.parse()


@pytest.mark.parametrize(("room", "is_kept"), [(1, True), (0, True), (-1, False)])
async def test_headers_of_files_are_within_the_memory(multipart, bodies, room, is_kept):
    """1000 files with 64 KiB of headers each would take 64 MB, whatever the limit."""
    heads = [b'Content-Disposition: form-data; name="f"; filename=""', b"X-A: " + b"a" * 1000]
    parser = multipart(bodies.body(bodies.file(b"f", b"", b"", heads[1])))
    parser.max_memory_size = sum(len(head) - len(b": ") for head in heads) + room
    if is_kept:
        form = await parser.parse()
        assert len(form["f"].headers) == 2
        await form.close()
    else:
        with pytest.raises(MultiPartException) as error:
            await parser.parse()
        assert error.value.status_code == 413


def test_a_part_starts_empty():
    part = MultipartPart()
    assert part == MultipartPart(None, "", bytearray(), None, [])


def test_a_part_takes_data_and_headers_as_parsers_of_other_packages_do():
    part = MultipartPart(content_disposition=b"form-data; name=a", field_name="a")
    part.data += b"some"
    part.item_headers.append((b"content-type", b"text/plain"))
    part.file = UploadFile(None)
    assert part.data == b"some"
    assert MultipartPart().item_headers == []


def test_form_message_can_be_imported_and_warns_when_it_is_called():
    assert [(member.name, member.value) for member in FormMessage] == [
        ("FIELD_START", 1),
        ("FIELD_NAME", 2),
        ("FIELD_DATA", 3),
        ("FIELD_END", 4),
        ("END", 5),
    ]
    with pytest.warns(SpicaDeprecationWarning, match="`FormMessage` is deprecated"):
        FormMessage(1)
