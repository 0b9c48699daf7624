"""The notes example in a browser, at the widths of a desktop and a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def url(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("notes")
    environment = {"NOTES_DIRECTORY": str(directory)}
    served = serve("notes.app:app", folders=(EXAMPLES,), environment=environment)
    return str(served.url)


def test_a_note_shows_markup_as_text(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url)
    page.get_by_label("Title").fill("<b>bold</b>")
    page.get_by_label("Text").fill("<script>document.title = 'run'</script>")
    page.get_by_role("button", name="Keep").click()
    assert page.get_by_role("heading", name="<b>bold</b>").is_visible()
    assert page.title() == "<b>bold</b>"
    assert problems == []


def test_two_pages_chat(page: Any, url: str, problems: list[str]) -> None:
    other = page.context.new_page()
    for one in (page, other):
        one.goto(url + "/chat")
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Text").fill("Hello")
    page.get_by_role("button", name="Say").click()
    other.get_by_text("Hello").wait_for()
    assert problems == []


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
@pytest.mark.parametrize("path", ["/", "/chat", "/nowhere"])
def test_a_page_is_accessible(page: Any, url: str, path: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(url + path)
    result = axe.Axe().run(page)
    assert [(one["id"], one["nodes"][0]["html"]) for one in result.response["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
