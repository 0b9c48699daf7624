"""The files of directories and packages: what is found, and what is never."""

import copy
import os
import pickle
import sys
import time

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spica.datastructures import Headers
from spica.exceptions import HTTPException
from spica.middleware.gzip import GZipMiddleware
from spica.requests import Request
from spica.responses.base import Response
from spica.responses.file import FileResponse
from spica.responses.file.finding import Finding
from spica.responses.file.memory import get_checker
from spica.responses.file.reader import FIRST_BLOCK_SIZE
from spica.staticfiles import NotModifiedResponse, StaticFiles, StaticMemory

pytestmark = pytest.mark.anyio

SECRET = "not to be seen"


@pytest.fixture
def root(tmp_path):
    """A directory to serve, with a secret beside it."""
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "inner.txt").write_text(SECRET)
    root = tmp_path / "public"
    (root / "css" / "deep").mkdir(parents=True)
    (root / ".well-known").mkdir()
    (root / ".git").mkdir()
    for name in (
        "a.txt",
        "css/style.css",
        "css/deep/x.css",
        "css/index.html",
        ".env",
        ".git/config",
        ".well-known/security.txt",
    ):
        (root / name).write_text(name)
    return root


def scope_for(path, method="GET", root_path="", query_string=b"", extensions=None, **headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "query_string": query_string,
        "headers": raw,
    }
    return scope if extensions is None else {**scope, "extensions": extensions}


class Answer:
    """What an app sends for one request."""

    def __init__(self):
        self.messages = []

    async def send(self, message):
        self.messages.append(message)

    @property
    def status(self):
        return self.messages[0]["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self):
        return b"".join(message["body"] for message in self.messages[1:])


async def get(app, path, **options):
    answer = Answer()
    await app(scope_for(path, **options), anyio.sleep_forever, answer.send)
    return answer


async def status_of(app, path, **options):
    try:
        return (await get(app, path, **options)).status
    except HTTPException as exc:
        return exc.status_code


# files


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/a.txt", b"a.txt"),
        ("a.txt", b"a.txt"),
        ("//a.txt", b"a.txt"),
        ("/./a.txt", b"a.txt"),
        ("/css/../a.txt", b"a.txt"),
        ("/css//style.css", b"css/style.css"),
        ("/css/deep/x.css", b"css/deep/x.css"),
        ("/.well-known/security.txt", b".well-known/security.txt"),
    ],
)
async def test_a_file_is_served(root, path, content):
    answer = await get(StaticFiles(directory=root), path)
    assert answer.status == 200
    assert answer.body == content
    assert answer.headers["content-length"] == str(len(content))
    assert "etag" in answer.headers


async def test_the_prefix_of_a_mount_is_not_part_of_the_name(root):
    answer = await get(StaticFiles(directory=root), "/static/a.txt", root_path="/static")
    assert answer.body == b"a.txt"


@pytest.mark.parametrize(
    "size", [0, FIRST_BLOCK_SIZE - 1, FIRST_BLOCK_SIZE, FIRST_BLOCK_SIZE + 1, 1_000_000]
)
async def test_files_of_all_sizes_are_served(root, size):
    content = os.urandom(size)
    (root / "file.bin").write_bytes(content)
    answer = await get(StaticFiles(directory=root), "/file.bin")
    assert answer.body == content
    assert answer.headers["content-length"] == str(size)
    assert answer.messages[-1]["more_body"] is False


async def test_head_sends_headers_only(root):
    answer = await get(StaticFiles(directory=root), "/a.txt", method="HEAD")
    assert answer.headers["content-length"] == "5"
    assert answer.body == b""


@pytest.mark.parametrize("value", ["bytes=1-2", "bytes=0-0,2-2"])
@pytest.mark.parametrize("size", [5, FIRST_BLOCK_SIZE + 1])
async def test_ranges_are_served(root, value, size):
    (root / "file").write_bytes(b"abcde".ljust(size))
    answer = await get(StaticFiles(directory=root), "/file", range=value)
    assert answer.status == 206
    assert answer.headers["content-length"] == str(len(answer.body))
    assert (b"bc" if value == "bytes=1-2" else b"\r\n\r\na\r\n") in answer.body


PATHSEND = {"http.response.pathsend": {}}


async def test_a_server_that_can_is_given_the_path_where_links_are_followed(root):
    app = StaticFiles(directory=root, follow_symlink=True, memory=None)
    answer = await get(app, "/a.txt", extensions=PATHSEND)
    assert answer.messages[1] == {"type": "http.response.pathsend", "path": str(root / "a.txt")}


@pytest.mark.parametrize("size", [5, FIRST_BLOCK_SIZE + 1])
async def test_no_server_opens_a_path_again_where_links_are_not_followed(root, size):
    # Between our look and the server's, a link may take the place of the file.
    (root / "a.txt").write_bytes(b"x" * size)
    answer = await get(StaticFiles(directory=root), "/a.txt", extensions=PATHSEND)
    assert answer.body == b"x" * size


