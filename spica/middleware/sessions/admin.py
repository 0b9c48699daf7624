"""List and revoke the sessions of users: for "your devices", administration and logout everywhere."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spica.middleware.sessions.records import KIND, USER_FIELD, Owner, Revocation
from spica.middleware.sessions.settings import check_store

if TYPE_CHECKING:
    from spica.stores import Store

_ID_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session of a user. Times are in seconds since the epoch."""

    id_hash: str
    """The name of the session for ``revoke``. You may show it: it is not a login."""
    user_id: str
    """The user."""
    about: Mapping[str, str]
    """What `Session.bind` was given, for example the device."""
    created_at: float
    """When the user logged in."""
    last_used_at: float
    """When the idle time was last renewed: at a change, or after ``touch_seconds`` without one."""
    ends_at: float
    """When the session ends, however often it is used."""


class Sessions:
    """The sessions that `Session.bind` has bound to users.

    Args:
        store: the store of ``SessionMiddleware(store=...)``.

    Example:
        ``sessions = Sessions(store)``, then ``await sessions.revoke_all("7", keep=request.session.id_hash)``
    """

    def __init__(self, store: Store) -> None:
        check_store(store, "Sessions")
        self._store = store.prefixed(KIND)

    async def of(self, user_id: str) -> list[SessionInfo]:
        """Return the sessions of a user, the one that was used last first.

        Raises:
            StoreUnavailable: The store is down.
        """
        found = []
        for key in await self._store.members(user_id):
            record = await self._store.read(key)
            if record is not None:  # it may have ended since
                owner = Owner.from_field(record.fields.get(USER_FIELD))
                created = record.created if owner.created_at is None else owner.created_at
                info = SessionInfo(
                    key, user_id, owner.about, created, record.last_used, record.ends
                )
                found.append(info)
        return sorted(found, key=_last_used, reverse=True)

    async def revoke(self, id_hash: str) -> bool:
        """End one session. Return False if there was none.

        Check that the session belongs to the user who asks: ``id_hash in {s.id_hash for s in await
        sessions.of(id)}``. Requests that already run with it can read what they have loaded, but their
        changes are dropped.

        Raises:
            StoreUnavailable: The store is down.
        """
        return _ID_HASH.fullmatch(id_hash) is not None and bool(await self._store.delete(id_hash))

    async def revoke_all(self, user_id: str, keep: str | None = None) -> int:
        """End all sessions of a user, and the logins that are under way. Return the number of sessions ended.

        A login for which ``bind()`` was called before is dropped, wherever its request runs. A later one
        stays.

        Args:
            user_id: the user.
            keep: the ``id_hash`` of a session that stays, for example ``request.session.id_hash``.

        Raises:
            StoreUnavailable: The store is down. Some of the sessions may have ended.
        """
        # The order matters: `SessionStorage._is_revoked` has the proof.
        await self._store.generation(user_id, bump=True)
        await Revocation(time.time(), keep or "").write(self._store, user_id)
        return await self._store.delete_group(user_id, keep=keep)


def _last_used(info: SessionInfo) -> float:
    return info.last_used_at
