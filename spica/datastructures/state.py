"""Hold what an application keeps between requests, or for one request.

A `State` is a view on a dict: two views on one dict see each other's changes, which is how the
state that the lifespan yields reaches each request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class State:
    """Give the entries of a dict as attributes, and as items too.

    `state.users = ...` and `state["users"] = ...` are the same. The given dict is shared, not
    copied; without one the state begins empty.
    """

    _state: dict[str, Any]

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        _set_attribute(self, "_state", {} if state is None else state)

    def __setattr__(self, key: str, value: Any) -> None:
        self._state[key] = value

    def __getattr__(self, key: str) -> Any:
        # Only called for what is no real attribute. Copying and pickling ask an instance that
        # has no `_state` yet.
        if key != "_state" and key in self._state:
            return self._state[key]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")

    def __delattr__(self, key: str) -> None:
        if key not in self._state:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")
        del self._state[key]

    def __getitem__(self, key: str) -> Any:
        return self._state[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._state[key] = value

    def __delitem__(self, key: str) -> None:
        del self._state[key]

    def __contains__(self, key: object) -> bool:
        return key in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


_set_attribute = object.__setattr__
