"""The program on the page "Login with OpenID Connect" against a fake issuer, with good and hostile logins.

The program switches its process, so it runs in a process of its own.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from ports import free_port

pytest.importorskip("authlib")

from oidc_issuer import CLIENT_ID, CLIENT_SECRET, RunningIssuer
from page_programs import read_program

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


class Shop:
    """The program under uvicorn."""

    def __init__(self, folder, issuer):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "main.py").write_text(read_program("oidc"))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "SITE": self.url,
            "SECRET_KEY": "k" * 32,
            "OIDC_ISSUER": issuer.url,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
        }
        command = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port)]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx2.get(self.url)
                return
            except httpx2.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def running_issuer():
    with RunningIssuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(running_issuer):
    running_issuer.fault = None
    return running_issuer


@pytest.fixture(scope="module")
def shop(running_issuer, tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("shop"), running_issuer)
    shop.wait()
    yield shop
    shop.stop()


@pytest.fixture
def browser(shop):
    with httpx2.Client(base_url=shop.url, follow_redirects=True) as client:
        yield client


def location(response):
    assert response.is_redirect, response.text
    return response.headers["location"]


def callback_of(browser, path="/login"):
    """Start a login, let the issuer approve it, and return the address of the callback."""
    to_issuer = location(browser.get(path, follow_redirects=False))
    return location(httpx2.get(to_issuer))


def is_logged_in(browser):
    return "Hello, Ada" in browser.get("/").text


def test_a_user_logs_in_and_returns_to_the_page(browser, issuer):
    response = browser.get("/orders")
    assert (response.url.path, response.status_code) == ("/orders", 200)
    assert "The orders of ada-7." in response.text
    assert "Hello, Ada &lt;b&gt;!" in browser.get("/").text


def test_the_request_to_the_issuer_has_state_nonce_and_pkce(browser, issuer):
    query = parse_qs(urlsplit(location(browser.get("/login", follow_redirects=False))).query)
    assert query["code_challenge_method"] == ["S256"]
    assert all(len(query[name][0]) >= 20 for name in ("state", "nonce", "code_challenge"))


def test_the_login_gives_the_session_a_new_id(browser, issuer, shop):
    callback = callback_of(browser)
    before = dict(browser.cookies)
    browser.get(callback)
    assert is_logged_in(browser)
    assert dict(browser.cookies) != before
    with httpx2.Client(base_url=shop.url, cookies=before) as attacker:
        assert not is_logged_in(attacker)


@pytest.mark.parametrize(
    "fault",
    [
        *("nonce", "audience", "issuer", "expired", "none", "shared secret", "key"),
        *("garbage", "other user", "denied"),
    ],
)
def test_a_wrong_answer_of_the_issuer_is_no_login(browser, issuer, fault):
    issuer.fault = fault
    response = browser.get("/login")
    assert response.status_code == 400
    assert "The login did not work." in response.text
    assert not is_logged_in(browser)


@pytest.mark.parametrize("fault", ["token", "no id token"])
def test_a_broken_answer_of_the_issuer_is_a_503(browser, issuer, fault):
    issuer.fault = fault
    response = browser.get("/login")
    assert (response.status_code, response.headers["retry-after"]) == (503, "30")
    assert not is_logged_in(browser)


@pytest.mark.parametrize("query", ["", "?code=x", "?code=x&state=y", "?state=y", "?error=x<b>"])
def test_a_callback_without_a_login_is_refused(browser, issuer, query):
    response = browser.get(f"/callback{query}")
    assert response.status_code == 400
    assert "x<b>" not in response.text


def test_a_callback_with_another_state_is_refused(browser, issuer):
    callback = callback_of(browser)
    assert browser.get(callback.replace("state=", "state=x")).status_code == 400
    assert not is_logged_in(browser)


def test_a_callback_of_another_browser_is_refused(browser, issuer, shop):
    callback = callback_of(browser)
    with httpx2.Client(base_url=shop.url) as victim:
        victim.get("/login")
        assert victim.get(callback).status_code == 400
        assert not is_logged_in(victim)


def test_a_callback_works_once(browser, issuer):
    callback = callback_of(browser)
    assert browser.get(callback).status_code == 200
    assert browser.get(callback).status_code == 400


def test_a_used_code_in_a_new_login_is_refused_by_the_issuer(browser, issuer):
    first = parse_qs(urlsplit(callback_of(browser)).query)
    browser.get("/callback", params={name: value[0] for name, value in first.items()})
    second = parse_qs(urlsplit(callback_of(browser)).query)
    replay = {"code": first["code"][0], "state": second["state"][0]}
    assert browser.get("/callback", params=replay).status_code == 400


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/orders", "/orders"),
        ("/orders?page=2", "/orders"),
        ("{site}/orders", "/orders"),
        ("https://evil.example/orders", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("{site}.evil.example/orders", "/"),
        ("{site}//evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("orders", "/"),
    ],
)
def test_a_login_leads_to_a_page_of_the_site_only(browser, issuer, shop, target, path):
    response = browser.get("/login", params={"next": target.format(site=shop.url)})
    assert str(response.url).startswith(f"{shop.url}/")
    assert response.url.path == path


def test_a_logout_ends_the_session_and_revokes_the_token(browser, issuer, shop):
    browser.get("/login")
    cookies = dict(browser.cookies)
    issuer.revoked.clear()
    response = browser.post("/logout")
    assert [each.url.path for each in response.history] == ["/logout", "/logout"]
    assert issuer.revoked == ["refresh"]
    with httpx2.Client(base_url=shop.url, cookies=cookies) as thief:
        assert not is_logged_in(thief)


@pytest.mark.parametrize(("query", "stays"), [("", True), ("?everywhere=1", False)])
def test_a_logout_ends_other_sessions_on_request(browser, issuer, shop, query, stays):
    browser.get("/login")
    with httpx2.Client(base_url=shop.url, follow_redirects=True) as phone:
        phone.get("/login")
        browser.post(f"/logout{query}")
        assert not is_logged_in(browser)
        assert is_logged_in(phone) is stays


def test_another_site_can_not_log_a_user_out(browser, issuer):
    browser.get("/login")
    response = browser.post("/logout", headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403
    assert is_logged_in(browser)


def test_new_keys_of_the_issuer_are_found(browser, issuer, monkeypatch):
    from token_issuer import make_key

    browser.get("/login")
    monkeypatch.setattr(issuer, "key", make_key("three"))
    assert browser.get("/login").status_code == 200
    assert is_logged_in(browser)


def test_a_login_waits_for_an_issuer_that_is_down(tmp_path):
    issuer = RunningIssuer()
    shop = Shop(tmp_path, issuer)
    try:
        shop.wait()
        with issuer, httpx2.Client(base_url=shop.url, follow_redirects=True) as browser:
            for fault in ("discovery", "other discovery"):
                issuer.fault = fault
                response = browser.get("/login")
                assert (response.status_code, response.headers["retry-after"]) == (503, "30")
            issuer.fault = None
            callback = callback_of(browser)
            browser.get("/login")
            assert is_logged_in(browser)
            issuer.stop()
            assert browser.get(callback).status_code == 400
            assert browser.get(callback_after_stop(browser)).status_code == 503
            assert browser.post("/logout").url.path == "/"
            assert not is_logged_in(browser)
    finally:
        shop.stop()


def callback_after_stop(browser):
    """Return the address of a callback whose code nobody can exchange: the issuer has stopped."""
    to_issuer = location(browser.get("/login", follow_redirects=False))
    state = parse_qs(urlsplit(to_issuer).query)["state"][0]
    return f"/callback?code=x&state={state}"
