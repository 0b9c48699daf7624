"""Files as answers: whole, in part, or refused."""

import contextlib
import hashlib
import os
import threading

import anyio
import pytest
from asgi_kit import Exchange

from spica._asgi.body import ClientDisconnect
from spica.applications import Spica
from spica.background import BackgroundTask
from spica.exceptions import HTTPException
from spica.requests import Request
from spica.responses.file import FileResponse, guess_type
from spica.responses.file import reader as filereader
from spica.routing import Mount, Route

pytestmark = pytest.mark.anyio

TEXT = b"0123456789" * 10
BIG = os.urandom(700_000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(BIG)
    return path


class Answer:
    """Run an app for one request and keep what it sends."""

    def __init__(self, method="GET", kind="http", extensions=None, **headers):
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope = {"type": kind, "method": method, "headers": raw}
        if extensions is not None:
            self.scope["extensions"] = {name: {} for name in extensions}
        self.messages = []

    async def of(self, app):
        await app(self.scope, self.receive, self.send)
        return self

    async def receive(self):
        await anyio.sleep_forever()

    async def send(self, message):
        self.messages.append(message)

    @property
    def status(self):
        return self.messages[0]["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def bodies(self):
        return [message["body"] for message in self.messages[1:]]

    @property
    def body(self):
        return b"".join(self.bodies)


# the whole file


async def test_a_file_is_sent_with_its_headers(path):
    answer = await Answer().of(FileResponse(path))
    status = path.stat()
    tag = hashlib.md5(f"{status.st_mtime}-{status.st_size}".encode()).hexdigest()
    assert answer.status == 200
    assert list(answer.headers) == [
        "content-type",
        "accept-ranges",
        "content-length",
        "last-modified",
        "etag",
    ]
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == "100"
    assert answer.headers["last-modified"].endswith(" GMT")
    assert answer.headers["etag"] == f'"{tag}"'
    assert answer.messages[1:] == [{"type": "http.response.body", "body": TEXT, "more_body": False}]


async def test_an_empty_file_has_one_empty_message(tmp_path):
    (tmp_path / "empty").touch()
    answer = await Answer().of(FileResponse(tmp_path / "empty"))
    assert answer.headers["content-length"] == "0"
    assert answer.messages[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]


@pytest.mark.parametrize("may_read_on_loop", [True, False])
async def test_a_large_file_is_sent_in_messages_of_the_chunk_size(
    big, may_read_on_loop, monkeypatch
):
    if not may_read_on_loop:
        monkeypatch.setattr(filereader, "_CANNOT_WAIT", 0)
    answer = await Answer().of(FileResponse(big))
    assert answer.body == BIG
    assert {len(body) for body in answer.bodies[:-1]} == {64 * 1024}
    assert [message["more_body"] for message in answer.messages[1:]] == [True] * 10 + [False]


async def test_the_chunk_size_is_an_attribute_of_the_class(path):
    class Small(FileResponse):
        chunk_size = 30

    answer = await Answer().of(Small(path))
    assert [len(body) for body in answer.bodies] == [30, 30, 30, 10]


@pytest.mark.parametrize("size", [262_143, 262_144, 262_145])
async def test_files_around_the_size_of_the_first_block(tmp_path, size):
    (tmp_path / "file").write_bytes(b"x" * size)
    answer = await Answer().of(FileResponse(tmp_path / "file"))
    assert answer.body == b"x" * size
    assert answer.messages[-1]["more_body"] is False


async def test_head_sends_the_headers_only(path):
    full, head = await Answer().of(FileResponse(path)), await Answer("HEAD").of(FileResponse(path))
    assert head.messages[0] == full.messages[0]
    assert head.messages[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]


async def test_a_method_in_lower_case_is_understood(path):
    """Though ASGI asks servers for upper case."""
    assert (await Answer("head").of(FileResponse(path))).body == b""
    assert (await Answer("get", range="bytes=0-0").of(FileResponse(path))).status == 206


async def test_any_method_gets_the_file(path):
    assert (await Answer("POST").of(FileResponse(path))).body == TEXT


@pytest.mark.parametrize("status_code", [204, 304])
async def test_a_status_without_content_has_none(path, status_code):
    answer = await Answer().of(FileResponse(path, status_code=status_code))
    assert answer.status == status_code
    assert answer.body == b""
    assert "content-length" not in answer.headers
    assert {"etag", "last-modified"} <= answer.headers.keys()


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 200), ({"range": "bytes=0-1"}, 206), ({"range": "bytes=999-"}, 416)],
)
async def test_layers_outside_get_a_response_that_is_settled(path, fields, status):
    answer = Answer(**fields)
    response = await FileResponse(path)._resolve(Request(answer.scope))
    assert response._is_value
    assert response.status_code == status
    assert "content-length" in response.headers
    assert (await answer.of(response)).status == status


