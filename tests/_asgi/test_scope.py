"""The part of a path that patterns match, and the size that a request declares."""

from typing import Any

import pytest
from asgi_kit import http_scope

from spica._asgi.scope import (
    declared_size,
    get_route_path,
    public_path,
    restore_prefix,
    send_raises_on_disconnect,
)


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/a", "", "/a"),
        ("/api/a", "/api", "/a"),
        ("/api/", "/api", "/"),
        ("/api", "/api", ""),
        ("/apis", "/api", "/apis"),
        ("/other", "/api", "/other"),
        ("/api/a", "/api/", "/a"),
        ("/api/api/a", "/api", "/api/a"),
        ("/", "/", "/"),
    ],
)
def test_route_paths(path: str, root_path: str, expected: str) -> None:
    assert get_route_path({"path": path, "root_path": root_path}) == expected


def test_a_scope_without_a_root_path() -> None:
    assert get_route_path({"path": "/a"}) == "/a"


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/a", "", "/a"),
        ("/a", "/api", "/api/a"),
        ("/a", "/api/", "/api/a"),
        ("/apis", "/api", "/api/apis"),
        ("/", "/api", "/api/"),
        ("/api", "/api", "/api"),
        ("/api/a", "/api", "/api/a"),
        ("/a", "/", "/a"),
        ("*", "/api", "*"),
        ("http://example.org/a", "/api", "http://example.org/a"),
    ],
)
def test_public_paths(path: str, root_path: str, expected: str) -> None:
    assert public_path({"path": path, "root_path": root_path}) == expected


def test_a_restored_prefix_is_in_the_raw_path_too() -> None:
    scope = {"path": "/é", "raw_path": b"/%C3%A9", "root_path": "/ä b"}
    restore_prefix(scope)
    assert (scope["path"], scope["raw_path"]) == ("/ä b/é", b"/%C3%A4%20b/%C3%A9")
    restore_prefix(scope)
    assert scope["path"] == "/ä b/é"


class TestDeclaredSize:
    @pytest.mark.parametrize(
        ("value", "size"),
        [("0", 0), ("12", 12), ("-1", 0), ("1.5", 0), ("", 0), ("1 2", 0), ("9" * 5000, 0)],
    )
    def test_of_a_content_length(self, value: str, size: int) -> None:
        assert declared_size(http_scope(headers=[("content-length", value)])) == size

    def test_without_one(self) -> None:
        assert declared_size(http_scope()) == 0


@pytest.mark.parametrize(
    ("version", "tells"),
    [("2.0", False), ("2.3", False), ("2.4", True), ("2.10", True), ("3.0", True)],
)
def test_since_which_version_send_tells_of_a_disconnect(version: str, tells: bool) -> None:
    assert send_raises_on_disconnect({"asgi": {"version": "3.0", "spec_version": version}}) is tells


@pytest.mark.parametrize("scope", [{}, {"asgi": {"version": "3.0"}}])
def test_without_a_version_it_does_not(scope: Any) -> None:
    assert send_raises_on_disconnect(scope) is False
