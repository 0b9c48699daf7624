"""What one request gets of a file, as layers outside see it."""

import os

import anyio
import pytest

from spica.applications import Spica
from spica.background import BackgroundTask
from spica.middleware import Middleware
from spica.middleware.base import BaseHTTPMiddleware
from spica.requests import Request
from spica.responses.file import FileResponse
from spica.responses.file import reader as filereader
from spica.routing import Route

pytestmark = pytest.mark.anyio

SMALL = b"0123456789"
LARGE = os.urandom(700_000)


@pytest.fixture(params=["small", "large", "large without reading on the loop"])
def path(request, tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    path.write_bytes(SMALL if request.param == "small" else LARGE)
    if "without" in request.param:
        monkeypatch.setattr(filereader, "_CANNOT_WAIT", 0)
    return path


def scope_for(method="GET", extensions=None, **headers):
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": raw, "query_string": b""}
    return scope if extensions is None else {**scope, "extensions": extensions}


async def settle(response, scope):
    return await response._resolve(Request(scope))


async def send_to_list(app, scope):
    messages = []

    async def send(message):
        messages.append(message)

    await app(scope, anyio.sleep_forever, send)
    return messages


def body_of(messages):
    return b"".join(message.get("body", b"") for message in messages)


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


async def test_status_and_headers_can_be_changed(path):
    answer = await settle(FileResponse(path), scope_for())
    answer.status_code = 203
    answer.headers["x-added"] = "1"
    messages = await send_to_list(answer, scope_for())
    assert messages[0]["status"] == 203
    assert (b"x-added", b"1") in messages[0]["headers"]
    assert body_of(messages) == path.read_bytes()


async def test_changes_do_not_reach_the_next_request(path):
    response = FileResponse(path, stat_result=path.stat())
    answer = await settle(response, scope_for())
    answer.headers["x-added"] = "1"
    assert "x-added" not in response.headers
    assert "x-added" not in (await settle(response, scope_for())).headers


async def test_a_status_without_content_set_outside_leaves_the_body_out(path):
    answer = await settle(FileResponse(path), scope_for())
    answer.status_code = 304
    assert body_of(await send_to_list(answer, scope_for())) == b""


async def test_the_body_can_be_iterated_over(path):
    answer = await settle(FileResponse(path), scope_for())
    assert b"".join([chunk async for chunk in answer.body_iterator]) == path.read_bytes()


async def test_the_body_of_a_path_that_would_be_sent_can_be_iterated_over(path):
    scope = scope_for(extensions={"http.response.pathsend": {}})
    answer = await settle(FileResponse(path), scope)
    assert b"".join([chunk async for chunk in answer.body_iterator]) == path.read_bytes()


async def test_a_body_that_is_iterated_over_is_sent_that_way(path):
    answer = await settle(FileResponse(path), scope_for())
    assert answer.body_iterator is answer.body_iterator
    messages = await send_to_list(answer, scope_for())
    assert body_of(messages) == path.read_bytes()
    assert messages[-1]["more_body"] is False


@pytest.mark.parametrize("extensions", [{}, {"http.response.pathsend": {}}])
async def test_the_body_can_be_replaced(path, extensions):
    async def other():
        yield b"other"

    answer = await settle(FileResponse(path), scope_for(extensions=extensions))
    answer.body_iterator = other()
    del answer.headers["content-length"]
    assert body_of(await send_to_list(answer, scope_for())) == b"other"


async def test_the_path_is_sent_where_it_can_be(path):
    scope = scope_for(extensions={"http.response.pathsend": {}})
    answer = await settle(FileResponse(path), scope)
    messages = await send_to_list(answer, scope)
    assert messages[1:] == [{"type": "http.response.pathsend", "path": str(path)}]


async def test_head_has_no_body(path):
    answer = await settle(FileResponse(path), scope_for("HEAD"))
    assert answer.headers["content-length"] == str(path.stat().st_size)
    assert [chunk async for chunk in answer.body_iterator] == []


@needs_proc
async def test_the_file_of_an_answer_that_is_dropped_is_closed(path):
    answer = await settle(FileResponse(path), scope_for())
    assert open_files(path) == (path.stat().st_size > 300_000)
    del answer
    with anyio.fail_after(30):
        while open_files(path):  # until the thread has let go of it
            await anyio.lowlevel.checkpoint()


@needs_proc
async def test_the_file_of_a_body_that_was_replaced_is_closed(path):
    async def other():
        yield b"other"

    answer = await settle(FileResponse(path), scope_for())
    answer.body_iterator = other()
    del answer.headers["content-length"]
    await send_to_list(answer, scope_for())
    assert open_files(path) == 0


@needs_proc
async def test_the_file_of_an_iteration_that_was_given_up_is_closed(path):
    answer = await settle(FileResponse(path), scope_for())
    iterator = answer.body_iterator
    await anext(iterator)
    await iterator.aclose()
    assert open_files(path) == 0


async def test_the_background_task_belongs_to_the_answer(path):
    ran = []
    task = BackgroundTask(ran.append, 1)
    answer = await settle(FileResponse(path, background=task), scope_for())
    assert answer.background is task
    await send_to_list(answer, scope_for())
    assert ran == [1]


async def test_the_background_task_runs_when_the_file_shrinks(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    ran = []
    response = FileResponse(path, background=BackgroundTask(ran.append, 1))
    answer = await settle(response, scope_for())
    os.truncate(path, 1000)
    with pytest.raises(RuntimeError, match="is shorter than expected"):
        await send_to_list(answer, scope_for())
    assert ran == [1]


async def test_a_dispatch_middleware_sees_what_the_range_made_of_it(path):
    seen = []

    async def dispatch(request, call_next):
        response = await call_next(request)
        seen.append((response.status_code, response.headers["content-range"]))
        response.headers["x-seen"] = "1"
        return response

    async def endpoint(request):
        return FileResponse(path)

    app = Spica(
        routes=[Route("/", endpoint)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    messages = await send_to_list(app, scope_for(range="bytes=2-5"))
    size = path.stat().st_size
    assert seen == [(206, f"bytes 2-5/{size}")]
    assert (b"x-seen", b"1") in messages[0]["headers"]
    assert body_of(messages) == path.read_bytes()[2:6]


async def test_a_dispatch_middleware_may_rewrite_the_body(path):
    async def dispatch(request, call_next):
        response = await call_next(request)
        chunks = [chunk async for chunk in response.body_iterator]

        async def reverse():
            yield b"".join(chunks)[::-1]

        response.body_iterator = reverse()
        return response

    async def endpoint(request):
        return FileResponse(path)

    app = Spica(
        routes=[Route("/", endpoint)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
    )
    assert body_of(await send_to_list(app, scope_for())) == path.read_bytes()[::-1]