def test_a_subclass_with_its_own_way_of_sending_is_only_run():
    class Own(FileResponse):
        async def __call__(self, scope, receive, send):
            raise NotImplementedError

    assert FileResponse._resolve is not None
    assert Own._resolve is None
    assert not Own._is_value


async def test_one_response_answers_many_requests(path):
    response = FileResponse(path)
    first = await Answer().of(response)
    path.write_bytes(b"new")
    second = await Answer(range="bytes=0-0").of(response)
    third = await Answer().of(response)
    assert (first.body, second.body, third.body) == (TEXT, b"n", b"new")
    assert third.headers["content-length"] == "3"
    assert third.headers["etag"] != first.headers["etag"]
    assert "etag" not in response.headers


# headers and media type


@pytest.mark.parametrize(
    ("name", "options", "content_type"),
    [
        pytest.param("a.png", {}, "image/png", id="guessed"),
        pytest.param("a", {}, "application/octet-stream", id="unknown"),
        pytest.param("a.json.gz", {}, "application/gzip", id="compressed"),
        pytest.param("data:text/html,x", {}, "application/octet-stream", id="no-url"),
        pytest.param(
            "a",
            {"filename": "data:text/html,x.txt"},
            "text/plain; charset=utf-8",
            id="no-url-either",
        ),
        pytest.param("a", {"filename": "b.html"}, "text/html; charset=utf-8", id="from-filename"),
        pytest.param("a.png", {"media_type": "x/y"}, "x/y", id="given"),
        pytest.param("a.png", {"headers": {"Content-Type": "x/z"}}, "x/z", id="header"),
    ],
)
def test_content_type(name, options, content_type):
    assert FileResponse(name, **options).headers["content-type"] == content_type


def test_guess_type_is_that_of_mimetypes():
    assert guess_type("a.tar.gz") == ("application/x-tar", "gzip")


@pytest.mark.parametrize(
    ("options", "disposition"),
    [
        ({}, None),
        ({"filename": "a.txt"}, 'attachment; filename="a.txt"'),
        (
            {"filename": "a.txt", "content_disposition_type": "inline"},
            'inline; filename="a.txt"',
        ),
        ({"filename": "a.txt", "headers": {"Content-Disposition": "own"}}, "own"),
    ],
)
def test_content_disposition(options, disposition):
    assert FileResponse("x", **options).headers.get("content-disposition") == disposition


def test_a_name_beyond_ascii_is_encoded_as_in_rfc_8187():
    response = FileResponse("x", filename="ä b.txt")
    assert response.headers["content-disposition"] == (
        "attachment; filename=\"a b.txt\"; filename*=utf-8''%C3%A4%20b.txt"
    )


async def test_a_name_can_add_no_header(path):
    answer = await Answer().of(FileResponse(path, filename='a"\r\nx-evil: 1.txt'))
    assert not any(bad in answer.headers["content-disposition"] for bad in "\r\n")


async def test_given_headers_come_first_and_stay(path):
    headers = {"ETag": '"own"', "Accept-Ranges": "none", "Last-Modified": "never"}
    answer = await Answer().of(FileResponse(path, headers=headers))
    assert list(answer.headers)[:3] == ["etag", "accept-ranges", "last-modified"]
    assert answer.headers["etag"] == '"own"'
    assert answer.headers["accept-ranges"] == "none"
    assert answer.headers["last-modified"] == "never"


