"""The tests on the page "JSON Web Tokens" pass, and the keys can be rotated as the page says."""

import json
import subprocess
import sys

import pytest
from joserfc.jwk import ECKey
from page_programs import read_program

from spica.testclient import TestClient

NEW, OLD = [
    ECKey.generate_key("P-256", {"kid": kid}).as_dict(private=True) for kid in ("new", "old")
]


def test_the_tests_on_the_page_pass(tmp_path):
    (tmp_path / "test_stars.py").write_text(read_program("jwt", blocks=2))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_stars.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "7 passed" in found.stdout


@pytest.fixture
def start(monkeypatch):
    """A function that starts the program with keys and returns its client."""

    def run(*keys):
        monkeypatch.setenv("TOKEN_KEYS", json.dumps(keys))
        names = {}
        exec(read_program("jwt", blocks=3), names)
        return TestClient(names["own"])

    return run


def take_token(client):
    found = client.post("/token", auth=("ada", "difference engine"))
    assert found.headers["cache-control"] == "no-store"
    return found.json()["access_token"]


def status(client, token):
    return client.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code


def test_tokens_work_through_the_steps_of_a_rotation(start):
    steps = [start(OLD), start(OLD, NEW), start(NEW, OLD), start(NEW)]
    tokens = [take_token(client) for client in steps]
    assert [status(after, token) for after, token in zip(steps[1:], tokens, strict=False)] == [
        200
    ] * 3
    assert status(steps[3], tokens[0]) == 401


def test_the_published_keys_are_public(start):
    keys = start(NEW, OLD).get("/jwks.json").json()["keys"]
    assert [key["kid"] for key in keys] == ["new", "old"]
    assert not any("d" in key for key in keys)


@pytest.mark.parametrize("auth", [None, ("ada", "guess")])
def test_a_wrong_password_gets_no_token(start, auth):
    response = start(NEW).post("/token", auth=auth)
    assert (response.status_code, response.json()) == (401, {"error": "invalid_client"})
