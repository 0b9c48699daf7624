"""Reading a file in pieces, on the event loop and in threads."""

import errno
import os
import threading

import pytest

from spica.responses.file import reader as filereader
from spica.responses.file.reader import FileChangedError, FileReader, examine

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def opened(path, segments, size, chunk_size=100):
    reader = FileReader(path, chunk_size)
    with reader:
        reader.open()
        reader.select(segments, size)
    return reader


def read_next(reader):
    pieces = []
    reader.read_next(pieces)
    return pieces


def is_closed(reader):
    return reader._file.closed


def test_open_returns_the_status_of_the_file(path):
    reader = FileReader(path, 100)
    with reader:
        assert reader.open().st_size == len(CONTENT)
    reader.close()
    assert is_closed(reader)


@pytest.mark.parametrize("max_size", [1, 100, 101, 1000, 5000])
def test_blocks_have_all_bytes_in_pieces_of_the_chunk_size(path, max_size):
    reader = opened(path, [(b"", 0, len(CONTENT))], len(CONTENT))
    pieces = []
    while reader.left:
        block = reader.read_block(max_size)
        assert len(b"".join(block)) < max_size + 100
        pieces += block
    assert b"".join(pieces) == CONTENT
    assert [len(piece) for piece in pieces] == [100] * 10 + [24]
    assert is_closed(reader)


def test_segments_are_texts_and_stretches_of_the_file(path):
    segments = [(b"<", 0, 3), (b"|", 1000, 1024), (b">", 0, 0)]
    reader = opened(path, segments, 30)
    assert b"".join(read_next(reader)) == b"<" + CONTENT[:3] + b"|" + CONTENT[1000:] + b">"
    assert reader.left == 0


def test_pieces_at_hand_and_blocks_take_turns(path):
    reader = opened(path, [(b"", 0, len(CONTENT))], len(CONTENT))
    pieces = []
    while reader.left:
        piece = reader.read_at_hand()
        pieces += [piece] if piece else []
        pieces += reader.read_block(1) if reader.left else []
    assert b"".join(pieces) == CONTENT
    reader.close()


@pytest.mark.skipif(not filereader._CANNOT_WAIT, reason="no way to read without waiting")
def test_what_was_just_written_is_at_hand(path):
    reader = opened(path, [(b"<", 0, 100), (b">", 0, 0)], 102)
    pieces = [reader.read_at_hand() for _ in range(3)]
    assert pieces == [b"<", CONTENT[:100], b">"]
    assert reader.left == 0
    reader.close()


@pytest.mark.parametrize("answer", [errno.EAGAIN, errno.EOPNOTSUPP, 0])
def test_what_is_not_at_hand_is_read_by_a_thread(path, monkeypatch, answer):
    def refuse(*args):
        if answer:
            raise OSError(answer, "no")
        return 0

    monkeypatch.setattr(filereader, "_preadv", refuse)
    monkeypatch.setattr(filereader, "_CANNOT_WAIT", 1)
    reader = opened(path, [(b"", 0, 10)], 10)
    assert reader.read_at_hand() is None
    assert reader.left == 10
    # Asked again only where the answer may be another one.
    assert reader._may_read_on_loop is (answer != errno.EOPNOTSUPP)
    assert read_next(reader) == [CONTENT[:10]]


def test_a_part_that_is_at_hand_is_taken(path, monkeypatch):
    def read_four(descriptor, buffers, offset, flags):
        buffers[0][:4] = CONTENT[offset : offset + 4]
        return 4

    monkeypatch.setattr(filereader, "_preadv", read_four)
    monkeypatch.setattr(filereader, "_CANNOT_WAIT", 1)
    reader = opened(path, [(b"", 0, 10)], 10)
    assert [reader.read_at_hand(), reader.read_at_hand()] == [CONTENT[:4], CONTENT[4:8]]
    assert reader.left == 2
    reader.close()


def test_without_such_a_call_nothing_is_at_hand(path, monkeypatch):
    monkeypatch.setattr(filereader, "_CANNOT_WAIT", 0)
    reader = opened(path, [(b"", 0, 10)], 10)
    assert reader.read_at_hand() is None
    reader.close()


