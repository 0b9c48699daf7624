"""Files and fields of forms."""

import threading
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import Any

import anyio
import pytest

from spica.datastructures import FormData, Headers, UploadFile

pytestmark = pytest.mark.anyio


class NotedFile(BytesIO):
    """A file that notes which thread does what, and can pretend to be on disk."""

    def __init__(self, data: bytes = b"", *, rolled: bool = False, limit: int = 0) -> None:
        super().__init__(data)
        self._rolled = rolled
        self._max_size = limit
        self.inline: list[str] = []
        self.threaded: list[str] = []

    def note(self, name: str) -> None:
        here = threading.current_thread() is threading.main_thread()
        (self.inline if here else self.threaded).append(name)

    def write(self, data: Any) -> int:
        self.note("write")
        return super().write(data)

    def read(self, size: int | None = -1) -> bytes:
        self.note("read")
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.note("seek")
        return super().seek(offset, whence)

    def close(self) -> None:
        if not self.closed:
            self.note("close")
        super().close()


async def use(file: UploadFile) -> bytes:
    await file.write(b"abc")
    await file.seek(1)
    data = await file.read()
    await file.close()
    return data


async def test_a_file_in_memory_is_used_directly() -> None:
    noted = NotedFile()
    assert await use(UploadFile(noted)) == b"bc"
    assert noted.inline == ["write", "seek", "read", "close"]
    assert noted.threaded == []


async def test_a_file_on_disk_is_used_in_a_thread() -> None:
    noted = NotedFile(rolled=True)
    assert await use(UploadFile(noted)) == b"bc"
    assert noted.inline == []
    assert noted.threaded == ["write", "seek", "read", "close"]


@pytest.mark.parametrize(("size", "is_inline"), [(9, True), (10, True), (11, False)])
async def test_a_write_that_moves_the_file_to_disk_is_made_in_a_thread(
    size: int, is_inline: bool
) -> None:
    noted = NotedFile(limit=10)
    await UploadFile(noted).write(b"a" * size)
    assert (noted.inline == ["write"]) is is_inline
    assert (noted.threaded == ["write"]) is not is_inline


async def test_a_file_that_says_nothing_about_itself_is_used_in_a_thread() -> None:
    class Unknown:
        closed = False
        thread: threading.Thread | None = None

        def read(self, size: int) -> bytes:
            self.thread = threading.current_thread()
            return b"abc"[:size]

    unknown: Any = Unknown()
    assert await UploadFile(unknown).read(2) == b"ab"
    assert unknown.thread is not threading.main_thread()


@pytest.mark.parametrize("size", [10, 11])
async def test_a_spooled_file_is_written_and_read(size: int) -> None:
    with SpooledTemporaryFile(max_size=10) as spool:
        file = UploadFile(spool, size=0)  # type: ignore[arg-type]
        await file.write(b"a" * size)
        assert spool._rolled is (size > 10)  # type: ignore[attr-defined]
        await file.seek(0)
        assert await file.read(2) == b"aa"
        assert await file.read() == b"a" * (size - 2)
        assert file.size == size
        await file.close()


async def test_a_spool_without_a_limit_stays_in_memory() -> None:
    noted = NotedFile(limit=0)
    await UploadFile(noted).write(b"a" * 100_000)
    assert noted.inline == ["write"]


@pytest.mark.parametrize("rolled", [False, True], ids=["memory", "disk"])
async def test_closing_again_does_nothing(rolled: bool) -> None:
    noted = NotedFile(rolled=rolled)
    file = UploadFile(noted)
    await file.close()
    await file.close()
    assert noted.inline + noted.threaded == ["close"]


async def test_a_file_on_disk_is_closed_although_its_user_is_cancelled() -> None:
    noted = NotedFile(rolled=True)
    with anyio.CancelScope() as cancelled:
        cancelled.cancel()
        await UploadFile(noted).close()
    assert noted.closed


@pytest.mark.parametrize(("before", "after"), [(None, None), (0, 3), (2, 5)])
async def test_the_size_grows_with_what_is_written(before: int | None, after: int | None) -> None:
    file = UploadFile(BytesIO(), size=before)
    await file.write(b"abc")
    assert file.size == after


async def test_the_size_does_not_grow_when_a_write_fails() -> None:
    noted = NotedFile()
    noted.close()
    file = UploadFile(noted, size=0)
    with pytest.raises(ValueError, match="closed file"):
        await file.write(b"abc")
    assert file.size == 0


async def test_a_file_tells_what_the_client_said() -> None:
    headers = Headers({"content-type": "text/plain"})
    file = UploadFile(BytesIO(), filename="a.txt", size=3, headers=headers)
    assert file.content_type == "text/plain"
    assert repr(file) == (
        "UploadFile(filename='a.txt', size=3, headers=Headers({'content-type': 'text/plain'}))"
    )


async def test_a_file_may_come_without_anything() -> None:
    file = UploadFile(BytesIO())
    assert file.content_type is None
    assert (file.filename, file.size, file.headers) == (None, None, Headers())


async def test_a_form_closes_its_files() -> None:
    files = [NotedFile(), NotedFile(rolled=True)]
    form = FormData([("a", "text"), *(("f", UploadFile(file)) for file in files)])
    await form.close()
    assert all(file.closed for file in files)


async def test_a_form_closes_all_files_although_one_fails() -> None:
    class Failing(NotedFile):
        def close(self) -> None:
            was_open = not self.closed
            super().close()
            if was_open:
                raise OSError("disk gone")

    last = NotedFile()
    form = FormData([("a", UploadFile(Failing())), ("a", UploadFile(last))])
    with pytest.raises(OSError, match="disk gone"):
        await form.close()
    assert last.closed


async def test_a_form_lists_its_fields() -> None:
    form = FormData([("a", "1"), ("a", "2")], b="3")
    assert form.getlist("a") == ["1", "2"]
    assert repr(form) == "FormData([('a', '1'), ('a', '2'), ('b', '3')])"


@pytest.mark.parametrize(
    ("filename", "safe"), [("../a b.txt", "a b.txt"), (None, "file"), ("", "file")]
)
async def test_a_file_has_a_name_under_which_it_can_be_kept(filename: Any, safe: str) -> None:
    upload = UploadFile(BytesIO(), filename=filename)
    assert upload.filename == filename
    assert upload.safe_filename == safe
