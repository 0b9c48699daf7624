"""Media types: of a file by its name, and those that a client prefers (RFC 9110 s.12.5.1)."""

import mimetypes
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.fields import parse_quality_list
from spica._http.mediatypes import (
    guess_media_type,
    prefers_problem_details,
    weigh_media_type,
)


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


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.woff2", "font/woff2"),
        ("a.webp", "image/webp"),
        ("a.js.map", "application/json"),
        ("a.CJS", "application/node"),
        ("a.ogg", "audio/ogg"),
        ("a.yml", "application/yaml"),
    ],
)
def test_formats_of_the_web_need_no_table_of_the_system(
    name: str, media_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small containers have no /etc/mime.types. Fonts and pictures were application/octet-stream there."""
    monkeypatch.setattr(mimetypes, "guess_type", mimetypes.MimeTypes().guess_type)
    assert guess_media_type(name) == media_type


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


# RFC 9110 s.12.5.1, the last example
EXAMPLE = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5"


@pytest.mark.parametrize(
    ("media_type", "weight"),
    [("text/plain", 0.7), ("text/html", 0.3), ("image/jpeg", 0.5)],
)
def test_the_most_specific_range_has_precedence(media_type: str, weight: float) -> None:
    assert weigh_media_type(parse_quality_list(EXAMPLE), media_type) == weight


def test_what_no_range_names() -> None:
    assert weigh_media_type(parse_quality_list("image/*"), "text/html") is None


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        (None, True),
        ("*/*", True),
        (BROWSER, False),
        ("application/problem+json", True),
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        ("APPLICATION/JSON", True),
        ("application/*", True),
        ("application/json;q=0.5, text/html", False),
        ("application/json;q=0.5, text/html;q=0.4", True),
        ("application/json;q=0.5, text/plain;q=0.5", True),
        ("application/json, application/problem+json;q=0", False),
        ("application/problem+json;q=0, */*", False),
        ("application/json;q=0", False),
        ("text/html", False),
        ("text/plain, */*;q=0.1", False),
        ("image/png", False),
        ("", False),
        (";;;,,q=1", False),
    ],
)
def test_problem_details_or_text(accept: str | None, prefers: bool) -> None:
    assert prefers_problem_details(accept) is prefers


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_any_header_has_an_answer(accept: str) -> None:
    assert prefers_problem_details(accept) in (True, False)
