"""Hashed names, compressed siblings and the fallback in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spica.cli.staticbuild import build

FOLDERS = (Path(__file__).resolve().parent,)
SCRIPT = "document.title = 'ran';\n" + "// a comment that is repeated\n" * 100


@pytest.fixture(scope="module")
def url(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    source = tmp_path_factory.mktemp("source")
    (source / "app.js").write_text(SCRIPT)
    (source / "site.css").write_text("p { color: rgb(1, 2, 3) }\n" * 100)
    (source / "index.html").write_text("<!doctype html><title>app</title><h1>app</h1>")
    built = source.with_name("built")
    build(source, built, ["zst", "br", "gz"])
    served = serve("static_app:app", folders=FOLDERS, environment={"BUILT": str(built)})
    return str(served.url)


class Responses:
    """The responses that a page has received."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def add(self, response: Any) -> None:
        self.all.append(response)


def test_hashed_files_are_compressed_and_cached(page: Any, url: str) -> None:
    responses = Responses()
    page.on("response", responses.add)
    for _ in range(2):
        page.goto(url + "/page")
        assert page.title() == "ran"
        color = "getComputedStyle(document.querySelector('p')).color"
        assert page.evaluate(color) == "rgb(1, 2, 3)"
    files = [one for one in responses.all if "/static/" in one.url]
    assert {one.headers["content-encoding"] for one in files} == {"zstd"}
    entries = "performance.getEntriesByType('resource').map(one => one.transferSize)"
    assert page.evaluate(entries) == [0, 0]  # the second time, both come from the cache


def test_a_path_of_the_application_can_be_reloaded(page: Any, url: str) -> None:
    page.goto(url + "/users/7")
    page.reload()
    assert page.title() == "app"
    assert page.evaluate("fetch('/old-bundle.js').then(one => one.status)") == 404
