"""The live example in a browser: two workers that share a SQLite file, and die."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browser_waits import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PAGES = [
    *("/", "/chat", "/dashboard", "/writer", "/devices", "/limits"),
    *("/layers", "/attack", "/attack/attacker", "/load", "/whoami", "/files"),
    *("/report", "/payments", "/editing", "/tasks", "/api", "/operations", "/nowhere"),
]
DESKTOP, PHONE = 1280, 390

REFUSALS = re.compile(
    "BLOCKED_BY_RESPONSE.NotSameOrigin|WebSocket connection to .* 403|Executing inline event handler"
    "|^Framing .*frame-ancestors"
)
"""The messages of a console about the attempts on the page of the attack."""


def build_static(directory: Path) -> None:
    """Build the static files as ``scripts/run`` does it."""
    command = ["spica", "static", "build", str(EXAMPLES / "live" / "static")]
    options = [str(directory / "static"), "--precompress", "zst,br,gz"]
    subprocess.run(
        [sys.executable, "-m", *command, *options], check=True, stdout=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def url(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("live")
    metrics = tmp_path_factory.mktemp("metrics")
    build_static(directory)
    served = serve(
        "live.app:app",
        folders=(EXAMPLES,),
        environment={
            "LIVE_DIRECTORY": str(directory),
            "LIVE_CONTROLS": "1",
            "LIVE_HTTPS": "0",
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
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


def is_connected(page: Any) -> bool:
    return bool(page.locator("#problem").text_content() == "")


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
        wait_until(speaker, partial(is_connected, speaker))
        say(speaker, text)
        while "Not connected" in speaker.locator("#problem").text_content():
            speaker.wait_for_timeout(200)
            say(speaker, text)
        listener.get_by_text(text).first.wait_for()
    for each in (page, other_page):
        assert each.get_by_text(", 0 holes.").count() == 1


def count_events(page: Any) -> int:
    found = re.match(r"\d+", page.locator("#events").text_content())
    return int(found[0]) if found else 0


def test_the_dashboard_goes_on_after_a_deployment(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/dashboard")
    page.get_by_text(re.compile(r"^[1-9]\d* events")).wait_for()
    end_worker(page, "Deploy now")
    least = count_events(page) + 2
    wait_until(page, lambda: count_events(page) >= least)


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


def test_an_attack_of_another_origin_fails(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/attack")
    page.frame_locator("iframe").get_by_role("button", name="Claim my prize").click()
    page.get_by_text("4 of 4 attempts refused. Nothing was stolen.").wait_for()
    for attempt, reason in {
        "post": "403: Cross-origin request refused: Sec-Fetch-Site is neither same-origin nor none.",
        "socket": f"403: Cross-origin request refused: its Origin is not {url}.",
        "frame": "The browser reports a violation of frame-ancestors in the policy.",
        "script": "The browser reports a violation of script-src-attr in the policy.",
    }.items():
        assert page.locator(f"#{attempt} td").nth(1).text_content() == reason
    assert [
        problem for problem in problems if not REFUSALS.search(problem.replace("\n", " "))
    ] == []


def test_an_overload_is_refused(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/load")
    page.get_by_role("button", name="Send 300 requests").click()
    ended = page.get_by_text(re.compile("^The visitors got"))
    ended.wait_for(timeout=60_000)
    counts = {
        status: int(count)
        for count, status in re.findall(r"(\d+) \u00d7 (\d+)", ended.text_content())
    }
    assert counts.keys() == {"200", "503", "504"}
    assert sum(counts.values()) == 300
    assert re.search("Retry-After [123]", ended.text_content())
    assert page.locator("#graph rect.refused:not([height='0'])").count() > 3
    check_accessible(page)
    assert problems == []


def test_only_a_proxy_is_believed(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/whoami")
    page.get_by_role("row", name="client 10.0.0.1 203.0.113.9").wait_for()
    page.get_by_role("row", name="prefix none /shop").wait_for()
    page.get_by_label("a stranger").check()
    page.get_by_role("row", name="client 198.51.100.7 198.51.100.7").wait_for()
    assert page.get_by_text("Ignored: 198.51.100.7 is not one of your proxies").count() == 5
    assert problems == []


def test_files_are_hashed_compressed_and_kept(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/files")
    page.get_by_text(re.compile(r"\d+ % saved")).wait_for()
    row = page.get_by_role("row", name=re.compile(r"^style\.[0-9a-f]{10}\.css"))
    assert re.search(r"[\d,]+, (zstd|br|gzip)365 days304, 0 bytes$", squeeze(row.text_content()))
    page.get_by_role("button", name="Upload 400 KB").click()
    page.get_by_text(
        re.compile(r"^\d\d,\d{3} bytes sent, 3\d\d,\d{3} read by the endpoint")
    ).wait_for()
    assert problems == []
    page.get_by_role("button", name="Upload a zip bomb").click()
    page.get_by_text(re.compile("^413 for")).wait_for()


def test_twenty_visitors_cause_one_computation(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/report")
    page.get_by_role("button", name="Send 20 visitors").click()
    page.get_by_text("20 answers, 1 computation, by worker").wait_for()
    assert page.get_by_text("computed", exact=True).count() == 1
    assert page.get_by_text(re.compile(r"^Age: \d+$")).count() == 19
    page.get_by_role("button", name="Send 20 visitors").click()
    page.get_by_text("20 answers from the cache").wait_for()
    check_accessible(page)
    page.get_by_role("button", name="Forget the report").click()
    page.get_by_text("The report is gone").wait_for()
    assert problems == []


def test_five_presses_pay_once(page: Any, url: str) -> None:
    page.goto(url + "/payments")
    page.get_by_role("button", name="Press Pay five times").click()
    page.locator("#presses tr", has_text="201").nth(4).wait_for()
    assert page.get_by_text("the stored answer").count() == 4
    assert page.locator("#payments code").count() == 1
    page.get_by_role("button", name="Same key, 500 €").click()
    page.get_by_text("This Idempotency-Key was used for another request.").wait_for()
    check_accessible(page)


def test_the_second_of_two_edits_is_refused(page: Any, url: str) -> None:
    page.goto(url + "/editing")
    page.get_by_text(re.compile(r"^Version \d+")).nth(1).wait_for()
    ann, bob = (page.get_by_label(f"as {author} sees it") for author in ("Ann", "Bob"))
    ann.fill("Spica is two stars.")
    bob.fill("Spica is far away.")
    page.get_by_role("button", name="Save, Ann").click()
    page.get_by_text("Saved as version").wait_for()
    page.get_by_role("button", name="Save, Bob").click()
    page.get_by_text("412: somebody else has saved meanwhile.").wait_for()
    assert bob.input_value() == "Spica is far away."
    page.get_by_role("button", name="Load the newest version, Bob").click()
    wait_until(page, lambda: bob.input_value().endswith("two stars."))
    page.get_by_role("button", name="Save, Bob").click()
    page.get_by_text("Saved as version").nth(1).wait_for()


def test_a_task_goes_on_after_its_answer(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/tasks")
    page.get_by_role("button", name="Bake a cake").click()
    page.get_by_text(re.compile(r"^202 after \d+ ms")).wait_for()
    page.get_by_text("is at step").wait_for()
    check_accessible(page)
    page.get_by_text("is done.").wait_for()
    page.locator("#ticks b").nth(1).wait_for()
    ticks = [int(tick.split()[1]) for tick in page.locator("#ticks b").all_text_contents()]
    assert ticks == [*range(ticks[0], ticks[0] - len(ticks), -1)]
    assert problems == []


def test_an_api_says_what_is_wrong(page: Any, url: str) -> None:
    page.goto(url + "/api")
    send = page.get_by_role("button", name="Send")
    status = page.locator("#status")
    for scope, expected in {
        "": "401",
        "stars:read": "403",
        "stars:read stars:write": "422",
    }.items():
        page.get_by_label("Token").select_option(scope)
        send.click()
        status.get_by_text(re.compile(f"^{expected} ")).wait_for()
    answer = page.locator("#answer").text_content()
    assert re.findall('"pointer": "(.+?)"', answer) == ["/magnitude", "/color", "/tags/1"]
    page.get_by_label("Body of POST").fill('{"name": "Spica", "magnitude": 0.97, "color": "blue"}')
    send.click()
    status.get_by_text("201 application/json").wait_for()


def test_operations_are_seen(page: Any, url: str, problems: list[str]) -> None:
    page.goto(url + "/operations")
    page.get_by_text(re.compile(r"has answered request [0-9a-f]{32}")).wait_for()
    page.get_by_role("button", name="Send a request").click()
    page.get_by_text(re.compile("request_id=[0-9a-f]{32}")).wait_for()
    page.get_by_role("row", name=re.compile("^GET .static 200")).wait_for()
    page.get_by_text("200 ready").wait_for()
    assert problems == []
    page.get_by_role("button", name="Deploy now").click()
    page.get_by_text(re.compile("drains, because of SIGTERM")).wait_for()


def test_the_menu_of_a_phone_unfolds(page: Any, url: str) -> None:
    page.set_viewport_size({"width": PHONE, "height": 844})
    page.goto(url + "/chat")
    assert not page.get_by_role("link", name="Pay once").is_visible()
    page.get_by_text("Demos", exact=True).click()
    page.get_by_role("link", name="Pay once").click()
    page.get_by_role("heading", name="Pay once").wait_for()


def squeeze(text: str) -> str:
    return re.sub(r"\s*\n\s*", "", text)


def check_accessible(page: Any) -> None:
    """Let axe look at the page as it is."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    result = axe.Axe().run(page)
    violations = [(one["id"], one["nodes"][0]["html"]) for one in result.response["violations"]]
    assert violations == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible(page: Any, url: str, path: str, problems: list[str]) -> None:
    page.goto(url + path)
    for width, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        check_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == [] or path == "/nowhere"
