"""The check of origins and the security headers against attacks from a real browser."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_waits import wait_until

FOLDERS = (Path(__file__).resolve().parent,)


@pytest.fixture(scope="module")
def shop(serve: Callable[..., Any]) -> str:
    return str(serve("safety_app:protected", folders=FOLDERS).url)


@pytest.fixture(scope="module")
def open_shop(serve: Callable[..., Any]) -> str:
    return str(serve("safety_app:open_shop", folders=FOLDERS).url)


@pytest.fixture(scope="module")
def attacker(serve: Callable[..., Any]) -> str:
    return str(serve("safety_app:attacker", folders=FOLDERS).url)


def seen(shop: str) -> list[str]:
    with urllib.request.urlopen(shop + "/report") as response:
        found: list[str] = json.load(response)
    return found


def attack(page: Any, attacker: str, shop: str) -> str:
    page.goto(attacker)
    with page.expect_response(lambda response: response.url == shop + "/pay"):
        page.evaluate("shop => attack(shop)", shop)
    wait_until(page, lambda: page.title() != "waiting")
    return str(page.title())


# "localhost" is another site than 127.0.0.1; another port is another origin of the same site.
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_attacks_of_another_origin_reach_no_endpoint(
    page: Any, attacker: str, shop: str, host: str
) -> None:
    assert attack(page, attacker.replace("127.0.0.1", host), shop) == "refused"
    assert {"foreign form", "fetch", "socket"}.isdisjoint(seen(shop))


def test_the_same_attacks_reach_an_application_without_the_check(
    page: Any, attacker: str, open_shop: str
) -> None:
    assert attack(page, attacker, open_shop) == "open"
    assert {"foreign form", "fetch", "socket"} <= set(seen(open_shop))


def test_own_forms_and_websockets_pass(page: Any, shop: str) -> None:
    page.goto(shop)
    code = """() => new Promise((resolve) => {
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/chat?how=own");
        socket.onmessage = (message) => resolve(message.data);
        socket.onerror = () => resolve("refused");
    })"""
    # The policy allows connections of the page to its own origin.
    assert page.evaluate(code) == "hello"
    with page.expect_navigation():
        page.evaluate("document.getElementById('form').submit()")
    assert page.inner_text("body") == "paid"
    assert {"own", "own form"} <= set(seen(shop))


def test_only_scripts_with_the_nonce_run(page: Any, shop: str, problems: list[str]) -> None:
    page.goto(shop)
    page.get_by_text("text").click()
    assert page.title() == "nonce ran"
    assert len([one for one in problems if "Content Security Policy" in one]) == 2


def test_a_page_is_not_shown_in_a_frame(page: Any, attacker: str, shop: str) -> None:
    page.goto(attacker)
    with page.expect_event("requestfailed", lambda request: request.url == shop + "/"):
        page.evaluate("shop => { document.querySelector('iframe').src = shop + '/' }", shop)
    assert page.frames[1].get_by_text("text").count() == 0
