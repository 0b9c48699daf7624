import io
import shutil
import zipfile

import pytest

from spica.formparsers.shared_file import SharedSpool


@pytest.fixture
def shared():
    return SharedSpool()


@pytest.fixture
def make(shared):
    """Make a file with a content, at its start; all are closed at the end."""
    files = []

    def file(content):
        files.append(shared.open())
        files[-1].write(content)
        files[-1].seek(0)
        return files[-1]

    yield file
    for each in files:
        each.close()


def test_files_do_not_see_each_other(make):
    first, second, third = make(b"one"), make(b""), make(b"three")
    assert (first.read(), second.read(), third.read()) == (b"one", b"", b"three")


def test_a_file_is_read_in_pieces(make):
    make(b"before")
    file = make(b"0123456789")
    make(b"after")
    assert (file.read(4), file.tell(), file.read(0), file.read(99), file.read()) == (
        b"0123",
        4,
        b"",
        b"456789",
        b"",
    )


@pytest.mark.parametrize(
    ("offset", "whence", "rest"),
    [(3, io.SEEK_SET, b"3456789"), (-2, io.SEEK_END, b"89"), (5, io.SEEK_SET, b"56789")],
)
def test_a_file_is_read_from_any_position(make, offset, whence, rest):
    file = make(b"0123456789")
    assert file.seek(offset, whence) == file.tell()
    assert file.read() == rest


def test_a_position_before_the_start_is_refused(make):
    with pytest.raises(ValueError, match="negative seek position -1"):
        make(b"abc").seek(-1)


def test_lines_are_read_like_those_of_any_file(make):
    file = make(b"a\n" + b"b" * 10_000 + b"\nc")
    make(b"\nother")
    assert [len(line) for line in file] == [2, 10_001, 1]


def test_readinto_and_copyfileobj_work(make):
    file, copy, buffer = make(b"content"), io.BytesIO(), bytearray(3)
    assert file.readinto(buffer) == 3
    shutil.copyfileobj(file, copy)
    assert (bytes(buffer), copy.getvalue()) == (b"con", b"tent")


def test_an_archive_can_be_opened(make):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.txt", "hello")
    make(b"before")
    with zipfile.ZipFile(make(archive.getvalue())) as reader:
        assert reader.read("a.txt") == b"hello"


@pytest.mark.parametrize("is_last", [True, False])
def test_a_write_changes_no_other_file(make, is_last):
    before, file = make(b"before"), make(b"abc")
    after = None if is_last else make(b"after")
    file.seek(0, io.SEEK_END)
    assert file.write(b"def") == 3
    file.seek(1)
    file.write(b"X")
    file.seek(0)
    assert (before.read(), file.read()) == (b"before", b"aXcdef")
    assert after is None or after.read() == b"after"


def test_a_file_can_be_cut(make):
    file, other = make(b"abcdef"), make(b"other")
    assert file.truncate(2) == 2
    assert (file.read(), other.read()) == (b"ab", b"other")


def test_a_descriptor_is_that_of_a_file_with_this_content_only(make):
    make(b"before")
    file = make(b"abc")
    assert file.name is None
    file.seek(1)
    with open(file.fileno(), "rb", closefd=False) as own:
        own.seek(0)
        assert own.read() == b"abc"
    file.seek(1)
    assert (file.peek(1), file.read()) == (b"b", b"bc")
    assert file.name is not None


def test_the_temporary_file_is_closed_with_its_last_user(shared):
    first, second = shared.open(), shared.open()
    first.close()
    first.close()
    assert not shared._file.closed
    second.close()
    assert shared._file.closed


def test_a_file_that_was_separated_no_longer_uses_the_shared_one(shared):
    file = shared.open()
    file.rollover()
    assert not shared._file.closed
    own = file.separate()
    assert shared._file.closed
    file.flush()
    file.close()
    assert own.closed


@pytest.mark.parametrize("use", ["read", "peek", "tell", "fileno", "truncate"])
def test_a_closed_file_refuses_every_use(shared, use):
    file = shared.open()
    file.close()
    with pytest.raises(ValueError, match="closed file"):
        getattr(file, use)()


def test_a_file_tells_what_it_can_do(make):
    file = make(b"")
    assert (file.readable(), file.writable(), file.seekable(), file.mode) == (
        True,
        True,
        True,
        "rb+",
    )
