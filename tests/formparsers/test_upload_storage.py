import tempfile

import pytest

import spica.formparsers
from spica.datastructures import UploadFile
from spica.formparsers.upload_storage import (
    MAX_OPEN_FILES,
    WRITE_SIZE,
    DiskWriter,
    UploadStorage,
    open_storage,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def storage():
    storage = UploadStorage()
    yield storage
    storage.close()


def test_the_class_of_the_file_is_looked_up_in_the_package_when_a_file_is_opened(monkeypatch):
    opened = []

    def factory(max_size):
        opened.append(max_size)
        return "a file"

    monkeypatch.setattr(spica.formparsers, "SpooledTemporaryFile", factory)
    assert open_storage(10) == "a file"
    assert opened == [10]


def test_the_class_of_the_file_is_that_of_the_standard_library():
    assert spica.formparsers.SpooledTemporaryFile is tempfile.SpooledTemporaryFile


def test_the_package_has_no_other_names_by_magic():
    with pytest.raises(AttributeError, match=r"module 'spica.formparsers' has no attribute 'x'"):
        _ = spica.formparsers.x


@pytest.fixture
def fill(storage):
    """Make a file in memory with a content, at its start."""

    def file(content):
        spool = storage.open(10)
        spool.write(content)
        spool.seek(0)
        return spool

    return file


@pytest.mark.parametrize(("size", "is_on_disk"), [(3, False), (4, True)])
def test_a_file_in_memory_moves_to_disk_beyond_its_size(storage, size, is_on_disk):
    file = storage.open(3)
    file.write(b"x" * size)
    assert file._rolled is is_on_disk


@pytest.mark.parametrize(("size", "is_due"), [(WRITE_SIZE - 1, False), (WRITE_SIZE, True)])
def test_bytes_for_the_disk_are_gathered(storage, size, is_due):
    file = storage.open(10)
    writer = DiskWriter(storage, file)
    assert not writer.write(b"12")
    assert writer.write(b"x" * (size - 2)) is is_due
    assert file.tell() == 0


def test_a_writer_writes_each_chunk_once(storage):
    writer = DiskWriter(storage, storage.open(10))
    writer.write(b"abc")
    writer.flush()
    writer.write(b"d")
    assert writer.finish().read() == b"abcd"


def test_files_moved_to_disk_keep_their_content(storage, fill):
    uploads = [UploadFile(fill(b"%d" % n)) for n in range(MAX_OPEN_FILES + 3)]
    storage.make_room(uploads)
    assert [upload.file.read() for upload in uploads] == [b"%d" % n for n in range(len(uploads))]
    assert all(upload.file._rolled for upload in uploads)


def test_a_form_opens_a_bounded_number_of_files(storage, spools, fill):
    storage.make_room([UploadFile(fill(b"x")) for _ in range(1000)])
    written = [DiskWriter(storage, storage.open(1)).finish() for _ in range(100)]
    shared = {file._shared for file in storage.files if hasattr(file, "_shared")}
    assert sum(not file.closed for file in spools) == MAX_OPEN_FILES
    assert len(shared) == 1
    assert {file._shared for file in written} == shared


def test_closing_the_storage_closes_every_file(storage, fill):
    storage.make_room([UploadFile(fill(b"x")) for _ in range(MAX_OPEN_FILES + 1)])
    storage.close()
    assert all(file.closed for file in storage.files)
    assert storage._shared._file.closed
