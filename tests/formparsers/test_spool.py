import tempfile

import pytest

import spica.formparsers
from spica.datastructures import UploadFile
from spica.formparsers.spool import (
    MAX_OPEN_FILES,
    WRITE_SIZE,
    DiskWriter,
    UploadStorage,
    open_spool,
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
    assert open_spool(10) == "a file"
    assert opened == [10]


def test_the_class_of_the_file_is_that_of_the_standard_library():
    assert spica.formparsers.SpooledTemporaryFile is tempfile.SpooledTemporaryFile


def test_the_package_has_no_other_names_by_magic():
    with pytest.raises(AttributeError, match=r"module 'spica.formparsers' has no attribute 'x'"):
        _ = spica.formparsers.x


@pytest.mark.parametrize("data", [b"", b"abc"])
def test_a_file_in_memory_is_read_from_its_start(storage, data):
    file = storage.keep(data, 10)
    assert not file._rolled
    assert file.read() == data


def test_a_file_in_memory_moves_to_disk_beyond_its_size(storage):
    file = storage.keep(b"abc", 3)
    file.write(b"wxyz")
    assert file._rolled


@pytest.mark.parametrize(("size", "is_due"), [(WRITE_SIZE - 1, False), (WRITE_SIZE, True)])
def test_bytes_for_the_disk_are_gathered(storage, size, is_due):
    writer = DiskWriter(storage)
    assert not writer.write(b"12")
    assert writer.write(b"x" * (size - 2)) is is_due
    assert storage.files == []


def test_a_writer_writes_each_chunk_once(storage):
    writer = DiskWriter(storage)
    writer.write(b"abc")
    writer.flush()
    writer.write(b"d")
    assert writer.finish().read() == b"abcd"


def test_files_moved_to_disk_keep_their_content(storage):
    uploads = [UploadFile(storage.keep(b"%d" % n, 10)) for n in range(MAX_OPEN_FILES + 3)]
    storage.move_to_disk(uploads)
    assert [upload.file.read() for upload in uploads] == [b"%d" % n for n in range(len(uploads))]
    assert all(upload.file._rolled for upload in uploads)


def test_a_form_opens_a_bounded_number_of_files(storage, spools):
    uploads = [UploadFile(storage.keep(b"x", 10)) for _ in range(1000)]
    storage.move_to_disk(uploads)
    written = [DiskWriter(storage).finish() for _ in range(100)]
    shared = {file._shared for file in storage.files if hasattr(file, "_shared")}
    assert sum(not file.closed for file in spools) == MAX_OPEN_FILES
    assert len(shared) == 1
    assert {file._shared for file in written} == shared


def test_closing_the_storage_closes_every_file(storage):
    storage.move_to_disk([UploadFile(storage.keep(b"x", 10)) for _ in range(MAX_OPEN_FILES + 1)])
    storage.close()
    assert all(file.closed for file in storage.files)
    assert storage._shared._file.closed
