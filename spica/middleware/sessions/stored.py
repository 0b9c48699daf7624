"""The session whose contents are in a store.

Its methods only note what the storage has to write. They are synchronous, because ``request.session`` is a
dict.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from spica._diagnostics.call_site import Place, user_line, warn_at
from spica.datastructures.headers import add_vary, encode_header
from spica.datastructures.session import READERS, ReadFirst, Session
from spica.middleware.sessions.records import USER_FIELD, Owner, hash_id, new_id
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.stores import Record

_LATE = (
    "The session was changed after its response had started, and then not saved, so the change is lost. "
    "Change it before the response begins, or await request.session.save() after the change."
)


class Storage(Protocol):
    """What a session needs of its storage."""

    def decode(self, fields: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the contents of a session."""
        ...

    def needs_cookie(self, session: StoredSession) -> bool:
        """Return whether the session gets a new id when it is written."""
        ...

    def announce(self, session: StoredSession) -> None:
        """Choose the cookie before the session is written."""
        ...

    async def save(self, session: StoredSession) -> bool:
        """Write the changes of a session. Return False if they were dropped."""
        ...


class StoredSession(Session):
    """A session in a store. A new one has no id until it is stored."""

    _owner: Storage
    """The storage. A class of its own for each middleware has it, and each loaded session."""
    _id = ""
    """The id under which it is stored, or "" for a new session."""
    _next_id = ""
    """The id that it gets when the response starts."""
    _record: Record | None = None
    """The record as it was loaded or last written."""
    _bound_at: float | None = None
    """When ``bind`` was called, if that is not stored yet."""
    _key = ""
    """The key of its record: the SHA-256 of the id."""
    _user_cache: Owner | None = Owner()
    _is_cleared = False
    _is_lost = False
    """Whether the store was down, and the application goes on with an empty session."""
    _failure: Exception | None = None
    """Why the session can't be used, or could not be written."""
    _is_saved = False
    """Whether the layer has written it."""
    _cookie: str | None = None
    """The Set-Cookie value of the response."""

    @property
    def _fields(self) -> Mapping[str, bytes]:
        return {} if self._record is None else self._record.fields

    @property
    def _user(self) -> Owner:
        if self._user_cache is None:
            self._user_cache = Owner.from_field(self._fields.get(USER_FIELD))
        return self._user_cache

    @property
    def _only_moves(self) -> bool:
        """Whether the session is stored, and continues under its next id without a login."""
        return bool(self._id) and not self._is_cleared and self._bound_at is None

    def _note_record(self, session_id: str, key: str, record: Record) -> None:
        """Note the record under which the session is stored."""
        self._id = session_id
        self._key = key
        self._record = record
        self._user_cache = None
        if self.accessed:
            self._next_id = ""
            self._is_cleared = False
            self._bound_at = None

    def _edit_response(self, request: Any, start: Any) -> None:
        """Add Vary if the session was used, and Set-Cookie if its id has changed. It edits every response."""
        cookie = self._start()
        if self.accessed:
            raw = start.raw_headers if isinstance(start, Response) else start.headers.raw
            add_vary(raw, "Cookie")
            if cookie is not None:
                raw.append(encode_header("set-cookie", cookie))

    def _start(self) -> str | None:
        """Note that the response starts. Return the Set-Cookie value.

        Raises:
            StoreUnavailable: The session could not be written.
            TypeError, ValueError: Nor can it ever be.
        """
        if not self._is_saved and self.accessed:
            # The endpoint has sent its response by hand, in a way that spica did not foresee. The edit can't
            # wait, so this one time the session is written after the response has started.
            self._owner.announce(self)
        self._is_sent = True
        failure = self._failure
        if failure is not None and self.accessed:
            self._failure = (
                None  # the error page, which this edits too, is sent without the session
            )
            raise failure
        cookie, self._cookie = self._cookie, None
        return cookie

    def _note_end(self) -> None:
        """Note that the session is not stored any more."""
        self._id = self._key = self._next_id = ""
        self._record = None
        self._is_cleared = False

    def mark_modified(self) -> None:
        """Note that the session has changed."""
        self.accessed = self.modified = True
        if self._is_sent:
            self._owner = self._owner  # so that it does not change with the class
            object.__setattr__(self, "__class__", _LateSession)
            self.__dict__["_late"] = user_line()

    def clear(self) -> None:
        """Log out: remove all keys and the user, and end the stored session. Later keys get a new one."""
        self._is_cleared = True
        self._next_id = ""
        self._bound_at = None
        self._user_cache = Owner()
        super().clear()

    def regenerate(self) -> None:
        """Give the session a new id: see `Session.regenerate`."""
        if self._is_sent:
            raise RuntimeError(
                "The response has started, so the client can't get a new session id. Call regenerate() or "
                "bind() before the response begins, and before a WebSocket is accepted."
            )
        self._next_id = new_id()
        self.mark_modified()

    def bind(self, user_id: str, **about: str) -> None:
        """Note the user, and give the session a new id: see `Session.bind`."""
        if not isinstance(user_id, str) or not user_id:
            raise TypeError(
                f"session.bind: user_id must be a string that is not empty, not {user_id!r:.80}. "
                "Convert a number: bind(str(user.id))."
            )
        for name, value in about.items():
            if not isinstance(value, str):
                raise TypeError(f"session.bind: {name} must be a string, not {value!r:.80}.")
        self.regenerate()
        self._user_cache = Owner(user_id, about)
        self._bound_at = time.time()

    async def save(self) -> bool:
        """Write the changes now: see `Session.save`."""
        self.mark_accessed()
        if self._is_sent and self._owner.needs_cookie(self):
            raise RuntimeError(
                "This session has no id that the client knows, and the response has started, so no cookie "
                "can be sent. Write to the session before the response or the handshake begins."
            )
        is_stored = await self._owner.save(self)
        self.__dict__.pop("_late", None)
        return is_stored

    @property
    def user_id(self) -> str | None:
        """The user to whom the session is bound, or None."""
        return self._user.user_id

    @property
    def id_hash(self) -> str | None:
        """The name of the session: see `Session.id_hash`. After ``bind`` and ``regenerate``, the new name."""
        if self._next_id:
            return hash_id(self._next_id)
        return None if self._is_cleared or not self._key else self._key

    @property
    def created_at(self) -> float | None:
        """When the session was created, in seconds since the epoch."""
        if self._record is None or self._user.created_at is not None:
            return self._user.created_at
        return self._record.created

    @property
    def last_used_at(self) -> float | None:
        """When the idle time was last renewed, in seconds since the epoch."""
        return None if self._record is None else self._record.last_used


class _LateSession(StoredSession):
    """A session that was changed after its response had started. It warns if the change is never saved."""

    def __del__(self) -> None:
        late: Place | None = self.__dict__.get("_late")
        if late is not None:
            warn_at(late, _LATE, RuntimeWarning)


class LoadedSession(StoredSession):
    """A session that was loaded but not decoded. Any method that needs the contents decodes them first."""

    def mark_accessed(self) -> None:
        """Note that the response depends on the session. Each ``request.session`` calls this."""
        self._read()

    def _read(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        object.__setattr__(self, "__class__", StoredSession)
        self.accessed = True
        dict.update(self, self._owner.decode(self._fields))


for _name in (*READERS.split(), "regenerate", "bind"):
    setattr(LoadedSession, _name, ReadFirst(_name))
