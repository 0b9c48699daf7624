"""The session: a dict that records its use and its changes.

The middleware in ``spica.middleware.sessions`` creates it. It is defined here, where the type of
``request.session`` can name it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from spica._diagnostics.call_site import user_line, warn_at


class Session(dict[str, Any]):
    """A dict of JSON values that records its use and its changes. ``request.session`` returns one.

    The layer also finds changes inside a value, for example of a list: it compares the JSON.

    ``regenerate``, ``bind``, ``save``, ``user_id``, ``id_hash``, ``created_at`` and ``last_used_at`` need a
    session on the server: ``SessionMiddleware(store=...)``. With a session in a cookie they raise a
    RuntimeError.

    Attributes:
        accessed: whether it was used. The response then depends on the cookie (Vary).
        modified: whether the dict itself was changed. The layer then writes the cookie again.
    """

    accessed: bool = False
    modified: bool = False

    _owner: Any = None
    """The layer that created it, or None if a user did."""
    _headers: Iterable[tuple[bytes, bytes]] = ()
    _stored: bytes = b""
    """The JSON from the cookie."""
    _is_sent: bool = False
    """Whether the response with its cookie has started. Later changes are lost."""

    def mark_accessed(self) -> None:
        """Note that the response depends on the session."""
        self.accessed = True

    if not TYPE_CHECKING:  # type checkers report the mistake by themselves

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):  # copying and pickling ask for such names
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(
                f"request.session has no attribute {name!r}. Its values are items: request.session[{name!r}]."
            )

    def mark_modified(self) -> None:
        """Note that the session has changed. Show a RuntimeWarning if its cookie was already sent."""
        self.accessed = self.modified = True
        if self._is_sent:
            warn_at(
                user_line(),
                "The session was changed after its cookie was written, so the change is lost. Change it "
                "before the response begins, and before a WebSocket is accepted: not in a background task, "
                "in a body that streams, or in a middleware outside SessionMiddleware after call_next().",
                RuntimeWarning,
            )

    # -- sessions on the server ----------------------------------------------------------------------------

    def regenerate(self) -> None:
        """Give the session a new id. The old id is invalid from the start of the response on.

        Call it when the rights of the user change. Others may know the old id, and must not get these rights.

        Raises:
            RuntimeError: The response has started.
        """
        raise _no_store("regenerate()")

    def bind(self, user_id: str, **about: str) -> None:
        """Note that the session belongs to a user, and give it a new id. Call it at login.

        `Sessions` then lists the session among those of the user, and can revoke it.

        Args:
            user_id: the id of the user. Never reuse the id of a deleted user.
            **about: what the user should see in a list of devices, for example ``device="Firefox on Linux"``.

        Raises:
            RuntimeError: The response has started.
            TypeError: An argument is not a string.
        """
        raise _no_store("bind()")

    async def save(self) -> bool:
        """Write the changes now. Use it after the response or the handshake has started.

        Until then, spica saves the session by itself.

        Returns:
            True if everything is stored, and False if the session has ended meanwhile, by a logout for
            example.

        Raises:
            RuntimeError: The client needs a new cookie, which can't be sent any more.
            StoreUnavailable: The store is down.
        """
        raise _no_store("save()")

    @property
    def user_id(self) -> str | None:
        """The user to whom the session is bound, or None."""
        raise _no_store("user_id")

    @property
    def id_hash(self) -> str | None:
        """The SHA-256 of the session's id in hex, or None for a session that is not stored yet.

        You may show it and log it: it names the session for `Sessions`, but it is not a login.
        """
        raise _no_store("id_hash")

    @property
    def created_at(self) -> float | None:
        """When the session was created, in seconds since the epoch. None for one that is not stored yet."""
        raise _no_store("created_at")

    @property
    def last_used_at(self) -> float | None:
        """When the idle time was last renewed, in seconds since the epoch. None if it is not stored yet."""
        raise _no_store("last_used_at")

    # -- the methods of a dict that change it --------------------------------------------------------------

    # Each method notes its change after the fact. A call that raises, or that leaves the size as it was, has
    # changed nothing.

    def _note_change(self, size_before: int) -> None:
        if len(self) != size_before:
            self.mark_modified()

    def clear(self) -> None:
        """Remove all keys. The response then deletes the client's cookie."""
        dict.clear(self)
        self.mark_modified()

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or the default if the key is missing."""
        size = len(self)
        value = dict.pop(self, key, *default)
        self._note_change(size)
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key and return it with its value."""
        size = len(self)
        key, value = dict.popitem(self)
        self._note_change(size)
        return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key. If the key is missing, set it to the default first."""
        size = len(self)
        value = dict.setdefault(self, key, default)
        self._note_change(size)
        return value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set the keys of a mapping or of (key, value) pairs."""
        dict.update(self, *args, **kwargs)
        self.mark_modified()

    def __delitem__(self, key: str) -> None:
        dict.__delitem__(self, key)
        self.mark_modified()

    def __setitem__(self, key: str, value: Any) -> None:
        dict.__setitem__(self, key, value)
        self.mark_modified()

    if not TYPE_CHECKING:  # type checkers use the overloads of dict

        def __ior__(self, other: Any) -> Self:
            self.update(other)
            return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is an independent session that no layer writes.
        return Session, (dict(self),)


def _no_store(name: str) -> RuntimeError:
    return RuntimeError(
        f"request.session.{name} needs a session on the server: "
        "SessionMiddleware(store=open_store(...)). This session is in a cookie, or it is a copy."
    )


class _Item:
    """A name that belongs in the dict. Setting it as an attribute would lose it with the request."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(self.name)  # `Session.__getattr__` has the message

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(
            f"request.session.{self.name} = ... would not be saved. Write "
            f"request.session[{self.name!r}] = ..., or set max_age of SessionMiddleware for the lifetime."
        )


USUAL_KEYS = """
    cart csrf_token data email id is_authenticated logged_in name permanent user username
"""
for _name in USUAL_KEYS.split():
    setattr(Session, _name, _Item(_name))


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
