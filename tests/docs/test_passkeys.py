"""The program on the page "Login with passkeys" with a security key in software, and with hostile answers."""

import pytest

pytest.importorskip("webauthn")

from authenticator import PRESENT, Authenticator
from page_programs import read_program

from spica.testclient import TestClient

SITE = "http://localhost:8000"


@pytest.fixture
def program(monkeypatch):
    monkeypatch.setenv("SITE", SITE)
    names = {"__name__": "passkeys"}
    exec(read_program("passkeys"), names)
    return names


@pytest.fixture
def browser(program):
    with TestClient(program["app"], base_url=SITE) as client:
        yield client


def open_browser(program):
    return TestClient(program["app"], base_url=SITE)


@pytest.fixture
def key():
    return Authenticator(SITE)


def start_registration(browser, name="ada"):
    response = browser.post("/register/options", json={"name": name})
    assert response.status_code == 200
    return response.json()


def register(browser, key, name="ada"):
    return browser.post("/register", json=key.create(start_registration(browser, name)))


def log_in(browser, key):
    return browser.post("/login", json=key.get(browser.post("/login/options").json()))


def is_logged_in(browser):
    return "Hello, ada!" in browser.get("/").text


def test_a_user_registers_and_logs_in(browser, key):
    assert register(browser, key).json() == {"name": "ada"}
    assert is_logged_in(browser)
    browser.post("/logout")
    assert not is_logged_in(browser)
    assert log_in(browser, key).json() == {"name": "ada"}
    assert is_logged_in(browser)


def test_a_user_adds_a_passkey(browser, key):
    register(browser, key)
    options = browser.post("/register/options").json()
    assert len(options["excludeCredentials"]) == 1
    second = Authenticator(SITE)
    browser.post("/register", json=second.create(options))
    browser.post("/logout")
    assert log_in(browser, second).status_code == 200
    assert is_logged_in(browser)


def test_the_login_gives_the_session_a_new_id(program, browser, key):
    options = start_registration(browser)
    before = dict(browser.cookies)
    browser.post("/register", json=key.create(options))
    attacker = open_browser(program)
    attacker.cookies.update(before)
    assert not is_logged_in(attacker)


MISTAKES = {
    "origin": {"origin": "http://localhost.evil.example:8000"},
    "scheme": {"origin": "https://localhost:8000"},
    "domain": {"rp_id": "evil.example"},
    "no user verification": {"flags": PRESENT},
    "nobody there": {"flags": 0},
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_answer_registers_nothing(program, browser, key, mistake):
    vars(key).update(mistake)
    response = register(browser, key)
    assert response.status_code == 400
    assert response.json()["error"].startswith("The passkey was refused: ")
    assert program["passkeys"] == {}


@pytest.mark.parametrize(
    "mistake",
    [*MISTAKES.values(), {"step": 0}, {"step": -1}, {"key": Authenticator(SITE).key}],
    ids=[*MISTAKES, "same sign count", "lower sign count", "signature"],
)
def test_a_wrong_answer_is_no_login(browser, key, mistake):
    register(browser, key)
    browser.post("/logout")
    key.sign_count = 5
    assert log_in(browser, key).status_code == 200
    browser.post("/logout")
    vars(key).update(mistake)
    assert log_in(browser, key).status_code == 400
    assert not is_logged_in(browser)


def test_a_passkey_without_a_sign_count_logs_in(browser, key):
    key.step = 0
    register(browser, key)
    assert [log_in(browser, key).status_code for _ in range(2)] == [200, 200]


def test_the_passkey_of_one_user_does_not_open_the_account_of_another(program, browser, key):
    other = Authenticator(SITE)
    register(browser, other, "bob")
    register(open_browser(program), key)
    browser.post("/logout")
    key.user_handle = other.user_handle
    assert log_in(browser, key).status_code == 400


def test_an_answer_works_once(browser, key):
    register(browser, key)
    browser.post("/logout")
    answer = key.get(browser.post("/login/options").json())
    assert browser.post("/login", json=answer).status_code == 200
    browser.post("/logout")
    assert browser.post("/login", json=answer).status_code == 400
    browser.post("/login/options")
    assert browser.post("/login", json=answer).status_code == 400
    assert not is_logged_in(browser)


def test_an_old_cookie_does_not_bring_a_challenge_back(browser, key):
    register(browser, key)
    browser.post("/logout")
    answer = key.get(browser.post("/login/options").json())
    cookies = dict(browser.cookies)
    browser.post("/login", json=answer)
    browser.cookies.clear()
    browser.cookies.update(cookies)
    assert browser.post("/login", json=answer).status_code == 400


def test_a_challenge_of_a_registration_is_none_of_a_login(browser, key):
    register(browser, key)
    options = browser.post("/register/options").json()
    answer = key.get({"challenge": options["challenge"], "rpId": "localhost"})
    assert browser.post("/login", json=answer).status_code == 400


def test_an_answer_that_comes_late_is_refused(program, browser, key):
    options = start_registration(browser)
    program["CHALLENGE_SECONDS"] = -1
    response = browser.post("/register", json=key.create(options))
    assert (response.status_code, "too long" in response.text) == (400, True)


@pytest.mark.parametrize("name", ["ada", "", " ", "x" * 65])
def test_a_taken_or_bad_name_is_refused(program, browser, key, name):
    register(browser, key)
    stranger = open_browser(program)
    assert stranger.post("/register/options", json={"name": name}).status_code == 409


def test_of_two_registrations_with_a_name_one_wins(program, browser, key):
    stranger = open_browser(program)
    options, others = start_registration(browser), start_registration(stranger)
    assert browser.post("/register", json=key.create(options)).status_code == 200
    second = Authenticator(SITE)
    assert stranger.post("/register", json=second.create(others)).status_code == 409


def test_a_passkey_is_registered_once(program, browser, key):
    register(browser, key)
    stranger = open_browser(program)
    assert register(stranger, key, "bob").status_code == 409


def test_another_site_can_not_post(browser):
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert browser.post("/login/options", headers=headers).status_code == 403


OUTER = ["id", "rawId", "type", "response"]
CREATED = ["clientDataJSON", "attestationObject"]
SIGNED = ["clientDataJSON", "authenticatorData", "signature", "userHandle"]
BROKEN = [None, "", "x", "AAAA", "!", 7, [], {}, "ÿ"]


def break_value(answer, name, value):
    place = answer if name in OUTER else answer["response"]
    place[name] = value
    return answer


@pytest.mark.parametrize("name", [*OUTER, *CREATED])
def test_a_malformed_registration_is_refused(browser, key, name):
    for value in BROKEN:
        answer = break_value(key.create(start_registration(browser)), name, value)
        assert browser.post("/register", json=answer).status_code == 400, value


@pytest.mark.parametrize("name", [*OUTER, *SIGNED])
def test_a_malformed_login_is_refused(browser, key, name):
    register(browser, key)
    browser.post("/logout")
    for value in BROKEN:
        answer = break_value(key.get(browser.post("/login/options").json()), name, value)
        assert browser.post("/login", json=answer).status_code == 400, value


@pytest.mark.parametrize("content", ["[]", "7", "null", '"x"', "{", ""])
@pytest.mark.parametrize("path", ["/register/options", "/register", "/login"])
def test_a_body_that_is_no_object_is_refused(browser, content, path):
    browser.post("/login/options")
    assert browser.post(path, content=content).status_code in (400, 409)