async def test_a_content_length_that_is_right_is_kept(path):
    answer = await Answer().of(FileResponse(path, headers={"content-length": "100"}))
    assert answer.headers["content-length"] == "100"


@pytest.mark.parametrize("length", ["99", "101", "many"])
async def test_a_content_length_that_is_wrong_is_an_error(path, length):
    answer = Answer()
    with pytest.raises(RuntimeError) as caught:
        await answer.of(FileResponse(path, headers={"content-length": length}))
    assert str(caught.value) == (
        f"FileResponse has the header Content-Length: {length}, but the file at path {path} has "
        "100 bytes. Leave the header out: it is set from the file."
    )
    assert answer.messages == []


async def test_set_stat_headers_may_be_overridden(path):
    class Versioned(FileResponse):
        def set_stat_headers(self, stat_result):
            self.headers.setdefault("etag", '"v1"')
            super().set_stat_headers(stat_result)

    response = Versioned(path)
    assert (await Answer().of(response)).headers["etag"] == '"v1"'
    assert (await Answer(range="bytes=0-1", if_range='"v1"').of(response)).status == 206


# a status given beforehand


def test_a_status_gives_the_headers_early(path):
    response = FileResponse(path, stat_result=path.stat())
    assert response.headers["content-length"] == "100"
    assert "etag" in response.headers


async def test_head_with_a_status_does_not_look_at_the_file(path):
    response = FileResponse(path, stat_result=path.stat())
    path.unlink()
    assert (await Answer("HEAD").of(response)).headers["content-length"] == "100"


async def test_a_status_that_no_longer_holds_is_replaced(path):
    response = FileResponse(path, stat_result=path.stat(), headers={"x-own": "1"})
    early = response.headers["etag"]
    path.write_bytes(TEXT + b"more")
    answer = await Answer().of(response)
    assert answer.body == TEXT + b"more"
    assert answer.headers["content-length"] == "104"
    assert answer.headers["etag"] != early
    assert answer.headers["x-own"] == "1"


@pytest.mark.parametrize("fields", [{}, {"range": "bytes=0-1"}])
async def test_a_file_shorter_than_its_status_is_not_sent(path, fields):
    response = FileResponse(path, stat_result=path.stat())
    path.write_bytes(TEXT[:90])
    answer = Answer(**fields)
    with pytest.raises(RuntimeError) as caught:
        await answer.of(response)
    assert answer.messages == []
    assert str(caught.value) == (
        f"File at path {path} is shorter than expected. 10 bytes of the response are missing."
    )


# files that can't be sent


async def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        await Answer().of(FileResponse(tmp_path / "none"))
    assert str(caught.value) == f"File at path {tmp_path / 'none'} does not exist."


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_directory_is_an_error(tmp_path, method):
    with pytest.raises(RuntimeError) as caught:
        await Answer(method).of(FileResponse(tmp_path))
    assert str(caught.value) == f"File at path {tmp_path} is not a file."


class Truncating(Answer):
    """A client during whose request the file is cut off."""

    def __init__(self, path, size):
        super().__init__()
        self.path = path
        self.size = size

    async def send(self, message):
        if not self.messages:
            os.truncate(self.path, self.size)
        await super().send(message)


async def test_a_file_that_shrinks_leaves_the_answer_incomplete(big):
    answer = Truncating(big, 300_000)
    with pytest.raises(RuntimeError, match="is shorter than expected"):
        await answer.of(FileResponse(big))
    assert BIG[:300_000].startswith(answer.body)
    assert answer.messages[-1]["more_body"] is True
    assert answer.messages[-1]["more_body"] is True


async def test_of_a_file_that_grows_the_declared_length_is_sent(big):
    class Growing(Answer):
        async def send(self, message):
            with big.open("ab") as file:
                file.write(b"more")
            await super().send(message)

    answer = await Growing().of(FileResponse(big))
    assert answer.body == BIG
    assert answer.headers["content-length"] == str(len(BIG))


# ranges: RFC 9110 section 14


