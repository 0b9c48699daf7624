import tempfile
import threading

import pytest

import spica.formparsers
from spica.datastructures import UploadFile
from spica.formparsers.spool import WRITE_SIZE, SpoolWriter, open_spool

pytestmark = pytest.mark.anyio


class WatchedFile(tempfile.SpooledTemporaryFile):
    """A file that remembers which thread wrote to it, and how much at a time."""

    def __init__(self, max_size):
        super().__init__(max_size=max_size)
        self.writes = []

    def write(self, data):
        self.writes.append((threading.current_thread(), len(data)))
        return super().write(data)


@pytest.fixture
def make():
    """Make a writer over a watched file with this much memory."""
    files = []

    def writer(memory_size):
        file = WatchedFile(memory_size)
        files.append(file)
        return SpoolWriter(UploadFile(file, size=0), memory_size), file

    yield writer
    for file in files:
        file.close()


def test_the_class_of_the_file_is_looked_up_in_the_package_when_a_file_is_opened(monkeypatch):
    opened = []

    def factory(max_size):
        opened.append(max_size)
        return "a file"

    monkeypatch.setattr(spica.formparsers, "SpooledTemporaryFile", factory)
    assert open_spool(10) == "a file"
    assert opened == [10]


def test_the_class_of_the_file_is_that_of_the_standard_library():
    assert spica.formparsers.SpooledTemporaryFile is tempfile.SpooledTemporaryFile


def test_the_package_has_no_other_names_by_magic():
    with pytest.raises(AttributeError, match=r"module 'spica.formparsers' has no attribute 'x'"):
        _ = spica.formparsers.x


@pytest.mark.parametrize(("size", "is_on_disk"), [(9, False), (10, False), (11, True)])
async def test_a_file_stays_in_memory_up_to_its_limit(make, size, is_on_disk):
    writer, file = make(10)
    writer.write(b"x" * size)
    upload = await writer.finish()
    assert file._rolled is is_on_disk
    assert file.read() == b"x" * size
    assert upload.size == size


async def test_memory_is_written_by_the_event_loop_and_the_disk_by_a_thread(make):
    writer, file = make(10)
    assert not writer.write(b"123456")
    assert file.writes == [(threading.current_thread(), 6)]
    assert not writer.write(b"789012")
    await writer.finish()
    assert len(file.writes) == 2
    assert file.writes[1][0] is not threading.current_thread()


@pytest.mark.parametrize(("size", "is_due"), [(WRITE_SIZE - 1, False), (WRITE_SIZE, True)])
async def test_bytes_for_the_disk_are_gathered(make, size, is_due):
    writer, file = make(1)
    assert not writer.write(b"12")
    assert writer.write(b"x" * (size - 2)) is is_due
    assert file.writes == []
    await writer.flush()
    assert [count for _, count in file.writes] == [size]


async def test_a_file_in_memory_can_be_moved_to_the_disk(make):
    writer, file = make(10)
    writer.write(b"abc")
    upload = await writer.finish()
    assert (file._rolled, writer.size_in_memory) == (False, 3)
    writer.move_to_disk()
    assert (file._rolled, writer.size_in_memory) == (True, 0)
    assert await upload.read() == b"abc"


async def test_what_was_flushed_is_not_written_again(make):
    writer, file = make(1)
    writer.write(b"abc")
    await writer.flush()
    writer.write(b"d")
    await writer.finish()
    assert file.read() == b"abcd"


async def test_a_file_without_bytes_is_empty(make):
    writer, file = make(10)
    assert (await writer.finish()).size == 0
    assert file.read() == b""
