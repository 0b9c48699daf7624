"""The signer of sessions: it is one with itsdangerous' own in what it writes, accepts and refuses."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import BadData, BadTimeSignature, SignatureExpired, TimestampSigner

from spica.middleware.sessions.signer import SessionSigner

SIGNERS = TimestampSigner(["old", "new"]), SessionSigner(["old", "new"])
NOW = SIGNERS[0].get_timestamp()


def outcome(signer: TimestampSigner, *args: Any) -> Any:
    """Return what `unsign` returns, or what it raises with all it tells."""
    try:
        return signer.unsign(*args)
    except (BadData, ValueError, OverflowError, OSError) as error:  # the latter of far times
        return type(error), str(error), vars(error)


def assert_same(*args: Any) -> None:
    plain, ready = SIGNERS
    assert outcome(ready, *args) == outcome(plain, *args)


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for signer in SIGNERS:
        monkeypatch.setattr(signer, "get_timestamp", lambda: NOW)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 200])
def test_a_secret_of_any_size_signs_alike(size: int) -> None:
    secret = "k" * size
    plain, ready = TimestampSigner(secret), SessionSigner(secret)
    assert ready.get_signature("value") == plain.get_signature("value")


@pytest.mark.parametrize("derivation", ["concat", "django-concat", "hmac", "none"])
def test_a_key_derived_in_any_way_signs_alike(derivation: str) -> None:
    # RFC 2104 s.2: a key longer than a block is hashed first.
    for secret in ("k", "k" * 64, "k" * 65):
        signers = [
            kind(secret, key_derivation=derivation) for kind in (TimestampSigner, SessionSigner)
        ]
        assert signers[0].get_signature("value") == signers[1].get_signature("value")


@given(st.binary(max_size=200))
def test_any_value_signs_alike(value: bytes) -> None:
    plain, ready = SIGNERS
    assert ready.sign(value) == plain.sign(value)
    assert ready.unsign(plain.sign(value), 0) == value


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_garbage_is_refused_alike(value: str | bytes) -> None:
    assert_same(value)


@given(st.binary(max_size=12))
def test_any_timestamp_is_read_alike(timestamp: bytes) -> None:
    stamped = b"value." + urlsafe_b64encode(timestamp).rstrip(b"=")
    signed = stamped + b"." + SIGNERS[0].get_signature(stamped)
    for max_age in (None, 60):
        assert_same(signed, max_age)


def test_any_change_of_one_bit_is_refused() -> None:
    plain, ready = SIGNERS
    signed = plain.sign("value")
    end_of_signature = len(signed) - 1  # its last character has bits that mean nothing
    for at in range(end_of_signature):
        for bit in range(8):
            changed = bytearray(signed)
            changed[at] ^= 1 << bit
            assert_same(bytes(changed))
            with pytest.raises(BadData):
                ready.unsign(bytes(changed))


@pytest.mark.parametrize("end", [b"=", b"==", b"!", b"+", b"/", b"\xff", b"A"], ids=repr)
def test_a_signature_with_more_characters_is_refused(end: bytes) -> None:
    with pytest.raises(BadData):
        SIGNERS[1].unsign(SIGNERS[0].sign("value") + end)


@pytest.mark.parametrize("age", [59, 60, 61, -1], ids=repr)
def test_the_age_is_checked_alike(age: int, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = SIGNERS[0].sign("value")
    for signer in SIGNERS:
        monkeypatch.setattr(signer, "get_timestamp", lambda: NOW + age)
    assert_same(signed, 60)
    assert (outcome(SIGNERS[1], signed, 60) == b"value") == (0 <= age <= 60)


def test_an_expired_value_is_told_apart_from_a_forged_one() -> None:
    ready = SIGNERS[1]
    with pytest.raises(SignatureExpired):
        ready.unsign(ready.sign("value"), max_age=-1)
    with pytest.raises(BadTimeSignature):
        ready.unsign(TimestampSigner("another").sign("value"))


def test_the_timestamp_is_returned_if_it_is_asked_for() -> None:
    assert_same(SIGNERS[0].sign("value"), None, True)


@pytest.mark.parametrize("signature", ["é", "AAé", "A", "", b"\xff"], ids=repr)
def test_a_signature_is_verified_alike(signature: str | bytes) -> None:
    plain, ready = SIGNERS
    assert ready.verify_signature("value", signature) == plain.verify_signature("value", signature)


def test_each_secret_verifies_and_the_newest_signs() -> None:
    ready = SIGNERS[1]
    assert ready.unsign(TimestampSigner("old").sign("value")) == b"value"
    assert TimestampSigner("new").unsign(ready.sign("value")) == b"value"


def test_a_secret_that_is_taken_away_verifies_no_longer() -> None:
    ready = SessionSigner(["old", "new"])
    signed = TimestampSigner("old").sign("value")
    assert ready.unsign(signed) == b"value"
    ready.secret_keys.remove(b"old")
    with pytest.raises(BadData):
        ready.unsign(signed)


def test_nothing_is_kept_of_what_clients_send() -> None:
    ready = SessionSigner(["old", "new"])
    for number in range(100):
        outcome(ready, f"value{number}.AAAA.AAAA")
    assert ready._hashes.keys() == {b"old", b"new"}
