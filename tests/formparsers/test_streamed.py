import pytest

from spica.formparsers import MultiPartException

pytestmark = pytest.mark.anyio


@pytest.fixture
def two_parts(bodies):
    return bodies.body(
        bodies.file(b"f", b"x.txt", b"content" * 1000, b"Content-Type: text/plain"),
        bodies.field(b"a", "ü".encode()),
    )


async def test_parts_come_one_after_another_with_their_heads(multipart, two_parts):
    heads = [
        (part.name, part.filename, part.content_type) async for part in multipart(two_parts).parts()
    ]
    assert heads == [("f", "x.txt", "text/plain"), ("a", None, None)]


async def test_a_part_has_its_headers(multipart, two_parts):
    part = await anext(multipart(two_parts).parts())
    assert part.headers.raw == [
        (b"content-disposition", b'form-data; name="f"; filename="x.txt"'),
        (b"content-type", b"text/plain"),
    ]
    assert repr(part) == "Part(name='f', filename='x.txt')"


@pytest.mark.parametrize("size", [1, 100, 100_000])
async def test_the_body_of_a_part_is_read_as_a_whole(multipart, two_parts, split, size):
    found = [await part.read() async for part in multipart(split(two_parts, size)).parts()]
    assert found == [b"content" * 1000, "ü".encode()]


async def test_a_part_is_read_as_it_arrives(chunks, multipart, bodies):
    start = bodies.file(b"f", b"x", b"first ")[:-2]
    stream = chunks([start, b"second ", b"third\r\n" + bodies.body()])
    part = await anext(multipart(stream).parts())
    assert await anext(part) == b"first "
    assert len(stream.chunks) == 2
    assert await anext(part) == b"second "
    assert len(stream.chunks) == 1
    assert [chunk async for chunk in part] == [b"third"]


async def test_nothing_is_stored_in_a_file(multipart, two_parts, spools):
    assert [len(await part.read()) async for part in multipart(two_parts).parts()] == [7000, 2]
    assert spools == []


async def test_what_is_not_read_of_a_part_is_discarded(multipart, bodies, split):
    body = bodies.body(*(bodies.file(b"f%d" % i, b"x", b"y" * 1000) for i in range(3)))
    names = []
    async for part in multipart(split(body, 300)).parts():
        names.append(part.name)
        if part.name == "f1":
            assert await anext(part)
    assert names == ["f0", "f1", "f2"]


async def test_reading_may_go_on_after_some_chunks(multipart, bodies):
    stream = [bodies.file(b"f", b"x", b"one")[:-2], b"two", b"three\r\n" + bodies.body()]
    part = await anext(multipart(stream).parts())
    async for chunk in part:
        assert chunk == b"one"
        break
    assert await part.read() == b"twothree"


async def test_a_part_without_a_body_is_empty(multipart, bodies):
    body = bodies.body(bodies.field(b"a", b""), bodies.field(b"b", b""))
    assert [await part.read() async for part in multipart(body).parts()] == [b"", b""]


@pytest.mark.parametrize(("limit", "passes"), [(6999, False), (7000, True), (None, True)])
async def test_read_takes_no_more_than_its_limit(multipart, two_parts, limit, passes):
    part = await anext(multipart(two_parts).parts())
    if passes:
        assert len(await part.read(limit)) == 7000
    else:
        with pytest.raises(MultiPartException) as caught:
            await part.read(limit)
        assert caught.value.message == "Part exceeded maximum size of 6999 bytes."


async def test_read_is_limited_by_default(multipart, bodies):
    body = bodies.body(bodies.file(b"f", b"x", b"y" * (1024 * 1024 + 1)))
    part = await anext(multipart(body).parts())
    with pytest.raises(MultiPartException, match="Part exceeded maximum size of 1024KB"):
        await part.read()


@pytest.mark.parametrize(
    ("charset", "data"), [(b"utf-8", "ü".encode()), (b"utf-16", "ü".encode("utf-16"))]
)
async def test_text_is_decoded_in_the_charset_of_the_part(multipart, bodies, charset, data):
    part = bodies.part(b"form-data; name=a", data, b"Content-Type: text/plain; charset=" + charset)
    streamed = await anext(multipart(bodies.body(part)).parts())
    assert await streamed.text() == "ü"


async def test_a_part_can_be_read_only_once(multipart, two_parts):
    part = await anext(multipart(two_parts).parts())
    await part.read()
    with pytest.raises(RuntimeError, match="The body of the part 'f' was read already"):
        await part.read()


async def test_a_part_is_gone_when_the_next_one_is_asked_for(multipart, two_parts):
    parts = multipart(two_parts).parts()
    first = await anext(parts)
    await anext(parts)
    with pytest.raises(
        RuntimeError, match="The part 'f' is gone: read it before you request the next part"
    ):
        await first.read()


async def test_limits_hold_for_a_stream_of_parts(multipart, two_parts):
    parts = multipart(two_parts, max_fields=0).parts()
    with pytest.raises(MultiPartException, match="Maximum number of fields is 0"):
        async for part in parts:
            await part.read()


async def test_a_body_that_is_cut_is_an_error_where_the_rest_is_missed(multipart, two_parts):
    part = await anext(multipart(two_parts[:1000]).parts())
    with pytest.raises(MultiPartException, match="ended before the closing boundary"):
        await part.read()


async def test_a_body_that_is_cut_between_parts_is_an_error(multipart, two_parts):
    parts = multipart(two_parts[:-4]).parts()
    with pytest.raises(MultiPartException, match="ended before the closing boundary"):
        [part.name async for part in parts]


async def test_a_missing_boundary_is_an_error_at_once(multipart):
    with pytest.raises(MultiPartException, match="Missing boundary in multipart"):
        multipart(b"", "multipart/form-data").parts()


async def test_an_exhausted_stream_of_parts_stays_so(multipart, bodies):
    parts = multipart(bodies.body()).parts()
    assert [part async for part in parts] == []
    assert [part async for part in parts] == []


async def test_giving_up_closes_the_stream(chunks, multipart, two_parts):
    stream = chunks([two_parts, b"more"])
    parts = multipart(stream).parts()
    part = await anext(parts)
    await parts.aclose()
    assert stream.is_closed
    with pytest.raises(RuntimeError, match="its stream was closed"):
        await part.read()
    assert [part async for part in parts] == []


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_nothing_is_read_after_giving_up(chunks, multipart, bodies, split, size):
    """Whether the rest is in the chunk that was being read or in those to come."""
    body = bodies.body(bodies.file(b"f", b"x", b"y" * 300_000), bodies.field(b"a", b"1"))
    stream = chunks(split(body, size))
    parts = multipart(stream).parts()
    part = await anext(parts)
    await anext(part)
    left = list(stream.chunks)
    await parts.aclose()
    with pytest.raises(RuntimeError, match="its stream was closed"):
        await part.read()
    assert [part async for part in parts] == []
    assert stream.chunks == left


async def test_a_part_has_a_name_under_which_it_can_be_kept(multipart, bodies):
    part = await anext(multipart(bodies.body(bodies.file(b"f", b"../x.txt", b""))).parts())
    assert (part.filename, part.safe_filename) == ("../x.txt", "x.txt")