async def test_a_range_is_answered_with_206(path):
    answer = await Answer(range="bytes=10-14").of(FileResponse(path))
    assert answer.status == 206
    assert answer.headers["content-range"] == "bytes 10-14/100"
    assert answer.headers["content-length"] == "5"
    assert answer.body == TEXT[10:15]


async def test_a_large_range(big):
    answer = await Answer(range="bytes=100000-650000").of(FileResponse(big))
    assert answer.body == BIG[100_000:650_001]
    assert answer.messages[-1]["more_body"] is False


async def test_several_ranges_are_parts_of_one_body(path):
    answer = await Answer(range="bytes=0-4,10-11,-1").of(FileResponse(path))
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    part = f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes"
    assert answer.status == 206
    assert answer.body.decode() == (
        f"{part} 0-4/100\r\n\r\n01234\r\n{part} 10-11/100\r\n\r\n01\r\n"
        f"{part} 99-99/100\r\n\r\n9\r\n--{boundary}--"
    )
    assert answer.headers["content-length"] == str(len(answer.body))
    assert [message["more_body"] for message in answer.messages[1:]][-2:] == [True, False]


@pytest.mark.parametrize("may_read_on_loop", [True, False])
async def test_several_large_ranges(big, may_read_on_loop, monkeypatch):
    if not may_read_on_loop:
        monkeypatch.setattr(filereader, "_CANNOT_WAIT", 0)
    answer = await Answer(range="bytes=0-399999,500000-").of(FileResponse(big))
    assert BIG[:400_000] in answer.body
    assert BIG[500_000:] in answer.body
    assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("value", ["bytes=0-4", "bytes=0-4,10-14", "bytes=900-", "bytes=9-1"])