def test_a_file_that_became_shorter_is_an_error(path):
    reader = opened(path, [(b"", 0, len(CONTENT))], len(CONTENT))
    reader.read_block(500)
    os.truncate(path, 600)
    with pytest.raises(RuntimeError) as caught:
        read_next(reader)
    assert str(caught.value) == (
        f"File at path {path} is shorter than expected. 424 bytes of the response are missing."
    )
    reader.close()
    assert is_closed(reader)


def test_an_error_of_the_disk_is_not_one_of_the_network(path):
    reader = opened(path, [(b"", 0, 10)], 10)
    directory = os.open(path.parent, os.O_RDONLY)
    os.dup2(directory, reader._file.fileno())  # which can be opened, but not read
    os.close(directory)
    with pytest.raises(RuntimeError, match=f"File at path {path} can't be read: .*directory"):
        read_next(reader)
    reader.close()


def test_close_waits_for_the_thread_that_is_at_work(path):
    reader = opened(path, [(b"", 0, 10)], 10)
    entered, may_leave = threading.Event(), threading.Event()

    def work():
        with reader:
            entered.set()
            may_leave.wait(60)
            assert reader._file.read(1)

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(60)
    reader.close()
    assert not is_closed(reader)
    may_leave.set()
    thread.join(60)
    assert is_closed(reader)


def test_a_file_opened_after_close_is_closed_again(path):
    reader = FileReader(path, 100)
    reader.close()
    with reader:
        reader.open()
    assert is_closed(reader)


@pytest.mark.parametrize("look", [examine, lambda path: FileReader(path, 1).open()])
def test_a_missing_file_is_named(tmp_path, look):
    path = tmp_path / "none"
    with pytest.raises(RuntimeError) as caught:
        look(path)
    assert str(caught.value) == f"File at path {path} does not exist."


@pytest.mark.parametrize("look", [examine, lambda path: FileReader(path, 1).open()])
def test_a_directory_is_no_file(tmp_path, look):
    with pytest.raises(RuntimeError) as caught:
        look(tmp_path)
    assert str(caught.value) == f"File at path {tmp_path} is not a file."


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RuntimeError, match="is not a file"):
        FileReader(tmp_path / "pipe", 1).open()


def test_a_file_that_vanishes_between_the_looks_is_missing(path):
    class Vanishing:
        looks = 0

        def __fspath__(self):
            self.looks += 1
            if self.looks == 2:
                path.unlink()
            return str(path)

    with pytest.raises(RuntimeError, match="does not exist"):
        FileReader(Vanishing(), 1).open()


def test_a_descriptor_is_read_whatever_is_at_the_path_now(path):
    descriptor = os.open(path, os.O_RDONLY)
    reader = FileReader(path, 1000)
    reader.adopt(descriptor, os.fstat(descriptor))
    path.unlink()
    reader.select([(b"", 0, len(CONTENT))], len(CONTENT))
    assert b"".join(reader.read_block(5000)) == CONTENT
    assert is_closed(reader)


def rewrite(path):
    path.write_bytes(bytes(len(CONTENT)))
    os.utime(path, ns=(0, 0))


def append(path):
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(0, 0))


def truncate(path):
    os.truncate(path, 500)


@pytest.mark.parametrize("at_hand", [True, False])
@pytest.mark.parametrize(("change", "breaks"), [(rewrite, True), (truncate, True), (append, False)])
def test_no_two_versions_of_a_file_are_mixed(path, change, breaks, at_hand):
    reader = opened(path, [(b"", 0, len(CONTENT))], len(CONTENT))
    assert reader.read_block(100) == [CONTENT[:100]]
    change(path)
    read = (
        reader.read_at_hand
        if at_hand and filereader._CANNOT_WAIT
        else lambda: reader.read_block(1)[0]
    )
    if breaks:
        with pytest.raises(FileChangedError):
            read()
    else:
        assert read() == CONTENT[100:200]
    reader.close()


def test_a_file_can_be_taken_as_it_is_now(path):
    reader = opened(path, [(b"", 0, len(CONTENT))], len(CONTENT))
    rewrite(path)
    reader.look_again()
    reader.select([(b"", 0, len(CONTENT))], len(CONTENT))
    assert b"".join(reader.read_block(5000)) == bytes(len(CONTENT))
