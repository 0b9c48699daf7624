"""The settings of sessions in a store: which are refused, and the name of the cookie."""

from __future__ import annotations

from typing import Any

import pytest
from session_kit import KEY

from spica.middleware.sessions import SessionMiddleware
from spica.signing import Keyring
from spica.stores import MemoryStore


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Never runs."""


def make(**settings: Any) -> SessionMiddleware:
    settings.setdefault("secret_key", KEY)
    settings.setdefault("store", MemoryStore())
    return SessionMiddleware(app, **settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_age": 0}, ValueError, "max_age must be above 0"),
        ({"max_age": -1}, ValueError, "max_age must be above 0"),
        ({"absolute_seconds": 0}, ValueError, "absolute_seconds must be above 0"),
        (
            {"absolute_seconds": float("inf")},
            ValueError,
            "absolute_seconds must be above 0 and finite",
        ),
        ({"absolute_seconds": "1"}, TypeError, "absolute_seconds must be a number of seconds"),
        ({"touch_seconds": -1}, ValueError, "touch_seconds must be above 0"),
        ({"touch_seconds": 99, "max_age": 99}, ValueError, "the session of an active user would"),
        ({"max_size": 0}, ValueError, "max_size must be 1 or more bytes, not 0"),
        ({"max_size": 1.5}, TypeError, "max_size must be a number of bytes, not 1.5"),
        ({"on_unavailable": "ignore"}, ValueError, "must be 'refuse' or 'empty', not 'ignore'"),
        ({"store": "redis://x"}, TypeError, r"must be a store, not a string\. Write open_store"),
        ({"store": MemoryStore}, TypeError, "must be a store such as open_store"),
        ({"store": {}}, TypeError, r"must be a store such as open_store\(\.\.\.\), not {}"),
        ({"secret_key": ""}, ValueError, "secret_key is empty"),
        ({"salt": ""}, ValueError, "salt must be a string"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"absolute_seconds": 1}, {"touch_seconds": 1}, {"max_size": 1}, {"on_unavailable": "empty"}],
)
def test_settings_that_need_a_store_are_refused_without_one(settings: Any) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name}=.* needs a store"):
        make(store=None, **settings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"https_only": True}, "__Host-session"),
        ({}, "session"),
        ({"https_only": True, "path": "/shop"}, "session"),
        ({"https_only": True, "domain": "example.org"}, "session"),
        ({"https_only": True, "session_cookie": "sid"}, "sid"),
        ({"https_only": True, "store": None}, "session"),
    ],
)
def test_a_secure_cookie_of_the_whole_host_has_the_host_prefix(settings: Any, name: str) -> None:
    assert make(**settings).session_cookie == name


def test_touch_seconds_may_be_zero() -> None:
    make(touch_seconds=0)


@pytest.mark.parametrize("store", [None, MemoryStore()])
def test_a_keyring_is_a_secret_key(store: Any) -> None:
    layer = make(secret_key=Keyring("new", "old"), store=store)
    assert layer.signer.secret_keys == [b"old", b"new"]
