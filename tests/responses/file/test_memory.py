"""Files in memory: how long they are believed, and how many there are."""

import math
import os
import time

import pytest

from spica.responses.base import Response
from spica.responses.file import memory as filememory
from spica.responses.file.finding import Found
from spica.responses.file.memory import FileMemory, Kept, StaticMemory, get_checker

HOUR = 3600 * 10**9
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Disk:
    """What a thread finds, and how often it looked."""

    def __init__(self):
        self.found = None
        self.error = None
        self.looks = 0

    def __call__(self, path):
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.found


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def disk():
    return Disk()


def file_of(size=1000, *, mtime=0, inode=1, ctime=0, path="/a", age=HOUR):
    status = os.stat_result(
        (0o100644, inode, 1, 1, 0, 0, size, 0, 0, 0),
        {"st_mtime_ns": mtime, "st_ctime_ns": ctime},
    )
    return Found(path, status, b"x" * size, read_at=age)


def memory_for(disk, clock, **options):
    return FileMemory(StaticMemory(clock=clock, **options), disk)


def check(memory, path="a"):
    """Get a file, and wait until a thread has looked at the disk if it does."""
    kept = memory.get(path)
    get_checker().submit(int).result(timeout=60)
    return kept


def test_a_fresh_file_is_not_looked_at(disk, clock):
    memory = memory_for(disk, clock)
    memory.put("a", file_of(), clock())
    clock.now += 1.0
    assert check(memory).found.content == b"x" * 1000
    assert disk.looks == 0


def test_an_older_file_is_used_while_a_thread_looks(disk, clock):
    memory = memory_for(disk, clock)
    memory.put("a", file_of(), clock())
    disk.found = file_of()
    clock.now += 1.1
    assert check(memory) is not None
    assert disk.looks == 1
    clock.now += 0.9
    assert check(memory) is not None
    assert disk.looks == 1  # fresh again since the look


def test_one_thread_looks_for_many_requests(disk, clock):
    memory = memory_for(disk, clock)
    memory.put("a", file_of(), clock())
    kept = memory.get("a")
    kept.is_checked = True  # a thread is at work
    clock.now += 1.5
    for _ in range(10):
        assert check(memory) is kept
    assert disk.looks == 0


@pytest.mark.parametrize(
    "change",
    [{"size": 999}, {"mtime": 1}, {"inode": 2}, {"ctime": 1}, {"path": "/b"}],
    ids=str,
)
def test_a_changed_file_is_forgotten(disk, clock, change):
    memory = memory_for(disk, clock)
    memory.put("a", file_of(), clock())
    disk.found = file_of(**change)
    clock.now += 1.5
    assert check(memory) is not None
    assert memory.get("a") is None


@pytest.mark.parametrize("error", [None, PermissionError("no"), OSError(5, "broken")])
def test_a_file_that_is_gone_or_unreadable_is_forgotten(disk, clock, error):
    memory = memory_for(disk, clock)
    memory.put("a", file_of(), clock())
    disk.error = error
    clock.now += 1.5
    check(memory)
    assert memory.get("a") is None


def test_nothing_is_used_that_was_not_looked_at_for_long(disk, clock):
    # Else the first request of a day would get the file of yesterday.
    memory = memory_for(disk, clock)
    memory.put("a", file_of(), clock())
    clock.now += 2.1
    assert check(memory) is None
    assert disk.looks == 0


def test_a_file_that_had_just_changed_is_read_again_though_it_looks_the_same(disk, clock):
    # Two changes within one step of a file system's clock have the same time.
    memory = memory_for(disk, clock)
    memory.put("a", file_of(age=10**9), clock())
    disk.found = file_of()
    clock.now += 1.5
    check(memory)
    assert memory.get("a") is None


def test_a_file_that_changes_right_now_is_not_kept(disk, clock):
    memory = memory_for(disk, clock)
    memory.put("a", file_of(age=10**7), clock())
    assert memory.get("a") is None


def test_a_slow_read_does_not_replace_a_newer_one(disk, clock):
    memory = memory_for(disk, clock)
    memory.put("a", file_of(2000), clock())
    memory.put("a", file_of(1000), clock() - 1)
    assert memory.get("a").found.status.st_size == 2000
    memory.put("a", file_of(3000), clock() + 1)
    assert memory.get("a").found.status.st_size == 3000


@pytest.mark.parametrize(("size", "is_kept"), [(4095, True), (4096, True), (4097, False)])
def test_large_files_are_not_kept(disk, clock, size, is_kept):
    memory = memory_for(disk, clock, max_file_size=4096)
    memory.put("a", file_of(size), clock())
    assert (memory.get("a") is not None) is is_kept


def test_a_file_without_content_is_not_kept(disk, clock):
    memory = memory_for(disk, clock)
    memory.put("a", file_of()._replace(content=None), clock())
    assert memory.get("a") is None


