"""The live example in a browser: two workers that share a SQLite file, and die."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PAGES = ["/", "/chat", "/dashboard", "/writer", "/devices", "/limits", "/layers", "/nowhere"]
SCREENS = {"desktop": (1280, "light"), "phone": (390, "dark")}


@pytest.fixture(scope="module")
def url(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("live")
    served = serve(
        "live.app:app",
        folders=(EXAMPLES,),
        environment={
            "LIVE_DIRECTORY": str(directory),
            "LIVE_CONTROLS": "1",
        },
        options=("--workers", "2"),
    )
    return str(served.url)


@pytest.fixture
def other_page(chromium: Any) -> Iterator[Any]:
    """A page of another browser, with its own cookies."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def enter_chat(page: Any, url: str, name: str) -> None:
    page.goto(url + "/chat")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Enter").click()


def say(page: Any, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()


def end_worker(page: Any, button: str) -> None:
    page.get_by_role("button", name=button).click()
    page.get_by_text(re.compile(r"Worker \d+ has ended")).wait_for()


def test_a_chat_has_no_hole_when_its_worker_dies(page: Any, other_page: Any, url: str) -> None:
    enter_chat(page, url, "Ada")
    enter_chat(other_page, url, "Bob")
    page.get_by_text("Here: Ada, Bob.").wait_for()
    say(page, "before")
    other_page.get_by_text("before").wait_for()
    end_worker(page, "Kill my worker")
    end_worker(page, "Kill my worker")
    # Whichever page was cut off is connected again once the message of the other one arrives.
    for number, (speaker, listener) in enumerate([(page, other_page), (other_page, page)]):
        text = f"after {number}"
        speaker.wait_for_function("document.querySelector('#problem').textContent === ''")
        say(speaker, text)
        while "Not connected" in speaker.locator("#problem").text_content():
            speaker.wait_for_timeout(200)
            say(speaker, text)
        listener.get_by_text(text).first.wait_for()
    for each in (page, other_page):
        assert each.get_by_text(", 0 holes.").count() == 1


def test_the_dashboard_goes_on_after_a_deployment(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/dashboard")
    page.get_by_text(re.compile(r"^[1-9]\d* events")).wait_for()
    end_worker(page, "Deploy now")
    count = int(page.locator("#events").text_content().split()[0])
    page.wait_for_function(
        "least => parseInt(document.querySelector('#events').textContent) >= least", arg=count + 2
    )


def test_a_text_continues_after_a_reload(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/writer")
    page.get_by_role("button", name="Write").click()
    page.get_by_text("About Vega: Vega is").wait_for()
    page.reload()
    page.get_by_text(re.compile("About Vega: Vega is the fifth-brightest star")).wait_for()
    assert problems == []


def test_a_logout_reaches_the_other_browser(page: Any, other_page: Any, url: str) -> None:
    for each in (page, other_page):
        each.goto(url + "/devices")
        each.get_by_label("Your name").fill("Grace")
        each.get_by_role("button", name="Log in").click()
        each.get_by_text("You are Grace").wait_for()
    page.reload()
    page.get_by_role("button", name=re.compile("^Log out Chrome")).click()
    other_page.get_by_role("button", name="Log in").wait_for()
    assert page.get_by_text("this one").count() == 1


def test_the_sixth_press_is_one_too_many(page: Any, url: str) -> None:
    page.goto(url + "/limits")
    for left in ("4", "3", "2", "1", "0"):
        page.get_by_role("button", name="Press").click()
        page.get_by_text(f"{left} presses left, counted by").wait_for()
    page.get_by_role("button", name="Press").click()
    page.get_by_text(re.compile(r"429: too many. Try again in \d+ s")).wait_for()


def test_the_layers_are_seen_in_a_response(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/layers")
    page.get_by_text("content-encoding: ").wait_for()
    for seen in ("client 127.0.0.1", "default-src", "s left when the endpoint ran"):
        assert page.get_by_role("cell", name=re.compile(seen)).count() == 1
    assert problems == []


@pytest.mark.parametrize(("width", "scheme"), SCREENS.values(), ids=SCREENS.keys())
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible(page: Any, url: str, path: str, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.goto(url + path)
    result = axe.Axe().run(page)
    violations = [(one["id"], one["nodes"][0]["html"]) for one in result.response["violations"]]
    assert violations == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
