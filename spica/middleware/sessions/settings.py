"""The settings of sessions in a store, and their checks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

ABSOLUTE_SECONDS = 30 * 86400.0
"""The default time after which a session ends in any case."""
MAX_SIZE = 65536
"""The default limit for the size of a session in bytes."""

_METHODS = "read create merge delete members delete_group generation get set prefixed"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The settings that concern the store. `SessionMiddleware` documents them.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range.
    """

    idle_seconds: float
    absolute_seconds: float
    touch_seconds: float
    max_size: int
    on_unavailable: Literal["refuse", "empty"]
    is_persistent: bool
    """Whether browsers keep the cookie after they are closed."""

    def __post_init__(self) -> None:
        _check_seconds("max_age", self.idle_seconds)
        _check_seconds("absolute_seconds", self.absolute_seconds)
        if self.touch_seconds != 0:
            _check_seconds("touch_seconds", self.touch_seconds)
        if self.touch_seconds >= self.idle_seconds:
            raise ValueError(
                f"SessionMiddleware: touch_seconds is {self.touch_seconds!r}, so the session of an active "
                f"user would expire after max_age, {self.idle_seconds!r}. Use less, such as max_age / 10."
            )
        if isinstance(self.max_size, bool) or not isinstance(self.max_size, int):
            raise TypeError(
                f"SessionMiddleware: max_size must be a number of bytes, not {self.max_size!r:.80}."
            )
        if self.max_size < 1:
            raise ValueError(
                f"SessionMiddleware: max_size must be 1 or more bytes, not {self.max_size}."
            )
        if self.on_unavailable not in ("refuse", "empty"):
            raise ValueError(
                f"SessionMiddleware: on_unavailable must be 'refuse' or 'empty', "
                f"not {self.on_unavailable!r:.80}."
            )


def _check_seconds(name: str, seconds: Any) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(
            f"SessionMiddleware: {name} must be a number of seconds, not {seconds!r:.80}."
        )
    if not 0 < seconds < math.inf:
        raise ValueError(
            f"SessionMiddleware: {name} must be above 0 and finite with a store, not {seconds!r}."
        )


def check_store(store: Any, owner: str = "SessionMiddleware") -> None:
    """Refuse anything but a store. ``owner`` begins the message.

    Raises:
        TypeError: ``store`` is not a `Store`.
    """
    if isinstance(store, str):
        raise TypeError(
            f"{owner}: store must be a store, not a string. Write open_store(...) from spica.stores."
        )
    if isinstance(store, type) or not all(hasattr(store, name) for name in _METHODS.split()):
        raise TypeError(
            f"{owner}: store must be a store such as open_store(...), not {store!r:.80}."
        )


def check_without_store(
    absolute_seconds: float, touch_seconds: float | None, max_size: int, on_unavailable: str
) -> None:
    """Refuse settings that have no effect on sessions in a cookie.

    Raises:
        ValueError: A setting differs from its default.
    """
    for name, value, default in (
        ("absolute_seconds", absolute_seconds, ABSOLUTE_SECONDS),
        ("touch_seconds", touch_seconds, None),
        ("max_size", max_size, MAX_SIZE),
        ("on_unavailable", on_unavailable, "refuse"),
    ):
        if value != default:
            raise ValueError(
                f"SessionMiddleware: {name}={value!r:.80} needs a store: "
                "SessionMiddleware(store=open_store(...))."
            )