def test_the_file_used_least_recently_goes_first(disk, clock):
    memory = memory_for(disk, clock, max_size=3 * 2000)
    for name in "abc":
        memory.put(name, file_of(2000), clock())
    memory.get("a")
    memory.put("d", file_of(2000), clock())
    assert [name for name in "abcd" if memory.get(name) is not None] == ["a", "c", "d"]


def test_small_files_are_not_free(disk, clock):
    memory = memory_for(disk, clock, max_size=10 * 1024)
    for number in range(1000):
        memory.put(str(number), file_of(1), clock())
    assert sum(memory.get(str(number)) is not None for number in range(1000)) == 10


def test_replacing_a_file_counts_it_once(disk, clock):
    memory = memory_for(disk, clock, max_size=5000)
    for _ in range(10):
        memory.put("a", file_of(2000), clock())
    memory.put("b", file_of(3000), clock())
    assert memory.get("a") is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_looks_with_a_thread_of_its_own(monkeypatch):
    monkeypatch.setattr(filememory, "_checker", "of the parent")
    filememory._forget_checker()  # what the hook of os.register_at_fork does
    assert get_checker().submit(int).result(timeout=60) == 0


def test_at_the_end_of_the_program_nothing_is_looked_at(disk, clock, monkeypatch):
    class Ended:
        def submit(self, *args):
            raise RuntimeError("cannot schedule new futures after shutdown")

    memory = memory_for(disk, clock)
    memory.put("a", file_of(), clock())
    clock.now += 1.5
    monkeypatch.setattr(filememory, "_checker", Ended())
    assert memory.get("a") is not None


# responses


@pytest.fixture
def kept():
    kept = Kept(file_of(3), 0.0)
    response = Response("xxx", headers={"etag": '"a"', "last-modified": DATE})
    kept.set_responses(response, Response(status_code=304, headers={"etag": '"a"'}))
    return kept


@pytest.mark.parametrize(
    ("method", "fields", "status", "body"),
    [
        ("GET", {}, 200, b"xxx"),
        ("HEAD", {}, 200, b""),
        ("GET", {b"if-none-match": b'"a"'}, 304, b""),
        ("GET", {b"if-none-match": b'W/"a"'}, 304, b""),
        ("HEAD", {b"if-none-match": b'"a"', b"accept": b"*/*"}, 304, b""),
        ("GET", {b"if-modified-since": DATE.encode()}, 304, b""),
        # RFC 9110 s.13.1.3: If-None-Match wins, and browsers send both.
        ("GET", {b"if-none-match": b'"a"', b"if-modified-since": DATE.encode()}, 304, b""),
        ("GET", {b"if-modified-since": b"x", b"if-none-match": b'"a"'}, 304, b""),
    ],
)
def test_usual_requests_have_their_response(kept, method, fields, status, body):
    answer = kept.answer(method, list(fields.items()))
    assert (answer.status_code, answer.body) == (status, body)


@pytest.mark.parametrize(
    "fields",
    [
        [(b"range", b"bytes=0-")],
        [(b"if-none-match", b"*")],
        [(b"if-none-match", b'"b"')],
        [(b"if-none-match", b'"a"'), (b"if-none-match", b'"b"')],
        [(b"if-none-match", b'"a"'), (b"if-match", b'"b"')],
        [(b"if-modified-since", b"x")],
        [(b"if-modified-since", DATE.encode()), (b"if-none-match", b'"b"')],
        [(b"if-modified-since", DATE.encode()), (b"if-modified-since", b"x")],
        [(b"if-modified-since", DATE.encode()), (b"if-unmodified-since", b"x")],
    ],
)
def test_other_preconditions_need_a_closer_look(kept, fields):
    assert kept.answer("GET", fields) is None


def test_a_response_without_validators_answers_no_precondition():
    kept = Kept(file_of(3), 0.0)
    kept.set_responses(Response("xxx"), Response(status_code=304))
    assert kept.answer("GET", [(b"if-none-match", b'"a"')]) is None
    assert kept.answer("GET", [(b"if-modified-since", b"x")]) is None
    assert kept.answer("GET", []).body == b"xxx"


def test_edits_of_a_response_do_not_reach_the_next_request(kept):
    kept.answer("GET", []).headers["set-cookie"] = "a=1"
    assert "set-cookie" not in kept.answer("GET", []).headers


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_file_size": -1}, ValueError),
        ({"max_size": 1.5}, TypeError),
        ({"max_size": True}, TypeError),
        ({"fresh_seconds": "1"}, TypeError),
        ({"fresh_seconds": math.inf}, ValueError),
        ({"fresh_seconds": math.nan}, ValueError),
    ],
)
def test_settings_that_can_not_work_are_named(options, error):
    with pytest.raises(error, match=rf"StaticMemory\({next(iter(options))}="):
        StaticMemory(**options)


def test_the_defaults():
    settings = StaticMemory()
    assert (settings.max_file_size, settings.max_size) == (64 * 1024, 32 * 1024 * 1024)
    assert (settings.fresh_seconds, settings.clock) == (1.0, time.monotonic)