class SwapAfterLook:
    """A function of the system that puts a link in the place of a file after it has seen it."""

    def __init__(self, function, file, target):
        self.function, self.file, self.target = function, file, target
        self.has_swapped = False

    def __call__(self, *args, **kwargs):
        result = self.function(*args, **kwargs)
        if args[0] == self.file.name or isinstance(args[0], int):
            self.swap()
        return result

    def swap(self):
        if not self.has_swapped:
            self.has_swapped = True
            self.file.unlink()
            self.file.symlink_to(self.target)


@pytest.mark.parametrize("size", [5, FIRST_BLOCK_SIZE + 1])
@pytest.mark.parametrize(("function", "expected"), [("stat", 404), ("open", 200), ("fstat", 200)])
async def test_a_link_that_is_swapped_in_is_never_followed(
    root, monkeypatch, function, expected, size
):
    file = root / "css" / "style.css"
    file.write_bytes(b"x" * size)
    swap = SwapAfterLook(getattr(os, function), file, root.parent / "secret.txt")
    answer = Answer()
    app = StaticFiles(directory=root)
    with monkeypatch.context() as patch:
        patch.setattr(os, function, swap)
        try:
            await app(scope_for("/css/style.css"), anyio.sleep_forever, answer.send)
            status = answer.status
        except HTTPException as exc:
            status = exc.status_code
    assert swap.has_swapped
    assert status == expected
    assert answer.messages == [] or answer.body == b"x" * size


async def test_a_link_that_is_swapped_in_behind_a_look_up_of_ones_own_is_not_followed(root):
    class Own(StaticFiles):
        def lookup_path(self, path):
            found = super().lookup_path(path)
            SwapAfterLook(os.stat, root / "a.txt", root.parent / "secret.txt").swap()
            return found

    assert await status_of(Own(directory=root), "/a.txt") == 404


async def test_a_status_that_was_made_by_hand_is_believed(root):
    class Own(StaticFiles):
        def lookup_path(self, path):
            return str(root / "a.txt"), os.stat_result((0o100644, 0, 0, 1, 0, 0, 5, 0, 0, 0))

    assert (await get(Own(directory=root), "/a.txt")).body == b"a.txt"


