"""The cookie of a session: signed, read by others too, and refused where browsers would drop it."""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Any

import pytest
from itsdangerous import TimestampSigner

from spica.datastructures import Secret
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware.sessions.cookie import (
    check_cookie,
    explain_size,
    format_flags,
    make_signer,
    sign,
    unsign,
)

DATA = b'{"user":"me"}'


@pytest.mark.parametrize("key", ["key", Secret("key"), b"key", ["key", "old"]], ids=repr)
def test_the_value_is_what_itsdangerous_reads(key: Any) -> None:
    value = sign(make_signer(key, None), DATA)
    assert json.loads(b64decode(TimestampSigner("key").unsign(value))) == {"user": "me"}


def test_what_itsdangerous_wrote_is_read() -> None:
    value = TimestampSigner("key").sign(b64encode(DATA)).decode()
    assert unsign(make_signer("key", None), value, 60) == DATA


def test_all_keys_verify_and_the_first_signs() -> None:
    before, during, after = (make_signer(keys, None) for keys in ("old", ["new", "old"], ["new"]))
    assert unsign(during, sign(before, DATA), None) == DATA
    assert unsign(after, sign(during, DATA), None) == DATA
    assert unsign(before, sign(during, DATA), None) == b""


def test_what_was_signed_for_one_purpose_is_not_accepted_for_another() -> None:
    signers = [make_signer("key", salt) for salt in (None, "shop", "forum")]
    for signer in signers:
        assert [bool(unsign(other, sign(signer, DATA), None)) for other in signers] == [
            other is signer for other in signers
        ]


@pytest.mark.parametrize(
    "value",
    ["", "null", "a.b.c", "é", sign(make_signer("other", None), DATA)],
    ids=["nothing", "null", "garbage", "not ASCII", "another key"],
)
def test_other_values_are_not_accepted(value: str) -> None:
    assert unsign(make_signer("key", None), value, None) == b""


def test_a_signed_value_that_is_not_base64_is_not_accepted() -> None:
    value = TimestampSigner("key").sign(b"a").decode()
    assert unsign(make_signer("key", None), value, None) == b""


@pytest.mark.parametrize("size", [5, 6, 7, 8, 9], ids=repr)
def test_a_signed_time_that_no_clock_shows_is_not_accepted(size: int) -> None:
    signer = TimestampSigner("key")
    stamped = b64encode(DATA) + b"." + urlsafe_b64encode(b"\x7f" * size).rstrip(b"=")
    value = stamped + b"." + signer.get_signature(stamped)
    assert unsign(make_signer("key", None), value.decode(), 60) == b""


@pytest.mark.parametrize(("age", "is_read"), [(59, True), (60, True), (61, False)])
def test_a_value_has_its_time(age: int, is_read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = make_signer("key", None)
    value = sign(signer, DATA)
    now = signer.get_timestamp()
    monkeypatch.setattr(signer, "get_timestamp", lambda: now + age)
    assert bool(unsign(signer, value, 60)) == is_read
    assert unsign(signer, value, None) == DATA


WRONG_KEYS: dict[str, tuple[Any, type[Exception], str]] = {
    "empty": ("", ValueError, "secret_key is empty"),
    "blank": (" ", ValueError, "secret_key is empty"),
    "an empty secret": (Secret(""), ValueError, "secret_key is empty"),
    "no bytes": (b"", ValueError, "secret_key is empty"),
    "an empty one in a list": (["hidden", ""], ValueError, "secret_key is empty"),
    "an empty list": ([], ValueError, "secret_key is an empty list"),
    "None": (None, TypeError, "secret_key must be a string, or a list of them, not NoneType."),
    "None in a list": (["hidden", None], TypeError, "secret_key must be a string, not NoneType."),
}


@pytest.mark.parametrize(("key", "error", "text"), WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
def test_a_key_that_protects_nothing_is_refused(key: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        make_signer(key, None)
    assert str(caught.value).startswith(f"SessionMiddleware: {text}")
    assert "hidden" not in str(caught.value)


def test_an_empty_salt_is_refused() -> None:
    with pytest.raises(
        ValueError, match="SessionMiddleware: salt must be a string that is not empty"
    ):
        make_signer("key", "")


def test_a_missing_itsdangerous_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "spica.middleware.sessions.signer", raising=False)
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(ImportError, match=r"pip install 'spica\[sessions\]'"):
        make_signer("key", None)


WRONG_COOKIES: dict[str, tuple[tuple[Any, ...], type[Exception], str]] = {
    "a name": (
        ("my session", "/", None, "lax", False),
        ValueError,
        "'my session' is not a valid cookie name",
    ),
    "a path": (("s", "/;a", None, "lax", False), ValueError, "The path of a cookie is '/;a'"),
    "a domain": (("s", "/", "a\nb", "lax", False), ValueError, "The domain of a cookie is"),
    "a URL for a domain": (
        ("s", "/", "https://a.org", "lax", False),
        ValueError,
        "The domain of a cookie is 'https://a.org': it must be a host name, or browsers drop",
    ),
    "same site": (("s", "/", None, "no", False), ValueError, "samesite must be either"),
    "same site None": (("s", "/", None, None, False), TypeError, "same_site must be 'lax'"),
    "same site without TLS": (
        ("s", "/", None, "None", False),
        ValueError,
        "same_site='None' needs https_only=True",
    ),
}


@pytest.mark.parametrize(
    ("settings", "error", "text"), WRONG_COOKIES.values(), ids=WRONG_COOKIES.keys()
)
def test_a_cookie_that_browsers_drop_is_refused(settings: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        check_cookie(*settings)
    assert str(caught.value).startswith(f"SessionMiddleware: {text}")


def test_a_good_cookie_passes() -> None:
    check_cookie("__Host-s", "/", None, "none", True)


def test_the_attributes_of_a_cookie() -> None:
    assert format_flags("lax", False, None, False) == "httponly; samesite=lax"
    assert format_flags("none", True, "example.org", True) == (
        "httponly; samesite=none; secure; domain=example.org; partitioned"
    )


def test_a_partitioned_cookie_without_tls_is_warned_of() -> None:
    with pytest.warns(SpicaConfigurationWarning, match="partitioned=True needs https_only=True"):
        format_flags("lax", False, None, True)


def test_the_largest_entries_are_named() -> None:
    text = explain_size("s", 5000, {"a": 1, "b": 3000, "c": 2, "d": 900})
    assert "the cookie 's' has 5000 bytes, and browsers drop cookies over 4096" in text
    assert text.endswith("Its largest entries, in bytes: 'b' (3000), 'd' (900), 'c' (2).")
