"""A session that reads itself on first use, so that a request without use of it costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spica.datastructures.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable


class UnreadSession(Session):
    """A session whose cookie was not read yet. Any method that needs the contents reads it first."""

    def __init__(self, owner: Any, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._owner = owner
        self._headers = headers

    def mark_accessed(self) -> None:
        """Note that the response depends on the session. Each ``request.session`` calls this."""
        self._read()

    def _read(self) -> None:
        """Become a Session with the contents of the cookie."""
        owner, headers = self._owner, self._headers
        object.__setattr__(self, "__class__", Session)  # from now on, calls go to Session directly
        self.accessed = True
        self._headers = ()
        if owner is not None:
            self._stored, contents = owner._read_cookie(headers)
            dict.update(self, contents)


class ReadFirst:
    """A method of Session that reads the cookie first."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: UnreadSession | None, owner: type | None = None) -> Any:
        if instance is None:
            return getattr(Session, self.name)
        instance._read()
        return getattr(instance, self.name)


READERS = """
    mark_modified get keys values items copy clear pop popitem setdefault update
    __getitem__ __setitem__ __delitem__ __contains__ __iter__ __reversed__ __len__ __eq__ __ne__
    __or__ __ror__ __ior__ __repr__ __reduce__ __reduce_ex__
"""
for _name in READERS.split():
    setattr(UnreadSession, _name, ReadFirst(_name))