class Changing(Answer):
    """Receive an answer, and change the file as soon as it begins."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    async def send(self, message):
        await super().send(message)
        if message["type"] == "http.response.start":
            self.change()


LARGE = b"x" * (3 * FIRST_BLOCK_SIZE)


def replace(path):
    path.with_name("new").write_bytes(b"y" * len(LARGE))
    path.with_name("new").replace(path)


def append(path):
    with path.open("ab") as file:
        file.write(b"y")


def truncate(path):
    os.truncate(path, 10)


def rewrite(path):
    path.write_bytes(b"y" * len(LARGE))
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [replace, append, os.unlink])
async def test_a_file_that_is_replaced_while_it_is_sent_is_sent_to_its_end(root, change):
    (root / "a.txt").write_bytes(LARGE)
    answer = Changing(lambda: change(root / "a.txt"))
    await StaticFiles(directory=root)(scope_for("/a.txt"), anyio.sleep_forever, answer.send)
    assert answer.headers["content-length"] == str(len(LARGE))
    assert answer.body == LARGE


@pytest.mark.parametrize("change", [truncate, rewrite])
async def test_a_file_that_is_written_to_while_it_is_sent_breaks_the_answer_off(root, change):
    (root / "a.txt").write_bytes(LARGE)
    answer = Changing(lambda: change(root / "a.txt"))
    with pytest.raises(RuntimeError, match=r"shorter than expected|changed while it was read"):
        await StaticFiles(directory=root)(scope_for("/a.txt"), anyio.sleep_forever, answer.send)
    assert LARGE.startswith(answer.body)
    assert answer.messages[-1].get("more_body", True) is True


@pytest.mark.parametrize("change", [truncate, rewrite])
async def test_a_file_that_changes_before_it_is_sent_is_sent_as_it_is_then(root, change):
    class Own(StaticFiles):
        def file_response(self, full_path, *args):
            response = super().file_response(full_path, *args)
            change(root / "a.txt")
            return response

    (root / "a.txt").write_bytes(LARGE)
    answer = await get(Own(directory=root), "/a.txt")
    assert answer.body == (root / "a.txt").read_bytes()
    assert answer.headers["content-length"] == str(len(answer.body))
    again = await get(StaticFiles(directory=root), "/a.txt", method="HEAD")
    assert again.headers == answer.headers


async def test_a_page_for_a_path_of_a_subclass_may_have_a_slash(root):
    class SinglePage(StaticFiles):
        async def get_response(self, path, scope):
            try:
                return await super().get_response(path, scope)
            except HTTPException:
                return await super().get_response("a.txt", scope)

    assert (await get(SinglePage(directory=root), "/users/1/")).body == b"a.txt"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a list of open files")
@pytest.mark.parametrize(
    "fields", [{}, {"if_none_match": "*"}, {"if_match": '"x"'}, {"range": "bytes=-5"}]
)
async def test_no_descriptor_stays_open(root, fields):
    (root / "a.txt").write_bytes(LARGE)
    app = StaticFiles(directory=root, html=True)
    before = set(os.listdir("/proc/self/fd"))
    for path in ("/a.txt", "/a.txt/", "/css/style.css", "/none"):
        for method in ("GET", "HEAD"):
            await status_of(app, path, method=method, **fields)
    assert set(os.listdir("/proc/self/fd")) == before


async def test_the_first_directory_that_has_a_file_counts(root, tmp_path, monkeypatch):
    package = tmp_path / "somepackage"
    (package / "statics").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "statics" / "a.txt").write_text("of the package")
    (package / "statics" / "b.txt").write_text("only there")
    monkeypatch.syspath_prepend(tmp_path)
    app = StaticFiles(directory=root, packages=["somepackage"])
    assert (await get(app, "/a.txt")).body == b"a.txt"
    assert (await get(app, "/b.txt")).body == b"only there"


async def test_a_folder_of_a_package_can_be_named(tmp_path, monkeypatch):
    folder = tmp_path / "otherpackage" / "web" / "files"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("x")
    monkeypatch.syspath_prepend(tmp_path)
    app = StaticFiles(packages=[("otherpackage", "web/files")])  # a namespace package at that
    assert (await get(app, "/a.txt")).body == b"x"


async def test_a_relative_directory_is_below_the_working_directory(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert (await get(StaticFiles(directory="public"), "/a.txt")).body == b"a.txt"


# what is not found


@pytest.mark.parametrize(
    "path",
    [
        "/none",
        "/",
        "",
        "/css",
        "/css/",
        "/a.txt/",
        "/a.txt//",
        "/a.txt/.",
        "/css/style.css/",
        "/a.txt/b",
        "/" + "x" * 255,
        "/" + "x" * 256,
        "/" + "x" * 100_000,
        "/" + "x/" * 10_000,
        "/a.txt\0",
        "/a.txt\0.png",
        "/\0",
        "/\udcff",
        "/\ud800\x01",
    ],
)
async def test_what_is_no_file_is_a_404(root, path):
    assert await status_of(StaticFiles(directory=root), path) == 404


TRAVERSALS = [
    "/../secret.txt",
    "/../../../../../../../../../../etc/passwd",
    "/css/../../secret.txt",
    "/css/deep/../../../secret.txt",
    "/./../secret.txt",
    "/..//secret.txt",
    "//../secret.txt",
    "..",
    "/..",
    "/../public/../secret.txt",
    "/../public/a.txt",
    "//etc/passwd",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/..\\secret.txt",
    "/..\\..\\etc\\passwd",
    "\\..\\secret.txt",
    "/css\\..\\..\\secret.txt",
    "/.../secret.txt",
    "/..\0/secret.txt",
    "/C:/Windows/win.ini",
    "/C:\\Windows\\win.ini",
    "/\\\\server\\share\\secret.txt",
    "/file:///etc/passwd",
    "/~root/.profile",
]


@pytest.mark.parametrize("path", TRAVERSALS)
@pytest.mark.parametrize("follow_symlink", [True, False])
@pytest.mark.parametrize("html", [True, False])
async def test_no_spelling_leads_out_of_the_directory(root, path, follow_symlink, html):
    app = StaticFiles(directory=root, follow_symlink=follow_symlink, html=html, dotfiles=True)
    assert await status_of(app, path) == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.txt", "css/../../secret.txt"])
@pytest.mark.parametrize("follow_symlink", [True, False])
def test_look_up_refuses_what_get_path_would_never_give(root, path, follow_symlink):
    app = StaticFiles(directory=root, follow_symlink=follow_symlink)
    assert app.lookup_path(path) == ("", None)


def test_look_up_of_an_absolute_path_of_our_own_finds_nothing(root):
    assert StaticFiles(directory=root).lookup_path(str(root / "a.txt")) == ("", None)


PIECES = ["..", ".", "/", "\\", "secret.txt", "secrets", "inner.txt", "css", "out", "%2e", "\0"]


@given(st.lists(st.sampled_from(PIECES), max_size=10), st.booleans(), st.booleans())
@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_combination_leads_out_of_the_directory(root, pieces, html, dotfiles):
    if not (root / "out").is_symlink():
        (root / "out").symlink_to(root.parent)
    app = StaticFiles(directory=root, html=html, dotfiles=dotfiles)
    path = app.get_path(scope_for("/" + "".join(pieces)))
    finding = Finding(app._open, path, is_html=html, max_size=1000)
    finding.run()
    assert finding.found is None or finding.found.content != SECRET.encode()


# links


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("out.txt", "../secret.txt"),
        ("out.txt", "../../etc/passwd"),
        ("out", ".."),
        ("css/out", "../../secrets"),
        ("loop", "loop"),
    ],
)
@pytest.mark.parametrize("rest", ["", "/secret.txt", "/inner.txt"])
async def test_links_do_not_lead_out(root, name, target, rest):
    (root / name).symlink_to(target)
    assert await status_of(StaticFiles(directory=root), f"/{name}{rest}") == 404


async def test_links_lead_out_when_they_may(root):
    (root / "out").symlink_to(root.parent)
    app = StaticFiles(directory=root, follow_symlink=True)
    assert (await get(app, "/out/secret.txt")).body == SECRET.encode()


@pytest.mark.parametrize("follow_symlink", [True, False])
async def test_links_inside_the_directory_are_followed(root, follow_symlink):
    (root / "css" / "link.txt").symlink_to("../a.txt")
    app = StaticFiles(directory=root, follow_symlink=follow_symlink)
    assert (await get(app, "/css/link.txt")).body == b"a.txt"


async def test_a_directory_beside_with_the_same_beginning_is_outside(root):
    beside = root.parent / "public-not"
    beside.mkdir()
    (beside / "x").write_text(SECRET)
    (root / "link").symlink_to(beside / "x")
    assert await status_of(StaticFiles(directory=root), "/link") == 404


async def test_the_directory_itself_may_be_a_link(root):
    (root.parent / "current").symlink_to(root)
    (root / "link.txt").symlink_to("a.txt")
    app = StaticFiles(directory=root.parent / "current")
    assert (await get(app, "/a.txt")).body == b"a.txt"
    assert (await get(app, "/link.txt")).body == b"a.txt"


# dotfiles


@pytest.mark.parametrize("path", ["/.env", "/.git/config", "/css/../.env", "/.git", "/..a"])
async def test_names_with_a_leading_dot_are_hidden(root, path):
    (root / "..a").write_text("x")
    assert await status_of(StaticFiles(directory=root), path) == 404
    assert await status_of(StaticFiles(directory=root, html=True), path) == 404


@pytest.mark.parametrize("path", ["/.env", "/.git/config"])
async def test_names_with_a_leading_dot_are_served_when_asked_for(root, path):
    assert await status_of(StaticFiles(directory=root, dotfiles=True), path) == 200


async def test_the_directory_may_have_a_leading_dot(root):
    assert await status_of(StaticFiles(directory=root / ".git"), "/config") == 200


# methods and kinds of connections


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
async def test_other_methods_are_a_405(root, method):
    with pytest.raises(HTTPException) as caught:
        await get(StaticFiles(directory=root), "/a.txt", method=method)
    assert caught.value.status_code == 405
    assert caught.value.headers == {"Allow": "GET, HEAD"}


async def test_a_websocket_is_closed(root):
    answer = Answer()
    await StaticFiles(directory=root)({"type": "websocket", "path": "/"}, None, answer.send)
    assert answer.messages == [{"type": "websocket.close", "code": 1000, "reason": ""}]


async def test_a_lifespan_is_not_served(root):
    with pytest.raises(RuntimeError) as caught:
        await StaticFiles(directory=root)({"type": "lifespan"}, None, None)
    assert str(caught.value) == "StaticFiles serves HTTP, not a scope of type 'lifespan'."


async def test_the_answer_can_be_had_as_a_value(root):
    request = Request(scope_for("/a.txt", range="bytes=0-1"))
    response = await StaticFiles(directory=root)._layer_respond(request)
    assert isinstance(response, Response)
    assert response.status_code == 206
    assert response.headers["content-length"] == "2"


async def test_a_subclass_that_returns_no_response_is_named(root):
    class Own(StaticFiles):
        async def get_response(self, path, scope):
            return "text"

    with pytest.raises(TypeError, match=r"Own.get_response .* returned 'text' of type str, but"):
        await get(Own(directory=root), "/a.txt")


# preconditions: RFC 9110 section 13


@pytest.mark.parametrize("size", [5, FIRST_BLOCK_SIZE + 1])
async def test_a_copy_that_is_still_good_is_a_304(root, size):
    (root / "file").write_bytes(b"x" * size)
    app = StaticFiles(directory=root)
    first = await get(app, "/file")
    for fields in (
        {"if_none_match": first.headers["etag"]},
        {"if_none_match": f'"other", W/{first.headers["etag"]}'},
        {"if_none_match": "*"},
        {"if_modified_since": first.headers["last-modified"]},
        {"if_none_match": first.headers["etag"], "range": "bytes=0-1"},
    ):
        answer = await get(app, "/file", **fields)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers == {"etag": first.headers["etag"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"if_none_match": '"other"'},
        {"if_modified_since": "Sun, 06 Nov 1994 08:49:37 GMT"},
        {"if_modified_since": "garbage"},
        {"if_none_match": '"other"', "if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    ],
)
@pytest.mark.parametrize("size", [5, FIRST_BLOCK_SIZE + 1])
async def test_a_copy_that_is_not_good_is_replaced(root, fields, size):
    (root / "file").write_bytes(b"x" * size)
    answer = await get(StaticFiles(directory=root), "/file", **fields)
    assert (answer.status, len(answer.body)) == (200, size)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"if_match": '"other"'}, 412),
        ({"if_match": "*"}, 200),
        ({"if_unmodified_since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
        ({"if_unmodified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
    ],
)
async def test_a_precondition_that_failed_is_a_412(root, fields, status):
    assert await status_of(StaticFiles(directory=root), "/a.txt", **fields) == status


def test_is_not_modified_takes_headers():
    app, ours = StaticFiles(directory="."), Headers({"etag": 'W/"a"'})
    assert app.is_not_modified(ours, Headers({"if-none-match": '"a"'}))
    assert not app.is_not_modified(ours, Headers({"if-none-match": '"b"'}))
    assert not app.is_not_modified(ours, Headers({}))
    two_lines = [(b"if-none-match", b'"b"'), (b"if-none-match", b'"a"')]
    assert app.is_not_modified(ours, Headers(raw=two_lines))


def test_a_304_keeps_only_the_headers_that_belong_there():
    headers = Headers({"ETag": "1", "Set-Cookie": "x", "Last-Modified": "y", "Vary": "z"})
    response = NotModifiedResponse(headers)
    assert response.status_code == 304
    assert response.raw_headers == [(b"etag", b"1"), (b"vary", b"z")]


# HTML mode


async def test_a_directory_is_answered_with_its_index(root):
    answer = await get(StaticFiles(directory=root, html=True), "/css/")
    assert (answer.status, answer.body) == (200, b"css/index.html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_top_has_an_index(root):
    (root / "index.html").write_text("top")
    assert (await get(StaticFiles(directory=root, html=True), "/")).body == b"top"
    mounted = await get(StaticFiles(directory=root, html=True), "/x/", root_path="/x")
    assert mounted.body == b"top"


@pytest.mark.parametrize(
    ("path", "options", "location"),
    [
        ("/css", {}, "/css/"),
        ("/css", {"query_string": b"a=1&b=%20"}, "/css/?a=1&b=%20"),
        ("/static/css", {"root_path": "/static"}, "/static/css/"),
        ("/a b", {}, "/a%20b/"),
        ("/q?#%41", {}, "/q%3F%23%2541/"),
        ("//css", {}, "/%2Fcss/"),
        ("/\\css", {}, "/%5Ccss/"),
    ],
)
async def test_a_directory_is_redirected_to_its_slash(root, path, options, location):
    for name in ("a b", "q?#%41", "\\css"):
        (root / name).mkdir()
        (root / name / "index.html").touch()
    answer = await get(StaticFiles(directory=root, html=True), path, **options)
    assert answer.status == 307
    assert answer.headers["location"] == location


async def test_a_page_of_its_own_says_what_is_not_found(root):
    (root / "404.html").write_text("nothing here")
    app = StaticFiles(directory=root, html=True)
    for path in ("/none", "/css/deep/", "/.env", "/../secret.txt", "/" + "x" * 300):
        answer = await get(app, path)
        assert (answer.status, answer.body) == (404, b"nothing here")


@pytest.mark.parametrize(
    "fields", [{"if_none_match": "*"}, {"range": "bytes=0-1"}, {"if_match": '"x"'}]
)
async def test_the_page_is_no_200_and_so_has_no_preconditions(root, fields):
    (root / "404.html").write_text("nothing here")
    answer = await get(StaticFiles(directory=root, html=True), "/none", **fields)
    assert (answer.status, answer.body) == (404, b"nothing here")


async def test_a_file_with_a_slash_gets_the_page_for_what_is_not_found(root):
    (root / "404.html").write_text("not here")
    answer = await get(StaticFiles(directory=root, html=True), "/a.txt/")
    assert (answer.status, answer.body) == (404, b"not here")


@pytest.mark.parametrize("name", ["a.json.gz", "a.svgz", "a.tgz", "a.GZ"])
async def test_a_compressed_file_has_the_type_of_its_format(root, name):
    # RFC 9110 s.8.4: without Content-Encoding, the type is that of the bytes that are sent.
    (root / name).write_bytes(b"x" * 600)
    answer = await get(
        GZipMiddleware(StaticFiles(directory=root)), f"/{name}", accept_encoding="gzip"
    )
    assert answer.headers["content-type"] == "application/gzip"
    assert "content-encoding" not in answer.headers


async def test_without_html_there_is_no_index_and_no_page(root):
    (root / "404.html").touch()
    for path in ("/css/", "/none"):
        with pytest.raises(HTTPException) as caught:
            await get(StaticFiles(directory=root), path)
        assert caught.value.detail == "Not Found"


async def test_a_directory_named_index_html_is_no_index(root):
    (root / "css" / "deep" / "index.html").mkdir()
    assert await status_of(StaticFiles(directory=root, html=True), "/css/deep/") == 404


# what the system refuses


needs_permissions = pytest.mark.skipif(
    sys.platform == "win32" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="this user may read everything",
)


@needs_permissions
async def test_a_file_that_may_not_be_read_is_a_401(root):
    (root / "a.txt").chmod(0)
    assert await status_of(StaticFiles(directory=root), "/a.txt") == 401


class Failing(StaticFiles):
    """Look-ups that fail as the system might."""

    def __init__(self, error):
        super().__init__(directory=".")
        self.error = error

    def lookup_path(self, path):
        raise self.error


async def test_a_look_up_without_permission_is_a_401():
    assert await status_of(Failing(PermissionError("no")), "/a") == 401


async def test_an_error_of_the_disk_is_not_hidden():
    with pytest.raises(OSError, match="broken"):
        await get(Failing(OSError(5, "broken")), "/a")


async def test_a_file_that_vanishes_after_it_was_found_is_a_404(root):
    class Vanishing(StaticFiles):
        def lookup_path(self, path):
            found = super().lookup_path(path)
            (root / "a.txt").unlink()
            return found

    assert await status_of(Vanishing(directory=root), "/a.txt") == 404


# subclasses


async def test_every_method_may_be_overridden(root):
    calls = []

    class Own(StaticFiles):
        def get_directories(self, directory=None, packages=None):
            calls.append("get_directories")
            return [root]

        async def check_config(self):
            calls.append("check_config")

        def get_path(self, scope):
            calls.append("get_path")
            return "other"

        async def get_response(self, path, scope):
            calls.append("get_response")
            return await super().get_response("a.txt", scope)

        def lookup_path(self, path):
            calls.append("lookup_path")
            return super().lookup_path(path)

        def file_response(self, full_path, stat_result, scope, status_code=200):
            calls.append("file_response")
            response = super().file_response(full_path, stat_result, scope, status_code)
            response.headers["x-own"] = "1"
            return response

        def is_not_modified(self, response_headers, request_headers):
            calls.append("is_not_modified")
            return False

    answer = await get(Own(), "/none")
    assert answer.body == b"a.txt"
    assert answer.headers["x-own"] == "1"
    assert calls == [
        "get_directories",
        "check_config",
        "get_path",
        "get_response",
        "lookup_path",
        "file_response",
        "is_not_modified",
    ]


async def test_a_subclass_may_answer_with_something_else(root):
    class Own(StaticFiles):
        def file_response(self, full_path, stat_result, scope, status_code=200):
            return Response(f"own {os.path.basename(full_path)}")

    assert (await get(Own(directory=root), "/a.txt")).body == b"own a.txt"


async def test_a_subclass_may_answer_with_another_file(root):
    class Own(StaticFiles):
        def file_response(self, full_path, stat_result, scope, status_code=200):
            return FileResponse(root / "css/style.css", status_code=202)

    answer = await get(Own(directory=root), "/a.txt")
    assert (answer.status, answer.body) == (202, b"css/style.css")


async def test_get_response_may_be_called_directly(root):
    response = await StaticFiles(directory=root).get_response("a.txt", {"method": "GET"})
    assert response.status_code == 200
    assert response.media_type == "text/plain"


# settings


def test_the_settings_are_attributes(root):
    app = StaticFiles(directory=root, html=True, follow_symlink=True)
    assert app.directory == root
    assert app.packages is None
    assert app.all_directories == [root]
    assert (app.html, app.follow_symlink, app.dotfiles) == (True, True, False)
    assert app.config_checked is False


@pytest.mark.parametrize("name", ["none", "a.txt"])
def test_a_directory_that_is_none_is_an_error(root, name):
    path = root / name
    with pytest.raises(RuntimeError) as caught:
        StaticFiles(directory=path)
    assert str(caught.value) == (
        f"Directory '{path}' does not exist: there is no directory at {os.path.abspath(path)!r}, "
        "which StaticFiles(directory=...) names. Pass check_dir=False if you create it later."
    )
    with pytest.raises(RuntimeError, match="Run the build first: spica static build SRC OUT"):
        StaticFiles(directory=path, manifest="manifest.json")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none", "StaticFiles directory '{}' does not exist."),
        ("a.txt", "StaticFiles path '{}' is not a directory."),
    ],
)
async def test_a_directory_checked_late_is_an_error_of_the_first_request(root, name, text):
    app = StaticFiles(directory=root / name, check_dir=False)
    with pytest.raises(RuntimeError) as caught:
        await get(app, "/a.txt")
    assert str(caught.value) == text.format(root / name)


async def test_a_directory_may_come_later(root):
    app = StaticFiles(directory=root / "later", check_dir=False)
    (root / "later").mkdir()
    (root / "later" / "x").write_text("x")
    assert (await get(app, "/x")).body == b"x"


@pytest.mark.parametrize(
    ("packages", "text"),
    [
        (["nosuchpackage"], "Package 'nosuchpackage' could not be found."),
        (["nosuchpackage.inner"], "Package 'nosuchpackage.inner' could not be found."),
        (["json"], "Directory ''statics'' in package 'json' could not be found."),
        ([("json", "x")], "Directory ''x'' in package 'json' could not be found."),
    ],
)
def test_a_package_that_is_not_there_is_an_error(packages, text):
    with pytest.raises(RuntimeError) as caught:
        StaticFiles(packages=packages)
    assert str(caught.value) == text


@pytest.mark.parametrize("packages", ["json", 5, True])
def test_packages_are_a_list(packages):
    with pytest.raises(TypeError, match=rf"packages={packages!r}\): give a list of package names"):
        StaticFiles(packages=packages)


@pytest.mark.parametrize("options", [{}, {"packages": []}])
def test_nothing_to_serve_is_an_error(options):
    with pytest.raises(ValueError) as caught:
        StaticFiles(**options)
    assert str(caught.value) == (
        "StaticFiles has nothing to serve: pass directory='...', packages=[...], or both."
    )


async def test_a_subclass_may_find_its_files_elsewhere(root):
    class Own(StaticFiles):
        def lookup_path(self, path):
            return str(root / "a.txt"), os.stat(root / "a.txt")

    assert (await get(Own(), "/anything")).body == b"a.txt"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"packages": "json"},
            "StaticFiles(packages='json'): give a list of package names, or of pairs of a package "
            "name and a folder in it, for example packages=['json'].",
        ),
        (
            {"directory": 3},
            "StaticFiles(directory=3): a path is a str or os.PathLike, not int.",
        ),
    ],
)
def test_a_setting_of_another_type_is_an_error(options, text):
    with pytest.raises(TypeError) as caught:
        StaticFiles(**options)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["html", "check_dir", "follow_symlink", "dotfiles"])
def test_a_string_is_no_flag(root, name):
    """``dotfiles="false"`` would serve the secret files."""
    with pytest.raises(TypeError, match=f"StaticFiles: {name} must be True or False"):
        StaticFiles(directory=root, **{name: "false"})


# memory


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Visits:
    """Count how often a file is opened on the disk."""

    def __init__(self, monkeypatch):
        self.count = 0
        self.open = os.open
        monkeypatch.setattr(os, "open", self)

    def __call__(self, path, *args, **kwargs):
        self.count += not os.path.isdir(path) and str(path).endswith((".txt", ".css", ".html"))
        return self.open(path, *args, **kwargs)


@pytest.fixture
def clock(monkeypatch):
    # Files that the test has just written count as old, so that they are kept.
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)
    return Clock()


@pytest.fixture
def visits(monkeypatch):
    return Visits(monkeypatch)


def remembering(root, clock, cls=StaticFiles, **options):
    return cls(directory=root, memory=StaticMemory(clock=clock), **options)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"if_none_match": "*"},
        {"range": "bytes=1-2"},
        {"range": "bytes=9-"},
        {"if_match": '"b"'},
    ],
    ids=str,
)
async def test_a_file_in_memory_is_answered_as_from_the_disk(root, clock, visits, method, fields):
    app = remembering(root, clock)
    answers = []
    for _ in range(3):
        answer = Answer()
        try:
            await app(scope_for("/a.txt", method, **fields), anyio.sleep_forever, answer.send)
        except HTTPException as exc:
            answers.append(exc.status_code)
        else:
            answers.append((answer.status, sorted(answer.headers.items()), answer.body))
    assert answers[1:] == answers[:1] * 2
    assert visits.count == 1


async def test_a_304_from_memory_takes_no_thread(root, clock, visits):
    app = remembering(root, clock)
    etag = (await get(app, "/a.txt", method="HEAD")).headers["etag"]
    answer = await get(app, "/a.txt", if_none_match=etag)
    assert (answer.status, answer.headers["etag"], visits.count) == (304, etag, 1)


@pytest.mark.parametrize("path", ["/css/", "/"])
async def test_an_index_is_kept_and_its_bare_path_redirected(root, clock, visits, path):
    (root / "index.html").write_text("top")
    app = remembering(root, clock, html=True)
    first, second = await get(app, path), await get(app, path)
    assert (second.status, second.body, visits.count) == (200, first.body, 1)
    assert (await get(app, path.rstrip("/"))).status == 307


async def test_a_slash_behind_a_file_in_memory_is_a_404(root, clock):
    app = remembering(root, clock)
    await get(app, "/a.txt")
    assert [await status_of(app, path) for path in ("/a.txt/", "/a.txt/.")] == [404, 404]


def wait_for_checks():
    get_checker().submit(int).result(timeout=60)


def new_content(root):
    (root / "a.txt").write_bytes(b"newer")


def new_file(root):
    (root / "b.txt").write_bytes(b"newer")
    (root / "b.txt").replace(root / "a.txt")


def shorter(root):
    os.truncate(root / "a.txt", 2)


def link_inside(root):
    (root / "b.txt").write_bytes(b"newer")
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to("b.txt")


@pytest.mark.parametrize(
    ("change", "content"),
    [(new_content, b"newer"), (new_file, b"newer"), (shorter, b"a."), (link_inside, b"newer")],
)
@pytest.mark.parametrize("steps", [[0.5] * 6, [1.0, 1.0, 1.0], [3.0]], ids=str)
async def test_a_change_is_served_within_three_seconds(root, clock, change, content, steps):
    app = remembering(root, clock)
    assert (await get(app, "/a.txt")).body == b"a.txt"
    change(root)
    seen = []
    for seconds in steps:
        clock.now += seconds
        answer = await get(app, "/a.txt")
        assert answer.headers["content-length"] == str(len(answer.body))
        seen.append(answer.body)
        wait_for_checks()
    assert seen[-1] == content
    assert set(seen) <= {b"a.txt", content}


def delete(root):
    (root / "a.txt").unlink()


def link_outside(root):
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to("../secret.txt")


def forbid(root):
    (root / "a.txt").chmod(0)


@pytest.mark.parametrize(
    ("change", "status"),
    [(delete, 404), (link_outside, 404), pytest.param(forbid, 401, marks=needs_permissions)],
)
async def test_a_file_that_may_no_longer_be_served_is_gone_within_three_seconds(
    root, clock, change, status
):
    app = remembering(root, clock)
    await get(app, "/a.txt")
    change(root)
    for _ in range(3):
        clock.now += 1.0
        last = await status_of(app, "/a.txt")
        wait_for_checks()
    assert last == status


async def test_a_file_that_comes_first_now_replaces_one_in_memory(root, tmp_path, clock):
    (tmp_path / "first").mkdir()

    class Two(StaticFiles):
        def get_directories(self, directory=None, packages=None):
            return [tmp_path / "first", root]

    app = remembering(root, clock, Two)
    assert (await get(app, "/a.txt")).body == b"a.txt"
    (tmp_path / "first" / "a.txt").write_bytes(b"first")
    clock.now += 3.0
    assert (await get(app, "/a.txt")).body == b"first"


class Debugged:
    debug = True


@pytest.mark.parametrize(
    ("options", "app"), [({"memory": None}, None), ({}, Debugged())], ids=["none", "debug"]
)
async def test_without_memory_each_request_sees_the_disk(root, clock, options, app):
    files = StaticFiles(directory=root, **options)
    for content in (b"one", b"two"):
        (root / "a.txt").write_bytes(content)
        answer = Answer()
        await files({**scope_for("/a.txt"), "app": app}, anyio.sleep_forever, answer.send)
        assert answer.body == content


async def test_large_files_are_not_kept(root, clock, visits):
    (root / "a.txt").write_bytes(LARGE)
    app = remembering(root, clock)
    assert [(await get(app, "/a.txt")).body == LARGE for _ in range(2)] == [True, True]
    assert visits.count == 2


class OwnLookup(StaticFiles):
    def lookup_path(self, path):
        self.calls.append(path)
        return super().lookup_path(path)


class OwnFileResponse(StaticFiles):
    def file_response(self, *args, **kwargs):
        self.calls.append(args[0])
        return super().file_response(*args, **kwargs)


class OwnNotModified(StaticFiles):
    def is_not_modified(self, response_headers, request_headers):
        self.calls.append(response_headers)
        return False


class OwnResponse(StaticFiles):
    async def get_response(self, path, scope):
        self.calls.append(path)
        return await super().get_response(path, scope)


class OwnPath(StaticFiles):
    def get_path(self, scope):
        self.calls.append(scope)
        return super().get_path(scope)


@pytest.mark.parametrize("cls", [OwnLookup, OwnFileResponse, OwnNotModified, OwnResponse, OwnPath])
async def test_memory_bypasses_no_method_of_a_subclass(root, clock, cls):
    app = remembering(root, clock, cls)
    app.calls = []
    for _ in range(3):
        assert (await get(app, "/a.txt")).status == 200
    assert len(app.calls) == 3


async def test_a_method_that_is_replaced_later_is_not_bypassed(root, clock, monkeypatch):
    app = remembering(root, clock)
    await get(app, "/a.txt")
    monkeypatch.setattr(app, "file_response", lambda *args: Response("own"))
    assert (await get(app, "/a.txt")).body == b"own"
    monkeypatch.setattr(app, "lookup_path", lambda path: ("", None))
    assert await status_of(app, "/a.txt") == 404


async def test_a_layer_that_edits_a_response_from_memory_edits_its_own(root, clock):
    app = remembering(root, clock)
    for _ in range(3):
        request = Request(scope_for("/a.txt"))
        response = await app._layer_respond(request)
        assert "set-cookie" not in response.headers
        response.headers["set-cookie"] = "a=1"


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda app: pickle.loads(pickle.dumps(app))])
async def test_a_copy_of_the_app_has_a_memory_of_its_own(root, copy_of):
    app = StaticFiles(directory=root)
    await get(app, "/a.txt")
    other = copy_of(app)
    assert (await get(other, "/a.txt")).body == b"a.txt"
    assert other._memory is not app._memory
    assert other._memory._find.__self__ is other


async def test_a_subclass_without_our_constructor_has_no_memory(root):
    class Own(StaticFiles):
        def __init__(self):
            self.directory, self.html, self.all_directories = root, False, [root]

    assert (await get(Own(), "/a.txt")).body == b"a.txt"


def test_a_memory_of_another_type_is_an_error(root):
    with pytest.raises(TypeError, match=r"StaticFiles\(memory=32\): pass StaticMemory"):
        StaticFiles(directory=root, memory=32)
