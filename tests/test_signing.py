"""The keyring: which signatures it accepts, and for what."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from spica.applications import Spica
from spica.datastructures import Secret
from spica.responses import PlainTextResponse
from spica.routing import Route
from spica.signing import ExpiredSignature, InvalidSignature, Keyring
from spica.testclient import TestClient

KEYRING = Keyring("a long random string")


@given(st.text(), st.text(min_size=1))
def test_verify_returns_what_was_signed(value, purpose):
    assert KEYRING.verify(KEYRING.sign(value, purpose), purpose) == value


@pytest.mark.parametrize(
    "signed",
    [None, "", ".", "a", "a.b.c", "a..", "\ud800", "é..x", KEYRING.sign("a", "x")[:-1], b"a..b", 7],
)
def test_junk_is_an_invalid_signature(signed):
    with pytest.raises(InvalidSignature, match=r"The signature is invalid\."):
        KEYRING.verify(signed, "x")


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_value_or_expiry_is_an_invalid_signature(index, step):
    signed = KEYRING.sign("user 7", "x", 60)
    index %= signed.rindex(".")
    changed = signed[:index] + chr((ord(signed[index]) + step) % 256) + signed[index + 1 :]
    with pytest.raises(InvalidSignature):
        KEYRING.verify(changed, "x")


def test_a_signature_is_valid_for_one_purpose():
    with pytest.raises(InvalidSignature):
        KEYRING.verify(KEYRING.sign("7", "unsubscribe"), "delete")


def test_the_first_secret_signs_and_all_verify():
    old, both, new = Keyring("old"), Keyring("new", "old"), Keyring("new")
    assert both.verify(old.sign("7", "x"), "x") == "7"
    assert new.verify(both.sign("7", "x"), "x") == "7"
    with pytest.raises(InvalidSignature):
        new.verify(old.sign("7", "x"), "x")


@pytest.mark.parametrize(("seconds", "is_valid"), [(9, True), (10, False), (11, False)])
def test_a_signature_expires(monkeypatch, seconds, is_valid):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    signed = KEYRING.sign("7", "x", seconds=10)
    monkeypatch.setattr(time, "time", lambda: 1000.0 + seconds)
    if is_valid:
        assert KEYRING.verify(signed, "x") == "7"
    else:
        with pytest.raises(ExpiredSignature, match="has expired"):
            KEYRING.verify(signed, "x")


def test_a_value_that_ends_with_a_number_has_no_expiry():
    assert KEYRING.verify(KEYRING.sign("7.1", "x"), "x") == "7.1"
    assert KEYRING.verify(KEYRING.sign("7.1", "x", 60), "x") == "7.1"


def test_a_forged_expiry_is_invalid():
    value, _, signature = KEYRING.sign("7", "x").partition("..")
    with pytest.raises(InvalidSignature):
        KEYRING.verify(f"{value}.99999999999.{signature}", "x")


def test_bytes_that_the_signer_signed_are_no_value_of_verify():
    signer = KEYRING.signer("x")
    assert isinstance(signer, Signer)
    assert signer.unsign(signer.sign(b"a.b")) == b"a.b"
    for value in (b"a", b"a.b", b"a.-1", b"a. 1"):
        with pytest.raises(InvalidSignature):
            KEYRING.verify(signer.sign(value).decode(), "x")


def test_an_invalid_signature_is_a_403():
    async def endpoint(request):
        return PlainTextResponse(KEYRING.verify(request.query_params.get("token"), "x"))

    client = TestClient(Spica(routes=[Route("/", endpoint)]))
    assert client.get("/").status_code == 403
    assert client.get("/", params={"token": KEYRING.sign("ok", "x")}).text == "ok"


@pytest.mark.parametrize("secret", ["s", b"s", Secret("s")])
def test_secrets_of_all_types_are_the_same(secret):
    assert Keyring(secret).verify(Keyring("s").sign("7", "x"), "x") == "7"


@pytest.mark.parametrize(
    ("secrets", "error", "message"),
    [
        ((), ValueError, "there is no secret"),
        (("",), ValueError, "a secret is empty"),
        (("ok", b" "), ValueError, "a secret is empty"),
        ((["swordfish"],), TypeError, "must be a string, not list"),
    ],
)
def test_wrong_secrets_are_refused_and_not_shown(secrets, error, message):
    with pytest.raises(error, match=message) as caught:
        Keyring(*secrets)
    assert "swordfish" not in str(caught.value)


def test_a_keyring_hides_its_secrets():
    assert repr(Keyring("swordfish", "b")) == "<Keyring of 2 secrets>"
    assert Keyring("swordfish", "b").secrets == (b"swordfish", b"b")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True])
def test_wrong_seconds_are_refused(seconds):
    with pytest.raises(ValueError, match="seconds must be a positive number"):
        KEYRING.sign("7", "x", seconds)


def test_wrong_values_and_purposes_are_refused():
    with pytest.raises(TypeError, match="the value must be a str, not 7"):
        KEYRING.sign(7, "x")
    for purpose in ("", None):
        with pytest.raises(ValueError, match="purpose must be a string that is not empty"):
            KEYRING.sign("7", purpose)


def test_purposes_made_per_user_do_not_fill_the_memory():
    keyring = Keyring("s")
    signed = [keyring.sign("7", f"user {number}") for number in range(1000)]
    assert len(keyring._signers) <= 64
    assert keyring.verify(signed[3], "user 3") == "7"
