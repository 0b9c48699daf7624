"""Tests of spica/responses/file/delivery.py, through StaticFiles."""

import copy
import gzip
import hashlib
import json
import os
import pickle
import re
import threading

import pytest
from asgi_kit import call

from spica._http.codings import ENCODERS
from spica.applications import Spica
from spica.middleware import Middleware
from spica.middleware.compression import CompressionMiddleware
from spica.requests import Request
from spica.responses import PlainTextResponse
from spica.responses.file.memory import get_checker
from spica.routing import Mount, NoMatchFound, Route
from spica.staticfiles import StaticFiles, StaticMemory

pytestmark = pytest.mark.anyio

SCRIPT = b"let a = 1\n" * 100
IMMUTABLE = "public, max-age=31536000, immutable"
HTML = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
LONG_AGO = 1_700_000_000


def encode(coding, content):
    return ENCODERS[coding](4).encode(content, is_end=True)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "public"
    (root / "assets").mkdir(parents=True)
    write(root / "app.js", SCRIPT)
    write(root / "app.js.br", encode("br", SCRIPT))
    write(root / "app.js.gz", encode("gzip", SCRIPT))
    write(root / "plain.txt", b"plain")
    write(root / "index.html", b"<h1>app</h1>")
    write(root / "assets" / "app.0123456789.js", SCRIPT)
    manifest = {"app.js": "assets/app.0123456789.js"}
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def write(path, content, at=LONG_AGO):
    path.write_bytes(content)
    os.utime(path, (at, at))


