"""The built documentation in a browser, opened from the disk: no server, no other host."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BUILDER = Path(__file__).resolve().parents[2] / "docs" / "_build"
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("sphinx", reason="scripts/browser installs Sphinx")
    folder = tmp_path_factory.mktemp("docs") / "built"
    subprocess.run([sys.executable, str(BUILDER), str(folder)], check=True, timeout=300)
    return folder.as_uri()


@pytest.mark.parametrize(
    "words", ["max_body_size", "websocket", "docker", "JWT", "nginx", "SQLAlchemy", "Flask"]
)
def test_the_search_finds(page: Any, site: str, problems: list[str], words: str) -> None:
    page.goto(f"{site}/index.html")
    page.get_by_placeholder("Search").first.fill(words)
    page.keyboard.press("Enter")
    page.locator("#search-results li a").first.wait_for()
    assert problems == []


@pytest.mark.parametrize(
    ("words", "title"),
    [("JWT", "Authentication"), ("login", "Login with a form and passwords")],
)
def test_the_search_shows_the_guide_before_the_decisions(
    page: Any, site: str, words: str, title: str
) -> None:
    page.goto(f"{site}/search.html?q={words}")
    first = page.locator("#search-results li a").first
    first.wait_for()
    assert "decisions/" not in str(first.get_attribute("href"))
    assert page.locator("#search-results li a", has_text=title).first.is_visible()


@pytest.mark.parametrize(
    "path", ["index", "guide/limits", "guide/troubleshooting", "reference/spica.routing"]
)
def test_a_phone_shows_the_heading_first(
    page: Any, site: str, problems: list[str], path: str
) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.set_viewport_size(PHONE)
    page.goto(f"{site}/{path}.html")
    heading = page.locator("h1").bounding_box()
    assert heading["y"] + heading["height"] < PHONE["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert [url for url in requested if not url.startswith("file:")] == []
    assert problems == []


def test_the_menu_of_a_phone_unfolds(page: Any, site: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(f"{site}/index.html")
    link = page.get_by_role("link", name="Routing and URLs").first
    page.locator("label.nav-overlay-icon").first.click()
    link.click()
    page.get_by_role("heading", name="Routing and URLs", level=1).wait_for()


def test_code_has_a_button_that_copies_it(page: Any, site: str) -> None:
    page.goto(f"{site}/index.html")
    page.locator("div.highlight").first.hover()
    assert page.locator("button.copybtn").first.is_visible()


def test_a_page_leads_to_the_next_one(page: Any, site: str) -> None:
    page.goto(f"{site}/guide/routing.html")
    page.locator("a.next-page").click()
    page.get_by_role("heading", name="Requests and bodies", level=1).wait_for()
