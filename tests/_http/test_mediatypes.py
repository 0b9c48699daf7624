"""The media type of a file by its name."""

import mimetypes
import os
from pathlib import Path

import pytest

from spica._http.mediatypes import guess_media_type


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.txt", "text/plain"),
        ("a.b.HTML", "text/html"),
        ("dir.html/a", None),
        ("a", None),
        ("", None),
        (".html", None),
        ("a.", None),
        ("a.unheard-of", None),
        ("a.txt~", None),
    ],
)
def test_the_extension_decides(name: str, media_type: str | None) -> None:
    assert guess_media_type(name) == media_type


@pytest.mark.parametrize("name", ["a.json.gz", "a.GZ", "a.svgz", "a.tar.gz", "a.tgz", "a.TGZ"])
def test_a_gzip_file_is_a_gzip_file(name: str) -> None:
    # RFC 9110 s.8.4; RFC 6713
    assert guess_media_type(name) == "application/gzip"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.css.br", "application/x-brotli"),
        ("a.js.zst", "application/zstd"),
        ("a.tar.zst", "application/zstd"),
        ("a.csv.bz2", "application/x-bzip2"),
        ("a.tbz2", "application/x-bzip2"),
        ("a.txt.xz", "application/x-xz"),
        ("a.txz", "application/x-xz"),
        ("a.tar.Z", "application/x-compress"),
        ("a.tar.lz4", "application/x-lz4"),
    ],
)
def test_other_compressed_files_have_their_own_type(name: str, media_type: str) -> None:
    assert guess_media_type(name) == media_type


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("data:text/html,.txt", "text/plain"),
        ("data:text/html", None),
        ("data:text/html;base64,x", None),
        ("data:image/png,", None),
        ("http://example.org/a.html", "text/html"),
        ("https:a.css", "text/css"),
        ("a.txt?x=.html", "text/html"),
        ("a.html?x", None),
        ("a.html#top", None),
        ("a.html;v=1", None),
        ("a.x:y", None),
    ],
)
def test_a_name_is_never_taken_for_a_url(name: str, media_type: str | None) -> None:
    assert guess_media_type(name) == media_type


@pytest.mark.parametrize("make", [str, Path, os.fsencode])
def test_a_path_may_have_any_type(make: object) -> None:
    assert guess_media_type(make("/a/b.png")) == "image/png"  # type: ignore[operator]


def test_types_that_an_application_adds_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    mimetypes.init()
    monkeypatch.setitem(mimetypes.types_map, ".spica", "application/x-spica")
    assert guess_media_type("a.spica") == "application/x-spica"


def test_a_coding_that_an_application_adds_hides_the_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mimetypes.init()
    monkeypatch.setitem(mimetypes.encodings_map, ".own", "own")
    assert guess_media_type("a.html.own") is None
