"""Tests of spica/responses/file/manifest.py."""

import json
import os

import pytest

from spica.responses.file.manifest import Manifest

VITE = {
    "src/main.ts": {
        "file": "assets/main-4889e940.js",
        "src": "src/main.ts",
        "isEntry": True,
        "css": ["assets/main-b82dbe22.css"],
        "assets": ["assets/logo-0ab0f9cd.png"],
    },
    "_shared.js": {"file": "assets/shared-B7PI925R.js"},
}


def manifest_of(directory, content):
    path = directory / "manifest.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Manifest(path, None)


def test_the_manifest_of_the_own_build(tmp_path):
    manifest = manifest_of(tmp_path, {"css/a.css": "css/a.0123456789.css"})
    assert manifest.find("css/a.css") == "css/a.0123456789.css"
    assert manifest.find("css/a.0123456789.css") == "css/a.0123456789.css"
    assert manifest.find("css/b.css") is None
    assert manifest.is_hashed("css/a.0123456789.css")
    assert not manifest.is_hashed("css/a.css")


def test_the_manifest_of_vite(tmp_path):
    manifest = manifest_of(tmp_path, VITE)
    assert manifest.find("src/main.ts") == "assets/main-4889e940.js"
    for name in ("assets/main-b82dbe22.css", "assets/logo-0ab0f9cd.png"):
        assert manifest.is_hashed(name)
    assert not manifest.is_hashed("index.html")


def test_a_file_that_keeps_its_name_is_not_hashed(tmp_path):
    assert not manifest_of(tmp_path, {"robots.txt": "robots.txt"}).is_hashed("robots.txt")


def test_a_build_of_vite_without_hashes_is_not_hashed(tmp_path):
    logo, main = {"file": "img/logo.png"}, {"file": "assets/main.js", "css": ["assets/main.css"]}
    entries = {"src/logo.png": logo, "src/main.ts": {**main, "assets": ["img/logo.png"]}}
    manifest = manifest_of(tmp_path, entries)
    for name in ("assets/main.js", "assets/main.css", "img/logo.png"):
        assert not manifest.is_hashed(name)
    assert manifest.find("src/main.ts") == "assets/main.js"


def test_a_name_without_extension_is_hashed(tmp_path):
    assert manifest_of(tmp_path, {"LICENSE": "LICENSE.0123456789"}).is_hashed("LICENSE.0123456789")


def test_a_relative_path_is_also_looked_up_in_the_directory(tmp_path):
    manifest_of(tmp_path, {"a": "a.1"})
    assert Manifest("manifest.json", tmp_path).find("a") == "a.1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "the file is not JSON"),
        ("[]", "must contain a JSON object"),
        ({"a": 1}, "the entry of 'a' must be the hashed name"),
        ({"a": {"src": "a"}}, "an object with the key"),
        ({"a": {"file": 1}}, "an object with the key"),
        ({"a": {"file": "a.1.js", "css": "a.css"}}, "an object with the key"),
        ({"a": {"file": "a.1.js", "assets": 1}}, "an object with the key"),
        ({"a": ""}, "the entry of 'a' has ''. Write a path relative to the directory"),
        ({"a": "/static/a.1.js"}, "Write a path relative to the directory"),
        ({"a": "https://cdn.example/a.1.js"}, "Write a path relative to the directory"),
        (
            {"a": {"file": "a.1.js", "css": ["../a.1.css"]}},
            "Write a path relative to the directory",
        ),
    ],
)
def test_another_file_is_an_error(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        manifest_of(tmp_path, content)


@pytest.mark.skipif(os.name == "nt", reason="Windows reports another error")
def test_a_directory_is_not_a_manifest(tmp_path):
    with pytest.raises(ValueError, match=r"this is a directory\. Give the path of the file"):
        Manifest(tmp_path, tmp_path)


def test_a_missing_file_names_the_build(tmp_path):
    with pytest.raises(RuntimeError, match="Run the build first"):
        Manifest(tmp_path / "missing.json", tmp_path)
