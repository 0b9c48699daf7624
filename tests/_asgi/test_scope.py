"""The part of a path that patterns match."""

import pytest

from spica._asgi.scope import get_route_path


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
