"""Check the types of settings. Each error names the setting, its value and the fix."""

from __future__ import annotations

from collections.abc import Collection
from inspect import CO_VARARGS
from types import FunctionType, MethodType
from typing import Any

from spica._http.fields import is_token
from spica.datastructures import Secret


def check_strings(values: Collection[str], place: str) -> None:
    """Require a collection of strings. A single string is a collection only by accident, so it is refused.

    The string ``*`` passes, because its only item is itself and many programs write it without a list.

    Raises:
        TypeError: ``values`` is a string, not a collection, or has an item that is not a string.
    """
    if isinstance(values, (str, bytes)) and values != "*":
        raise TypeError(
            f"{place} must be a list of strings, not the string {values!r:.80}. Write [{values!r:.80}]."
        )
    if not isinstance(values, Collection):
        raise TypeError(f"{place} must be a list of strings, not {values!r:.80}.")
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{place} must be strings, not {value!r:.80}.")


def check_scopes(scopes: Any, place: str) -> Any:
    """Return the scopes that a connection needs, or None.

    Raises:
        TypeError: ``scopes`` is not a list of strings.
        ValueError: ``scopes`` is empty, and would protect nothing.
    """
    if scopes is None:
        return None
    check_strings(scopes, place)
    if not scopes or isinstance(scopes, str):
        raise ValueError(
            f'{place} must be a list with at least one scope, for example ["authenticated"], '
            f"not {scopes!r:.80}."
        )
    return tuple(scopes)


def check_tokens(values: Collection[str], place: str) -> None:
    """Require a collection of tokens, such as methods or header names.

    Raises:
        TypeError: ``values`` is not a collection of strings.
        ValueError: an item is not a token (RFC 9110 s.5.6.2).
    """
    check_strings(values, place)
    for value in values:
        if not is_token(value):
            raise ValueError(
                f"{place} has {value!r:.80}, which can never match: "
                "use only letters, digits and !#$%&'*+-.^_`|~, and one name per item."
            )


def check_flag(value: Any, place: str, fix: str = "") -> Any:
    """Return ``value`` if it is a bool, an int or None. Any string would count as true, even ``"false"``.

    ``fix`` ends the message for an object that belongs to another parameter.

    Raises:
        TypeError: ``value`` is a string or any other object, such as a list of routes in the first position.
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"{place} must be True or False, not the string {value!r:.80}, which would count as true. If it "
            "comes from the environment, read it with config(..., cast=bool)."
        )
    if value is not None and not isinstance(value, int):
        raise TypeError(f"{place} must be True or False, not {value!r:.80}. {fix}".rstrip())
    return value


def check_seconds(value: Any, place: str) -> None:
    """Require a number of whole seconds or None.

    Raises:
        TypeError: ``value`` is not an int.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{place} must be a number of seconds or None, not {value!r:.80}.")


def check_duration(value: Any, place: str) -> float:
    """Return a number of seconds, from 0.

    Raises:
        TypeError: ``value`` is not a number.
        ValueError: ``value`` is negative or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{place} must be a number of seconds, not {value!r:.80}.")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{place} must be a finite number of seconds from 0, not {value!r}.")
    return value


def check_size(value: Any, place: str, least: int = 0) -> None:
    """Require a number of bytes. ``math.inf`` means no limit.

    Raises:
        TypeError: ``value`` is not a number.
        ValueError: ``value`` is less than ``least``, or not a number at all (NaN).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{place} must be a number of bytes, not {value!r:.80}.")
    if not value >= least:
        raise ValueError(f"{place} must be {least} or more bytes, not {value!r}.")


def check_secret(secret: Any, place: str) -> bytes:
    """Return a secret as bytes. The messages never show it.

    Raises:
        TypeError: ``secret`` is neither a string, bytes nor a `Secret`.
        ValueError: it is empty.
    """
    if not isinstance(secret, (str, bytes, Secret)):
        raise TypeError(f"{place} must be a string, not {type(secret).__name__}.")
    raw = secret if isinstance(secret, bytes) else str(secret).encode()
    if not raw.strip():
        raise ValueError(
            f"{place} is empty, so anybody could forge signatures. Use a long random string, "
            "for example from secrets.token_hex(32), and store it."
        )
    return raw


def takes(function: Any, count: int) -> bool:
    """Return whether you can call ``function`` with ``count`` arguments; True where only a call can tell."""
    # By type(): the proxies that tracing agents put around functions claim to be functions.
    if type(function) is MethodType:
        function, count = function.__func__, count + 1
    if type(function) is not FunctionType:
        return True
    code = function.__code__
    most = code.co_argcount
    keywords = code.co_varnames[most : most + code.co_kwonlyargcount]
    return (
        most - len(function.__defaults__ or ()) <= count
        and (count <= most or code.co_flags & CO_VARARGS != 0)
        and (function.__kwdefaults__ or {}).keys() >= set(keywords)
    )
