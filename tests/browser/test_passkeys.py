"""The program on the page about passkeys, with a virtual authenticator of Chromium."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_waits import wait_until
from page_programs import read_program

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture(scope="module")
def site(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("passkeys")
    (folder / "main.py").write_text(read_program("passkeys"))
    served = serve("main:app", folders=(folder,), environment={"SITE": "http://localhost:{port}"})
    return f"http://localhost:{served.port}"


@pytest.fixture
def devices(page: Any) -> tuple[Any, str]:
    """The session of the developer tools and the id of the authenticator."""
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    added = tools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return tools, added["authenticatorId"]


def test_a_user_registers_logs_out_and_logs_in(
    page: Any, devices: tuple[Any, str], site: str, problems: list[str]
) -> None:
    page.goto(site)
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name="Register").click()
    page.get_by_text("Hello, ada!").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="Log in with a passkey").click()
    page.get_by_text("Hello, ada!").wait_for()
    assert problems == []


def test_a_login_without_a_fingerprint_shows_the_reason(
    page: Any, devices: tuple[Any, str], site: str
) -> None:
    tools, id = devices
    page.goto(site)
    page.get_by_label("Name").fill("bob")
    page.get_by_role("button", name="Register").click()
    page.get_by_role("button", name="Log out").click()
    tools.send("WebAuthn.setUserVerified", {"authenticatorId": id, "isUserVerified": False})
    page.get_by_role("button", name="Log in with a passkey").click()
    wait_until(page, lambda: page.locator("#problem").text_content())
    assert page.get_by_role("button", name="Log in with a passkey").is_visible()
