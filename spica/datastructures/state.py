"""State of an application or of one request.

A `State` is a view of a dict. Two views of the same dict see each other's changes. This is how the state
that the lifespan yields reaches each request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class _Shared:
    """Give `State` its only real attribute, which is set without calling `State.__setattr__`."""

    __slots__ = ("__dict__", "__weakref__", "_state")

    _state: dict[str, Any]


_share = _Shared.__dict__["_state"].__set__


_NOT_SET = (
    "Nothing has set this value. If a lifespan yields it, the lifespan must run: in a test, write"
    " `with TestClient(app) as client`."
)


class State(_Shared):
    """A view of a dict whose entries are both attributes and items.

    `state.users` and `state["users"]` are the same entry.

    Args:
        state: The dict, which is shared and not copied. Default: a new empty dict.

    >>> state = State({"users": 3})
    >>> state.users += 1
    >>> state["users"]
    4
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        _share(self, {} if state is None else state)

    def __setattr__(self, key: str, value: Any) -> None:
        self._state[key] = value

    def __getattr__(self, key: str) -> Any:
        # Python calls this for missing attributes only. `_state` is missing before `__init__` runs.
        if key != "_state":
            try:
                return self._state[key]
            except KeyError:
                pass
        error = AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")
        error.add_note(_NOT_SET)
        raise error

    def __delattr__(self, key: str) -> None:
        try:
            del self._state[key]
        except KeyError:
            text = f"{type(self).__name__!r} object has no attribute {key!r}"
            raise AttributeError(text) from None

    def __getitem__(self, key: str) -> Any:
        try:
            return self._state[key]
        except KeyError as error:
            error.add_note(_NOT_SET)
            raise

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

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    def __setstate__(self, state: dict[str, Any]) -> None:
        _share(self, state)