async def test_head_ignores_a_range(path, value):
    # RFC 9110 s.14.2: GET is the only method for which Range is defined.
    answer = await Answer("HEAD", range=value).of(FileResponse(path))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(TEXT))
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-", 0, 100),
        ("bytes=0-0", 0, 1),
        ("bytes=-1", 99, 100),
        ("bytes=-500", 0, 100),
        ("bytes=99-1000", 99, 100),
        ("Bytes = 5 - 9", 5, 10),
        ("bytes=0-4,3-9", 0, 10),
        ("bytes=0-0,900-", 0, 1),
    ],
)
async def test_ranges_as_players_send_them(path, value, start, stop):
    # RFC 9110 s.14.1.1, s.14.1.2, s.15.3.7.2
    answer = await Answer(range=value).of(FileResponse(path))
    assert (answer.status, answer.body) == (206, TEXT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/100"


async def test_other_methods_have_no_ranges(path):
    answer = await Answer("POST", range="bytes=0-4").of(FileResponse(path))
    assert (answer.status, answer.body) == (200, TEXT)


async def test_an_unknown_unit_is_ignored(path):
    answer = await Answer(range="lines=0-4").of(FileResponse(path))
    assert (answer.status, answer.body) == (200, TEXT)


async def test_a_malformed_range_is_a_400(path):
    answer = await Answer(range="bytes=9-1").of(FileResponse(path))
    assert answer.status == 400
    assert answer.body == b"Range header: start must be less than end"


async def test_a_range_outside_is_a_416(path):
    answer = await Answer(range="bytes=100-").of(FileResponse(path))
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */100"
    assert answer.body == b""


async def test_the_number_of_ranges_is_an_attribute_of_the_class(path):
    class Few(FileResponse):
        max_ranges = 1

    assert (await Answer(range="bytes=0-0").of(Few(path))).status == 206
    assert (await Answer(range="bytes=0-0,2-2").of(Few(path))).status == 200


async def test_if_range_with_another_tag_gets_the_whole_file(path):
    answer = await Answer(range="bytes=0-4", if_range='"other"').of(FileResponse(path))
    assert (answer.status, answer.body) == (200, TEXT)


async def test_if_range_with_the_date_gets_the_range(path):
    date = FileResponse(path, stat_result=path.stat()).headers["last-modified"]
    answer = await Answer(range="bytes=0-4", if_range=date).of(FileResponse(path))
    assert answer.status == 206


def test_generate_multipart_tells_length_and_headers():
    length, header = FileResponse("x").generate_multipart([(0, 2), (3, 4)], "b", 5, "text/plain")
    first = b"--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/5\r\n\r\n"
    assert header(0, 2) == first
    assert length == 2 * len(first) + 3 + 2 * len("\r\n") + len("--b--")


# preconditions: RFC 9110 section 13


async def test_preconditions_are_not_looked_at_by_default(path):
    assert (await Answer(if_none_match="*").of(FileResponse(path))).status == 200


async def test_a_conditional_response_answers_304(path):
    answer = await Answer(if_none_match="*").of(FileResponse(path, conditional=True))
    assert answer.status == 304
    assert list(answer.headers) == ["etag"]
    assert answer.body == b""


async def test_a_304_keeps_cookies_and_cache_control(path):
    response = FileResponse(path, conditional=True, headers={"cache-control": "no-cache"})
    response.set_cookie("a", "b")
    answer = await Answer(if_none_match="*").of(response)
    assert sorted(answer.headers) == ["cache-control", "etag", "set-cookie"]


async def test_a_conditional_response_answers_412(path):
    answer = await Answer(if_match='"other"').of(FileResponse(path, conditional=True))
    assert (answer.status, answer.body) == (412, b"Precondition Failed")


# extensions


async def test_a_server_that_can_is_given_the_path(path):
    answer = await Answer(extensions=["http.response.pathsend"]).of(FileResponse(path))
    assert answer.headers["content-length"] == "100"
    assert answer.messages[1:] == [{"type": "http.response.pathsend", "path": str(path)}]


async def test_the_path_given_is_absolute(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    answer = await Answer(extensions=["http.response.pathsend"]).of(FileResponse(path.name))
    assert answer.messages[1]["path"] == str(path)


@pytest.mark.parametrize(
    "options", [{"method": "HEAD"}, {"range": "bytes=0-4"}, {"range": "lines=0-4"}]
)
async def test_the_path_is_not_given_for_head_and_ranges(path, options):
    answer = await Answer(extensions=["http.response.pathsend"], **options).of(FileResponse(path))
    assert answer.messages[1]["type"] == "http.response.body"


async def test_a_file_may_deny_a_websocket(big):
    answer = Answer(kind="websocket", extensions=["websocket.http.response"])
    del answer.scope["method"]
    await answer.of(FileResponse(big))
    kinds = {message["type"] for message in answer.messages}
    assert kinds == {"websocket.http.response.start", "websocket.http.response.body"}
    assert answer.body == BIG


# clients that leave


class Leaving(Answer):
    """A client that leaves after some messages; its server says so on receive, or also on send."""

    def __init__(self, after, send_fails=False):
        super().__init__()
        self.after = after
        self.send_fails = send_fails
        self.has_left = anyio.Event()

    async def receive(self):
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if len(self.messages) >= self.after:
            self.has_left.set()
            if self.send_fails:
                raise OSError("gone")
        await super().send(message)
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def huge(tmp_path):
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    return path


@pytest.mark.parametrize("may_read_on_loop", [True, False])
async def test_sending_stops_when_the_client_leaves(huge, may_read_on_loop, monkeypatch):
    if not may_read_on_loop:
        monkeypatch.setattr(filereader, "_CANNOT_WAIT", 0)
    answer = Leaving(after=10)
    ran = []
    await answer.of(FileResponse(huge, background=BackgroundTask(ran.append, 1)))
    assert len(answer.messages) < 1024
    assert answer.messages[-1]["more_body"] is True
    assert ran == [1]


async def test_a_file_that_was_read_at_once_stops_too_when_the_client_leaves(path):
    """A server lets ``send`` wait for a slow client."""
    path.write_bytes(BIG[: 3 * FileResponse.chunk_size])

    class Slow(Leaving):
        async def send(self, message):
            await super().send(message)
            if message["type"] == "http.response.body":
                self.has_left.set()
                await anyio.sleep_forever()

    answer, ran = Slow(after=10), []
    with anyio.fail_after(30):
        await answer.of(FileResponse(path, background=BackgroundTask(ran.append, 1)))
    assert len(answer.messages) == 2
    assert ran == [1]


@pytest.mark.parametrize("after", [0, 1, 10])
async def test_a_send_that_fails_is_a_disconnect(huge, after):
    answer = Leaving(after, send_fails=True)
    ran = []
    with pytest.raises(ClientDisconnect):
        await answer.of(FileResponse(huge, background=BackgroundTask(ran.append, 1)))
    assert len(answer.messages) == after
    assert ran == [1]


def open_files(path):
    """Count the descriptors of this process that are this file."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            count += os.path.samefile(f"/proc/self/fd/{number}", path)
        except FileNotFoundError:  # closed meanwhile, or nothing that has a path
            pass
    return count


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("size", [0, 100, 300_000])
async def test_files_are_closed_at_the_end(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    await Answer().of(FileResponse(path))
    assert open_files(path) == 0


@needs_proc
async def test_open_files_are_counted(path):
    with path.open("rb"), path.open("rb"):
        assert open_files(path) == 2


@needs_proc
@pytest.mark.parametrize("send_fails", [True, False])
async def test_files_are_closed_when_the_client_leaves(huge, send_fails):
    answer = Leaving(10, send_fails)
    with contextlib.suppress(ClientDisconnect):
        await answer.of(FileResponse(huge))
    assert 10 <= len(answer.messages) < huge.stat().st_size // FileResponse.chunk_size
    assert open_files(huge) == 0


@needs_proc
async def test_files_are_closed_when_the_sending_is_cancelled(huge):
    class Slow(Answer):
        async def send(self, message):
            await super().send(message)
            if len(self.messages) == 10:
                scope.cancel()
            await anyio.lowlevel.checkpoint()

    answer = Slow()
    with anyio.CancelScope() as scope:
        await answer.of(FileResponse(huge))
    assert len(answer.messages) == 10
    assert open_files(huge) == 0


@needs_proc
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_files_are_closed_when_a_task_is_cancelled_while_a_thread_is_at_work(huge):
    import asyncio

    entered, may_go_on = threading.Event(), threading.Event()

    class Slow(FileResponse):
        def set_stat_headers(self, stat_result):
            entered.set()
            may_go_on.wait(60)
            super().set_stat_headers(stat_result)

    task = asyncio.ensure_future(Answer().of(Slow(huge)))
    await anyio.to_thread.run_sync(entered.wait, 10)
    assert open_files(huge) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_go_on.set()
    with anyio.fail_after(30):
        while open_files(huge):
            await asyncio.sleep(0)


@needs_proc
async def test_files_are_closed_when_they_can_not_be_sent(big):
    with pytest.raises(RuntimeError):
        await Truncating(big, 1000).of(FileResponse(big))
    assert open_files(big) == 0


# background tasks


@pytest.mark.parametrize("value", ["bytes=0-1", "bytes=100-", "bytes=oops", "lines=1"])
async def test_the_background_task_runs_whatever_was_answered(path, value):
    response = FileResponse(path, background=BackgroundTask(path.unlink))
    await Answer(range=value).of(response)
    assert not path.exists()


async def test_a_long_file_lets_others_run(huge):
    """Also where nothing has to be waited for, neither for the disk nor for the client."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await Answer().of(FileResponse(huge))
        group.cancel_scope.cancel()
    assert turns > 32


class NoThread(FileResponse):
    """A file for which no thread is free."""

    async def _answer(self, scope):
        raise HTTPException(503)


@pytest.mark.parametrize("by_value", [True, False], ids=["by value", "by messages"])
@pytest.mark.parametrize(("cls", "status"), [(NoThread, 503), (FileResponse, 500)])
async def test_the_background_task_runs_where_the_file_can_not_be_sent(
    cls, status, by_value, tmp_path
):
    ran = []

    async def endpoint(request):
        task = BackgroundTask(ran.append, 1)
        return cls(tmp_path / "missing", background=task)

    async def app(scope, receive, send):
        await (await endpoint(None))(scope, receive, send)

    route = Route("/", endpoint) if by_value else Mount("/", app)
    exchange = await Exchange().run(Spica(routes=[route]))
    assert (exchange.status, ran) == (status, [1])
