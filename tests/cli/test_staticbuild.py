"""Tests of spica/cli/staticbuild.py."""

import contextlib
import gzip
import hashlib
import json
import os
import random
import sys

import pytest

from spica.__main__ import main
from spica._http.codings import ENCODERS, GzipEncoder
from spica.cli.staticbuild import BuildError, build

SCRIPT = b"function add(a, b) { return a + b }\n" * 40


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "src"
    (source / "css").mkdir(parents=True)
    (source / ".git").mkdir()
    (source / "app.js").write_bytes(SCRIPT)
    (source / "css" / "site.min.css").write_bytes(b"p {}")
    (source / "noise.bin").write_bytes(random.Random(1).randbytes(2000))
    (source / ".env").write_bytes(b"secret")
    (source / ".git" / "config").write_bytes(b"secret")
    return source


def files_of(directory):
    return sorted(
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    )


def test_names_get_a_hash_and_stay_available(source, tmp_path):
    assert build(source, tmp_path / "out") == (3, 0)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    digest = hashlib.sha256(SCRIPT).hexdigest()[:10]
    assert manifest["app.js"] == f"app.{digest}.js"
    assert manifest["css/site.min.css"].startswith("css/site.min.")
    expected = sorted([*manifest, *manifest.values(), "manifest.json"])
    assert files_of(tmp_path / "out") == expected
    assert (tmp_path / "out" / manifest["app.js"]).read_bytes() == SCRIPT


def test_siblings_are_written_if_they_are_worth_it(source, tmp_path):
    assert build(source, tmp_path / "out", ["zst", "br", "gz"]) == (3, 6)
    siblings = {
        name for name in files_of(tmp_path / "out") if name.endswith((".zst", ".br", ".gz"))
    }
    assert {name for name in siblings if name.startswith("app.js")} == {
        "app.js.zst",
        "app.js.br",
        "app.js.gz",
    }
    assert len(siblings) == 6  # not for a small file, and not for noise
    packed = tmp_path / "out" / "app.js.gz"
    assert gzip.decompress(packed.read_bytes()) == SCRIPT
    assert packed.stat().st_mtime_ns >= (tmp_path / "out" / "app.js").stat().st_mtime_ns


