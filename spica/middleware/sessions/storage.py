"""Load sessions from a store, and write their changes back.

Each request writes only the keys that it has changed, so two requests that change different keys keep both.
Nothing here revives a session that has ended: `Store.merge` refuses to, and a session with a new id counts
only if its request could delete the old one.

Standards: draft-ietf-httpbis-rfc6265bis s.4.1.3 (cookie prefixes).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from spica.middleware.sessions.records import KIND, USER_FIELD, Owner, Revocation, hash_id, new_id
from spica.middleware.sessions.settings import StoreSettings
from spica.middleware.sessions.stored import LoadedSession, StoredSession
from spica.signing import InvalidSignature, Keyring
from spica.stores import Record, Store, StoreUnavailable

logger = logging.getLogger("spica.sessions")

MAX_KEYS = 127
"""The largest number of keys of a session. A record has 128 fields, and one is for the user."""
_LOG_SECONDS = 60.0
"""The time between two log lines about a store that is down."""

Changes = dict[str, bytes | None]


class SessionStorage:
    """The sessions of one middleware.

    Args:
        store: the store.
        keyring: signs the ids in cookies, so that junk costs no access to the store.
        purpose: the purpose of these signatures.
        settings: the settings.
        cookie: returns the Set-Cookie value for a cookie's value and the attributes for its lifetime.
        encode: returns the fields for the contents of a session: a dot and the key, and the JSON of the
            value.
        decode: reads the JSON of one value.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        purpose: str,
        settings: StoreSettings,
        cookie: Callable[[str, str], str],
        encode: Callable[[Mapping[str, Any]], dict[str, bytes]],
        decode: Callable[[bytes], Any],
    ) -> None:
        self.store = store.prefixed(KIND)
        self.settings = settings
        self._keyring = keyring
        self._purpose = purpose
        self._cookie = cookie
        self._encode = encode
        self._decode = decode
        self._next_log = 0.0

    # -- before the endpoint -------------------------------------------------------------------------------

    async def load(self, session: StoredSession, cookie: str) -> None:
        """Load the session of a cookie. Never adopt an id without a record: an attacker may have set it."""
        try:
            session_id = self._keyring.verify(cookie, self._purpose)
        except InvalidSignature:
            return
        key = hash_id(session_id)
        try:
            record = await self.store.read(key)
        except StoreUnavailable as error:
            if self.settings.on_unavailable == "empty":
                session._is_lost = True
                self._log_outage(error)
            else:
                session._failure = _retry_soon(error)
                self._defer(session)
            return
        if record is not None:
            session._note_record(session_id, key, record)
            self._defer(session)

    def _defer(self, session: StoredSession) -> None:
        """Decode the session, or raise its failure, only when it is used."""
        session._owner = self
        object.__setattr__(session, "__class__", LoadedSession)

    def decode(self, fields: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the contents of a session. Fields that the codec can't read are left out, and logged."""
        contents = {}
        for name, value in fields.items():
            if name[0] == ".":
                try:
                    contents[name[1:]] = self._decode(value)
                except ValueError as error:
                    logger.error(
                        "A session has a value that can't be read: %r: %s", name[1:], error
                    )
        return contents

    # -- before the response starts ------------------------------------------------------------------------

    async def finish(self, session: StoredSession) -> None:
        """Write the session. An error is kept for the edit of the response, which raises it."""
        if not session.accessed and not self.is_touch_due(session):
            return
        try:
            await self.save(session)
        except StoreUnavailable as error:
            session._failure = _retry_soon(error)
        except Exception as error:
            session._failure = error

    def is_touch_due(self, session: StoredSession) -> bool:
        """Return whether the idle time must be renewed."""
        record = session._record
        return record is not None and time.time() - record.last_used > self.settings.touch_seconds

    def needs_cookie(self, session: StoredSession) -> bool:
        """Return whether the session gets a new id when it is written."""
        if session._id and not session._is_cleared:
            return bool(session._next_id)
        return bool(session) or session._bound_at is not None

    def announce(self, session: StoredSession) -> None:
        """Choose the cookie before the session is written, for a response that can't wait."""
        if self.needs_cookie(session):
            session._next_id = session._next_id or new_id()
            session._cookie = self._format_cookie(session._next_id, self._choose_end(session))
        elif session._is_cleared and session._id:
            session._cookie = self._format_removal()

    async def save(self, session: StoredSession) -> bool:
        """Write the changes of a session. Return False if they were dropped.

        Raises:
            StoreUnavailable: The store is down.
            TypeError: A value has a type that JSON lacks.
            ValueError: The session is too large.
        """
        try:
            if not session.accessed:
                return await self._touch(session)
            return await self._write(session)
        except StoreUnavailable as error:
            if self.settings.on_unavailable == "refuse" and session.accessed:
                raise
            self._log_outage(error)
            return False

    async def _touch(self, session: StoredSession) -> bool:
        return await self.store.merge(session._key, {}, idle_seconds=self.settings.idle_seconds)

    async def _write(self, session: StoredSession) -> bool:
        fields = self._encode(session)
        self._check_size(fields)
        old = {} if session._is_cleared else session._fields
        changes: Changes = {name: data for name, data in fields.items() if old.get(name) != data}
        changes |= {name: None for name in old if name not in fields and name[0] == "."}
        if session._is_lost:
            return self._write_lost(session, changes)
        if self.needs_cookie(session):
            return await self._replace(session, fields, changes)
        if session._is_cleared:
            return await self._log_out(session)
        if session._id and (changes or self.is_touch_due(session)):
            return await self._merge(session, fields, changes)
        return True

    def _write_lost(self, session: StoredSession, changes: Changes) -> bool:
        """Drop the changes to a session that could not be loaded."""
        if not changes and not session._is_cleared:
            return True
        self._drop(session, "the store was down when it was to be loaded")
        if session._is_cleared:
            session._cookie = self._format_removal()
        return False

    async def _log_out(self, session: StoredSession) -> bool:
        if session._id:
            await self.store.delete(session._key)
            session._cookie = self._format_removal()
        session._note_end()
        return True

    async def _merge(
        self, session: StoredSession, fields: dict[str, bytes], changes: Changes
    ) -> bool:
        idle_seconds = self.settings.idle_seconds
        if not await self.store.merge(session._key, changes, idle_seconds=idle_seconds):
            return self._drop(session, "it has ended")
        record = session._record
        if record is not None:
            if USER_FIELD in record.fields:
                fields[USER_FIELD] = record.fields[USER_FIELD]
            session._record = Record(fields, record.created, time.time(), record.ends)
        return True

    # -- a new id ------------------------------------------------------------------------------------------

    async def _replace(
        self, session: StoredSession, fields: dict[str, bytes], changes: Changes
    ) -> bool:
        """Store the session under a new id, and end the old one."""
        session._next_id = session._next_id or new_id()
        key = hash_id(session._next_id)
        owner = session._user
        if session._only_moves:
            owner = replace(owner, created_at=session.created_at)
        generation = await self.store.generation(owner.user_id) if owner.user_id else 0
        base = await self._read_base(session)
        user_field = {USER_FIELD: owner.to_field()} if owner != Owner() else {}
        ends = self._choose_end(session)
        try:
            await self.store.create(
                key,
                _apply(base, changes) | user_field,
                idle_seconds=self.settings.idle_seconds,
                ends_at=ends,
                group=owner.user_id,
            )
            has_taken_over = await self._take_over(session, key, generation)
        except StoreUnavailable:
            # No client will know the new id. Without this, the user would see a device that is none.
            with suppress(StoreUnavailable):
                await self.store.delete(key)
            raise
        if not has_taken_over:
            await self.store.delete(key)
            return self._drop(session, "it has ended, or all sessions of its user were revoked")
        now = time.time()
        session._cookie = self._format_cookie(session._next_id, ends)
        session._note_record(session._next_id, key, Record(fields | user_field, now, now, ends))
        return True

    async def _read_base(self, session: StoredSession) -> Mapping[str, bytes]:
        """Return the fields that the new record keeps. Other requests may have changed them since the load.

        A change that they make between this and the deletion of the record is lost, as if it came after.
        """
        if not session._id or session._is_cleared:
            return {}
        record = await self.store.read(session._key)
        if record is not None:
            return record.fields
        # The session has ended meanwhile. A login keeps only what its own request has written, and nothing
        # of the old session. `_take_over` decides about any other request.
        return session._fields if session._only_moves else {}

    async def _take_over(self, session: StoredSession, key: str, generation: int) -> bool:
        """End the old record. Return False if the new one, which was just created, must end, too.

        A session that only gets a new id survives if its request has deleted the old record: of a logout, a
        revocation and another request with the same old id, exactly one deletes it.

        A login (L) and ``Sessions.revoke_all`` (R) take these steps, each of them atomic::

            L0 bind()   L1 read generation   L2 create in the group   L3 read generation, then revocation
            R0 called   R1 bump generation   R2 write revocation      R3 delete the group

        No login with L0 before R0 survives R. If R1 comes after L3 has read the generation, so does R3, and
        R3 deletes the record of L2. If R1 comes between L1 and that, the generations differ. If R1 comes
        before L1, there are two cases. Either R2 comes before L3 has read the revocation, and L3 compares the
        times of L0 and R0. Or R2 comes later, so R3 does too, and deletes the record. Only the comparison of
        times depends on clocks: a machine whose clock is a second late can take its login for older.

        A login with L0 after the end of R survives: it reads the new generation and an older revocation.
        """
        user_id = session._user.user_id
        if session._bound_at is not None and user_id is not None:
            if await self.store.generation(user_id) != generation:
                return False
            revocation = await Revocation.read(self.store, user_id)
            if revocation.at > session._bound_at and revocation.keep != key:
                return False
        was_deleted = bool(session._id) and await self.store.delete(session._key) > 0
        if was_deleted or not session._only_moves:
            return True
        # `sessions.revoke_all(user, keep=session.id_hash)` after `regenerate()` has deleted the old one.
        return user_id is not None and (await Revocation.read(self.store, user_id)).keep == key

    def _choose_end(self, session: StoredSession) -> float:
        """Return when the session ends. Only a login moves the end of an existing session."""
        record = session._record
        if record is not None and not session._is_cleared and session._bound_at is None:
            return record.ends
        return time.time() + self.settings.absolute_seconds

    # -- cookies, limits, logs -----------------------------------------------------------------------------

    def _format_cookie(self, session_id: str, ends: float) -> str:
        # The cookie lasts as long as the session can. The store ends an idle one, so no response must renew
        # the cookie: a late response could overwrite the cookie of a login.
        seconds = max(0, int(ends - time.time()))
        lifetime = f"Max-Age={seconds}; " if self.settings.is_persistent else ""
        value = self._keyring.sign(session_id, self._purpose)
        return self._cookie(value, lifetime)

    def _format_removal(self) -> str:
        return self._cookie("null", "expires=Thu, 01 Jan 1970 00:00:00 GMT; ")

    def _check_size(self, fields: Mapping[str, bytes]) -> None:
        if len(fields) > MAX_KEYS:
            raise ValueError(
                f"SessionMiddleware: the session has {len(fields)} keys, and a store takes {MAX_KEYS}. "
                "Put related values into one dict."
            )
        size = sum(len(name) - 1 + len(value) for name, value in fields.items())
        if size > self.settings.max_size:
            largest = sorted(fields, key=lambda name: (-len(fields[name]), name))[:3]
            entries = ", ".join(f"{name[1:]!r:.40} ({len(fields[name])})" for name in largest)
            raise ValueError(
                f"SessionMiddleware: the session has {size} bytes, and max_size is {self.settings.max_size}. "
                "Store large values elsewhere and keep their key in the session. "
                f"Its largest entries, in bytes: {entries}."
            )

    def _drop(self, session: StoredSession, reason: str) -> bool:
        session._cookie = None
        name = session._key[:12] or "(new)"
        logger.info("Dropped the changes of a request to session %s: %s.", name, reason)
        return False

    def _log_outage(self, error: StoreUnavailable) -> None:
        now = time.monotonic()
        if now >= self._next_log:
            self._next_log = now + _LOG_SECONDS
            logger.warning("Sessions go without their store: %s", error)


def _retry_soon(error: StoreUnavailable) -> StoreUnavailable:
    """Let the client try again after a second, also while the circuit breaker is open: its 503 is cheap."""
    error.headers = {"Retry-After": "1"}
    return error


def _apply(fields: Mapping[str, bytes], changes: Changes) -> dict[str, bytes]:
    """Return a copy of ``fields`` with the changes."""
    merged: Changes = {**fields, **changes}
    return {name: value for name, value in merged.items() if value is not None}