class Clock:
    """The time of the memory, which only tests move on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def app_with(root, **options):
    return Spica(routes=[Mount("/", StaticFiles(directory=root, **options), name="static")])


async def get(app, path, encodings=None, method="GET", **fields):
    headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
    if encodings is not None:
        headers.append(("accept-encoding", encodings))
    return await call(app, method, path, headers=headers)


MEMORY = pytest.mark.parametrize("memory", [None, StaticMemory()], ids=["disk", "memory"])


# -- compressed siblings ---------------------------------------------------------------------------------


@MEMORY
@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),  # there is no .zst
        ("gzip", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("identity", None),
        (None, None),
        ("br;q=0", None),
    ],
)
async def test_a_client_gets_the_best_sibling(root, memory, accept, coding):
    app = app_with(root, precompressed=["zstd", "br", "gzip"], memory=memory)
    for _ in range(2):
        exchange = await get(app, "/app.js", accept)
        assert exchange.headers.get("content-encoding") == coding
        assert exchange.body == (encode(coding, SCRIPT) if coding else SCRIPT)
        assert exchange.headers["content-type"].startswith("text/javascript")
        assert exchange.headers["content-length"] == str(len(exchange.body))
        assert exchange.headers["vary"] == "Accept-Encoding"


@MEMORY
@pytest.mark.parametrize("etag", ["stat", "content"])
async def test_each_sibling_has_its_own_tag(root, memory, etag):
    app = app_with(root, precompressed=["br", "gz"], memory=memory, etag=etag)
    tags = {}
    for accept in ("br", "gzip", "identity"):
        exchange = await get(app, "/app.js", accept)
        tags[accept] = exchange.headers["etag"]
        again = await get(app, "/app.js", accept, if_none_match=tags[accept])
        assert (again.status, again.headers["etag"]) == (304, tags[accept])
        assert again.headers["vary"] == "Accept-Encoding"
    assert len(set(tags.values())) == 3
    other = await get(app, "/app.js", "gzip", if_none_match=tags["br"])
    assert other.status == 200


async def test_siblings_of_one_size_and_time_have_different_tags(root):
    for name in ("app.js.br", "app.js.gz"):
        write(root / name, b"same size")
    app = app_with(root, precompressed=["br", "gzip"])
    tags = {(await get(app, "/app.js", accept)).headers["etag"] for accept in ("br", "gzip")}
    assert len(tags) == 2


async def test_a_range_is_one_of_the_sibling(root):
    app = app_with(root, precompressed=["br"])
    exchange = await get(app, "/app.js", "br", range="bytes=2-5")
    assert (exchange.status, exchange.body) == (206, encode("br", SCRIPT)[2:6])
    assert exchange.headers["content-encoding"] == "br"


async def test_head_has_the_fields_of_get(root):
    app = app_with(root, precompressed=["br"], memory=None)
    head = await get(app, "/app.js", "br", "HEAD")
    assert head.headers == (await get(app, "/app.js", "br")).headers
    assert head.body == b""


@MEMORY
async def test_a_sibling_that_is_older_than_the_file_is_not_used(root, memory):
    write(root / "app.js.br", encode("br", b"old"), LONG_AGO - 1)
    app = app_with(root, precompressed=["br", "gzip"], memory=memory)
    exchange = await get(app, "/app.js", "br, gzip")
    assert exchange.headers["content-encoding"] == "gzip"


@MEMORY
async def test_a_sibling_that_may_not_be_read_is_not_used(root, memory):
    class Forbidden(StaticFiles):
        def lookup_path(self, path):
            if path.endswith(".br"):
                raise PermissionError
            return super().lookup_path(path)

    app = Forbidden(directory=root, precompressed=["br"], memory=memory)
    exchange = await get(app, "/app.js", "br")
    assert exchange.body == SCRIPT


async def test_a_sibling_in_another_directory_belongs_to_the_file_there(
    root, tmp_path, monkeypatch
):
    """The first directory overrides one file of a package, but not its sibling."""
    statics = tmp_path / "packagewithsiblings" / "statics"
    statics.mkdir(parents=True)
    for name in ("own.js", "theirs.js"):
        write(statics / name, b"package")
        write(statics / f"{name}.br", encode("br", b"package"))
    write(root / "own.js", b"own")
    monkeypatch.syspath_prepend(tmp_path)
    app = app_with(root, packages=["packagewithsiblings"], precompressed=["br"])
    assert (await get(app, "/own.js", "br")).body == b"own"
    assert (await get(app, "/theirs.js", "br")).headers["content-encoding"] == "br"


async def test_a_sibling_without_its_file_is_not_served(root):
    (root / "app.js").unlink()
    app = app_with(root, precompressed=["br"])
    assert (await get(app, "/app.js", "br")).status == 404


async def test_a_sibling_under_its_own_name_is_a_file(root):
    exchange = await get(app_with(root, precompressed=["br"]), "/app.js.br", "br")
    assert exchange.headers["content-type"] == "application/x-brotli"
    assert "content-encoding" not in exchange.headers


async def test_a_directory_is_no_sibling(root):
    (root / "plain.txt.br").mkdir()
    exchange = await get(app_with(root, precompressed=["br"]), "/plain.txt", "br")
    assert exchange.text == "plain"


async def test_the_index_of_a_directory_has_siblings(root):
    write(root / "index.html.gz", gzip.compress(b"<h1>app</h1>"))
    exchange = await get(app_with(root, precompressed=["gzip"], html=True), "/", "gzip")
    assert gzip.decompress(exchange.body) == b"<h1>app</h1>"
    assert exchange.headers["content-type"] == "text/html; charset=utf-8"


async def test_memory_notices_that_a_file_is_newer_than_its_sibling(root):
    clock = Clock()
    app = app_with(root, precompressed=["br"], memory=StaticMemory(clock=clock))
    assert (await get(app, "/app.js", "br")).headers["content-encoding"] == "br"
    write(root / "app.js", b"new", LONG_AGO + 1)
    clock.now += 1.5
    await get(app, "/app.js", "br")  # starts the check
    get_checker().submit(int).result()
    assert (await get(app, "/app.js", "br")).text == "new"


async def test_a_sibling_is_not_compressed_again(root):
    files = StaticFiles(directory=root, precompressed=["br"])
    app = Spica(routes=[Mount("/", files)], middleware=[Middleware(CompressionMiddleware)])
    exchange = await get(app, "/app.js", "br")
    assert exchange.body == encode("br", SCRIPT)
    assert exchange.headers["vary"] == "Accept-Encoding"


async def test_a_subclass_edits_the_response_of_a_sibling(root):
    class Marked(StaticFiles):
        def file_response(self, *args, **kwargs):
            response = super().file_response(*args, **kwargs)
            response.headers["x-own"] = "1"
            return response

    app = Spica(routes=[Mount("/", Marked(directory=root, precompressed=["br"]))])
    for _ in range(2):
        exchange = await get(app, "/app.js", "br")
        assert (exchange.headers["x-own"], exchange.body) == ("1", encode("br", SCRIPT))


# -- Cache-Control and the manifest ----------------------------------------------------------------------


@MEMORY
async def test_one_cache_control_for_all_files(root, memory):
    app = app_with(root, cache_control="max-age=60", memory=memory)
    for path in ("/app.js", "/plain.txt", "/plain.txt"):
        assert (await get(app, path)).headers["cache-control"] == "max-age=60"
    tag = (await get(app, "/app.js")).headers["etag"]
    not_modified = await get(app, "/app.js", if_none_match=tag)
    assert not_modified.headers["cache-control"] == "max-age=60"
    assert "cache-control" not in (await get(app, "/missing.js")).headers


async def test_a_function_decides_by_the_path(root):
    paths = []

    def decide(path):
        paths.append(path)
        return "no-store" if path.startswith("assets/") else None

    app = app_with(root, cache_control=decide, precompressed=["br"])
    assert "cache-control" not in (await get(app, "/app.js", "br")).headers
    exchange = await get(app, "/assets//app.0123456789.js")
    assert exchange.headers["cache-control"] == "no-store"
    assert paths == ["app.js", "assets/app.0123456789.js"]


@MEMORY
async def test_only_hashed_names_are_immutable(root, memory):
    app = app_with(root, manifest="manifest.json", memory=memory)
    for _ in range(2):
        hashed = await get(app, "/assets/app.0123456789.js")
        assert hashed.headers["cache-control"] == IMMUTABLE
        assert (await get(app, "/app.js")).headers["cache-control"] == "no-cache"
    assert (await get(app, "/assets/app.9999999999.js")).status == 404


async def test_cache_control_is_for_files_without_hash(root):
    app = app_with(root, manifest="manifest.json", cache_control="max-age=60")
    assert (await get(app, "/app.js")).headers["cache-control"] == "max-age=60"
    hashed = await get(app, "/assets/app.0123456789.js")
    assert hashed.headers["cache-control"] == IMMUTABLE


def test_url_for_returns_the_hashed_name(root):
    app = app_with(root, manifest="manifest.json")
    assert app.url_path_for("static", path="app.js") == "/assets/app.0123456789.js"
    assert app.url_path_for("static", path="/app.js") == "/assets/app.0123456789.js"
    assert app.url_path_for("static", path="plain.txt") == "/plain.txt"


async def test_request_url_for_returns_the_hashed_name_below_mounts(root):
    async def page(request):
        return PlainTextResponse(str(request.url_for("site:static", path="app.js")))

    files = StaticFiles(directory=root, manifest=root / "manifest.json")
    site = [Route("/page", page), Mount("/files", files, name="static")]
    app = Spica(routes=[Mount("/site", routes=site, name="site")])
    exchange = await get(app, "/site/page", host="a.example")
    assert exchange.text == "http://a.example/site/files/assets/app.0123456789.js"


async def test_in_debug_mode_an_unknown_name_is_an_error(root):
    files = StaticFiles(directory=root, manifest="manifest.json")
    site = Mount("/site", routes=[Mount("/files", files, name="static")], name="site")
    app = Spica(debug=True, routes=[Mount("/files", files, name="static"), site])
    for name in ("static", "site:static"):
        with pytest.raises(NoMatchFound, match=r"The manifest has no 'aap\.js'"):
            app.url_path_for(name, path="aap.js")
        scope = {"type": "http", "app": app, "router": app.router, "headers": [], "path": "/"}
        with pytest.raises(NoMatchFound, match=r"The manifest has no 'aap\.js'"):
            Request(scope).url_for(name, path="aap.js")
    assert app.url_path_for("static", path="app.js") == "/files/assets/app.0123456789.js"
    app.debug = False
    assert app.url_path_for("site:static", path="aap.js") == "/site/files/aap.js"


# -- the fallback ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/", {}, 200),
        ("/users/7", {}, 200),
        ("/users/", {}, 200),
        ("/assets", {}, 200),  # a directory
        ("/v1.2/users", {}, 200),
        ("/users/7", {"accept": "text/html;q=0.1"}, 200),
        ("/users/7", {"accept": "*/*"}, 200),
        ("/users/7", {"accept": "text/*"}, 200),
        ("/users/7", {"accept": "application/json"}, 404),
        ("/users/7", {"accept": "application/json, text/plain, */*"}, 404),
        ("/users/7", {"accept": "text/html;q=0, */*"}, 404),
        ("/users/7", {"accept": "image/png"}, 404),
        ("/assets/app.9999999999.js", {}, 404),
        ("/favicon.ico", {}, 404),
        ("/.env", {}, 404),
        ("/a\0b", {}, 404),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_which_requests_get_the_fallback(root, path, fields, status, method):
    app = app_with(root, fallback="index.html", manifest="manifest.json")
    exchange = await get(app, path, method=method, **{"accept": HTML[1], **fields})
    assert exchange.status == status
    if status == 200:
        assert exchange.body == (b"<h1>app</h1>" if method == "GET" else b"")
        assert exchange.headers["cache-control"] == "no-cache"
        assert exchange.headers["vary"] == "Accept"
        assert exchange.headers["content-type"] == "text/html; charset=utf-8"
    else:  # RFC 9110 s.12.5.5: a cache may keep a 404
        assert exchange.headers["vary"] == "Accept"


async def test_the_fallback_is_never_kept_for_long(root):
    app = app_with(root, fallback="/index.html", cache_control=IMMUTABLE)
    assert (await get(app, "/users")).headers["cache-control"] == "no-cache"
    assert (await get(app, "/plain.txt")).headers["cache-control"] == IMMUTABLE


async def test_the_fallback_can_be_revalidated_and_has_siblings(root):
    write(root / "index.html.br", encode("br", b"<h1>app</h1>"))
    app = app_with(root, fallback="index.html", precompressed=["br"])
    first = await get(app, "/users", "br")
    assert first.headers["content-encoding"] == "br"
    assert first.headers["vary"] == "Accept-Encoding, Accept"
    again = await get(app, "/other", "br", if_none_match=first.headers["etag"])
    assert (again.status, again.headers["cache-control"]) == (304, "no-cache")


async def test_other_methods_and_earlier_routes_do_not_get_the_fallback(root):
    async def api(request):
        return PlainTextResponse("api")

    files = StaticFiles(directory=root, fallback="index.html")
    app = Spica(routes=[Route("/api", api), Mount("/", files)])
    assert (await get(app, "/api")).text == "api"
    assert (await get(app, "/users", method="POST")).status == 405


async def test_the_fallback_comes_before_the_page_for_404(root):
    write(root / "404.html", b"missing")
    app = app_with(root, fallback="index.html", html=True)
    assert (await get(app, "/users")).text == "<h1>app</h1>"
    missing = await get(app, "/missing.js")
    assert (missing.status, missing.text) == (404, "missing")


# -- tags of the content ---------------------------------------------------------------------------------


@MEMORY
@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
async def test_the_tag_depends_on_the_content_only(root, memory, size):
    content = b"x" * size
    app = app_with(root, etag="content", memory=memory)
    for name, at in (("one.txt", LONG_AGO), ("two.txt", LONG_AGO + 77)):
        write(root / name, content, at)
        exchange = await get(app, f"/{name}")
        assert exchange.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        assert exchange.body == content
        tag = exchange.headers["etag"]
        assert (await get(app, f"/{name}", if_none_match=tag)).status == 304
        head = await get(app, f"/{name}", method="HEAD")
        assert (head.headers["etag"], head.headers["content-length"]) == (tag, str(size))
        part = await get(app, f"/{name}", range="bytes=1-4", if_range=tag)
        assert (part.status, part.body) == (206, b"xxxx")


async def test_a_changed_file_has_another_tag(root):
    app = app_with(root, etag="content", memory=None)
    before = (await get(app, "/plain.txt")).headers["etag"]
    write(root / "plain.txt", b"other", LONG_AGO + 1)
    exchange = await get(app, "/plain.txt", if_none_match=before)
    assert (exchange.status, exchange.text) == (200, "other")


def test_the_settings_survive_a_copy(root):
    files = StaticFiles(directory=root, etag="content", precompressed=["br"], fallback="index.html")
    for twin in (copy.deepcopy(files), pickle.loads(pickle.dumps(files))):
        assert twin._delivery.fallback == "index.html"


# -- files that change under load ------------------------------------------------------------------------


@MEMORY
@pytest.mark.parametrize("etag", ["stat", "content"])
async def test_replaced_files_are_never_mixed(root, memory, etag):
    """Each response is one whole version, with the tag and the encoding of that version."""
    versions = [b"%d " % number * 3000 for number in range(4)]
    tags = {}
    stop = threading.Event()

    def replace():
        number = 0
        while not stop.is_set():
            number += 1
            content = versions[number % 4]
            at = LONG_AGO + number
            for name, data in (("v.txt", content), ("v.txt.gz", gzip.compress(content))):
                if number % 7 == 0 and name == "v.txt.gz":
                    (root / name).unlink(missing_ok=True)
                    continue
                write(root / "temporary", data, at)
                os.replace(root / "temporary", root / name)

    if memory is not None:
        memory = StaticMemory(fresh_seconds=0.001)
    app = app_with(root, precompressed=["gzip"], etag=etag, memory=memory)
    write(root / "v.txt", versions[0])
    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for number in range(150):
            exchange = await get(app, "/v.txt", "gzip" if number % 2 else None)
            assert exchange.status == 200
            assert exchange.headers["content-length"] == str(len(exchange.body))
            is_encoded = exchange.headers.get("content-encoding") == "gzip"
            content = gzip.decompress(exchange.body) if is_encoded else exchange.body
            assert content in versions
            assert tags.setdefault(exchange.headers["etag"], content) == content
    finally:
        stop.set()
        thread.join()


async def test_truncated_deleted_and_forbidden_files(root):
    app = app_with(root, precompressed=["gzip"], etag="content", memory=None)
    write(root / "app.js.gz", b"")
    assert (await get(app, "/app.js", "gzip")).body == b""
    (root / "app.js.gz").unlink()
    assert (await get(app, "/app.js", "gzip")).body == SCRIPT
    (root / "app.js").unlink()
    assert (await get(app, "/app.js", "gzip")).status == 404
    if os.geteuid():  # root may read everything
        (root / "plain.txt").chmod(0)
        assert (await get(app, "/plain.txt", "gzip")).status == 401


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precompressed": "br"}, TypeError, "give a list of encodings"),
        ({"precompressed": ["lzma"]}, ValueError, "has 'lzma'. Choose from 'zstd', 'br', 'gzip'"),
        ({"cache_control": 60}, TypeError, "give a string, or a function"),
        ({"cache_control": "a\r\nb: c"}, ValueError, "control character"),
        ({"fallback": 1}, TypeError, "give the path of a file in the directory"),
        ({"fallback": "missing.html"}, RuntimeError, "there is no such file in"),
        ({"fallback": ""}, ValueError, "give the path of a file in the directory"),
        ({"fallback": "../index.html"}, ValueError, "give the path of a file in the directory"),
        ({"fallback": ".index.html"}, ValueError, "pass dotfiles=True"),
        ({"manifest": ""}, ValueError, "give the path of a file, or None"),
        ({"manifest": 1}, TypeError, "give the path of a file"),
        ({"manifest": "missing.json"}, RuntimeError, "Run the build first"),
        ({"etag": "md5"}, ValueError, "choose 'stat' or 'content'"),
    ],
)
def test_wrong_settings_are_errors_at_construction(root, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        StaticFiles(directory=root, **options)