def test_two_builds_are_equal(source, tmp_path):
    for name in ("one", "two"):
        build(source, tmp_path / name, ["zst", "br", "gz"])
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    for name in files_of(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_new_build_keeps_the_hashed_names_of_the_old_one(source, tmp_path):
    build(source, tmp_path / "out", ["br"])
    old = json.loads((tmp_path / "out" / "manifest.json").read_text())["app.js"]
    (source / "app.js").write_bytes(b"short")
    build(source, tmp_path / "out", ["br"])
    assert (tmp_path / "out" / old).read_bytes() == SCRIPT
    assert not (tmp_path / "out" / "app.js.br").exists()  # it belonged to the old content


def test_the_command(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["static", "build", str(source), str(out), "--precompress", "br, .gz"]) == 0
    assert capsys.readouterr().out == f"Wrote 3 files and 4 compressed siblings to {out}\n"


@pytest.mark.parametrize(
    ("output", "extensions", "message"),
    [
        ("src", [], "OUT must be outside of SRC"),
        ("src/out", [], "OUT must be outside of SRC"),
        (".", [], "SRC outside of OUT"),
        ("out", ["lzma"], "--precompress has 'lzma'. Choose from zst, br and gz"),
    ],
)
def test_wrong_arguments(source, tmp_path, output, extensions, message):
    with pytest.raises(BuildError, match=message):
        build(source, tmp_path / output, extensions)


def test_a_source_without_files(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        assert main(["static", "build", str(tmp_path / name), str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert "has no files" in errors
    assert "is not a directory" in errors


def test_a_missing_package_is_named(source, tmp_path, monkeypatch):
    for name in ("brotli", "brotlicffi"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BuildError, match="pip install"):
        build(source, tmp_path / "out", ["br"])


def test_a_file_that_the_manifest_would_replace_is_refused(source, tmp_path):
    (source / "manifest.json").write_text('{"name": "An application to install"}')
    with pytest.raises(BuildError, match=r"usually called 'site\.webmanifest'"):
        build(source, tmp_path / "out")


def test_well_known_files_are_built(source, tmp_path):
    """RFC 8615. StaticFiles serves this folder, too."""
    (source / ".well-known").mkdir()
    (source / ".well-known" / "security.txt").write_text("Contact: mailto:security@example.org")
    build(source, tmp_path / "out")
    assert (tmp_path / "out" / ".well-known" / "security.txt").exists()


def test_a_sibling_of_an_earlier_build_is_removed(source, tmp_path):
    """Files of reproducible builds all have one time, so no sibling is older than its file."""
    for content, extensions in ((b"old" * 999, ["br", "gz"]), (b"new" * 999, ["gz"])):
        (source / "app.js").write_bytes(content)
        os.utime(source / "app.js", (1, 1))
        build(source, tmp_path / "out", extensions)
    assert not (tmp_path / "out" / "app.js.br").exists()
    assert gzip.decompress((tmp_path / "out" / "app.js.gz").read_bytes()) == b"new" * 999


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_build_that_is_interrupted_leaves_no_sibling_of_another_content(
    source, tmp_path, monkeypatch, steps
):
    """Files of reproducible builds all have one time, so a server would send the old sibling."""
    out, replace, left = tmp_path / "out", os.replace, [steps]

    def interrupted(*paths):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(*paths)

    for path in (source / "noise.bin", source / "css" / "site.min.css"):
        path.unlink()
    os.utime(source / "app.js", (1, 1))
    build(source, out, ["br", "gz"])
    (source / "app.js").write_bytes(b"new" * 999)
    os.utime(source / "app.js", (1, 1))
    monkeypatch.setattr(os, "replace", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        build(source, out, ["br", "gz"])
    for packed in out.glob("*.gz"):
        content = packed.with_suffix("").read_bytes()
        assert gzip.decompress(packed.read_bytes()) == content
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_an_interruption_ends_the_command_with_a_message(source, tmp_path, monkeypatch, capsys):
    def interrupted(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    assert main(["static", "build", str(source), str(tmp_path / "out")]) == 130
    assert "spica: interrupted." in capsys.readouterr().err


def test_a_file_has_its_time_before_it_has_its_name(source, tmp_path, monkeypatch):
    """A server that sends a file whose time changes breaks the connection off."""
    times, replace = set(), os.replace

    def observed(temporary, path):
        times.add(0 if path.name == "manifest.json" else os.stat(temporary).st_mtime)
        replace(temporary, path)

    for name in ("app.js", "noise.bin", "css/site.min.css"):
        os.utime(source / name, (1, 1))
    monkeypatch.setattr(os, "replace", observed)
    build(source, tmp_path / "out", ["br", "gz"])
    assert times == {0, 1}


def test_each_content_is_compressed_once(source, tmp_path, monkeypatch):
    """At the highest level, compression takes nearly all of the time."""
    contents = []

    class Counting(GzipEncoder):
        def encode(self, chunk, *, is_end, flush=True):
            contents.append(chunk)
            return super().encode(chunk, is_end=is_end, flush=flush)

    monkeypatch.setitem(ENCODERS, "gzip", Counting)
    assert build(source, tmp_path / "out", ["gz"]) == (3, 2)
    assert len(contents) == len(set(contents)) == 2


@pytest.mark.parametrize(
    ("name", "siblings"),
    [("film.mp4", 0), ("photo.JPG", 0), ("font.woff2", 0), ("data.gz", 0), ("page", 2)],
)
def test_formats_that_are_compressed_already_stay_as_they_are(tmp_path, name, siblings):
    """The highest level of Brotli would take half an hour for a gigabyte."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / name).write_bytes(SCRIPT)
    assert build(tmp_path / "src", tmp_path / "out", ["br"]) == (1, siblings)


def test_a_sibling_in_the_source_is_built(source, tmp_path):
    (source / "app.js.br").write_bytes(b"compressed")
    build(source, tmp_path / "out")
    assert (tmp_path / "out" / "app.js.br").read_bytes() == b"compressed"


def test_a_file_that_can_not_be_replaced_leaves_nothing_behind(source, tmp_path):
    (tmp_path / "out" / "app.js").mkdir(parents=True)
    with pytest.raises(OSError, match=r"app\.js"):
        build(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["app.js"]


def test_a_name_may_be_as_long_as_the_system_allows(source, tmp_path):
    name = "a" * 240 + ".js"  # 254 bytes with the hash
    (source / name).write_bytes(b"x")
    build(source, tmp_path / "out")
    assert (tmp_path / "out" / name).exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links")
@pytest.mark.parametrize(
    ("target", "message"), [("css", "a directory"), ("missing", "a file that does not exist")]
)
def test_a_link_that_is_not_built_is_an_error(source, tmp_path, target, message):
    (source / "link").symlink_to(target)
    with pytest.raises(BuildError, match=f"link' is a link to {message}"):
        build(source, tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links")
def test_a_link_is_built_as_its_file(source, tmp_path):
    (source / "link.js").symlink_to(source / "app.js")
    build(source, tmp_path / "out")
    assert (tmp_path / "out" / "link.js").read_bytes() == SCRIPT
