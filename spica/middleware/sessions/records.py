"""The form of a session in a store, which the middleware and `Sessions` share.

The key of a record is the SHA-256 of the session's id, so a copy of the store is not a set of logins. A
session's key ``name`` is the field ``.name``, whose value is JSON. The field ``user`` has the user and what
`Session.bind` was given about the device. The group of a record is the id of its user.
"""

from __future__ import annotations

import hashlib
import json
import os
from binascii import b2a_base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from spica.stores import Store

_FOR_URLS = bytes.maketrans(b"+/", b"-_")

KIND = "session"
"""The prefix of the keys in the store: ``store.prefixed(KIND)``."""
USER_FIELD = "user"
"""The field with the `Owner`. The names of other fields begin with a dot."""
REVOCATION_SECONDS = 86400.0
"""How long a revocation is remembered. It must be longer than any login request takes."""


def new_id() -> str:
    """Return a new id: 32 random bytes, in characters that a cookie may contain."""
    # RFC 4648 s.5, without the padding. The module secrets would load random and base64.
    encoded = b2a_base64(os.urandom(32), newline=False).translate(_FOR_URLS, b"=")
    return encoded.decode()


def hash_id(session_id: str) -> str:
    """Return the SHA-256 of an id in hex, the key of its record."""
    return hashlib.sha256(session_id.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Owner:
    """The field ``user`` of a record: the user to whom it is bound, if any."""

    user_id: str | None = None
    about: dict[str, str] = field(default_factory=dict)
    created_at: float | None = None
    """When the session was created, if its record is younger, because its id was regenerated."""

    def to_field(self) -> bytes:
        """Return the value of the field."""
        return json.dumps([self.user_id, self.about, self.created_at]).encode()

    @classmethod
    def from_field(cls, value: bytes | None) -> Owner:
        """Read the value of the field. A record without one has no user."""
        return cls() if value is None else cls(*json.loads(value))


class Revocation(NamedTuple):
    """When all sessions of a user were revoked for the last time, and which one was kept."""

    at: float = 0.0
    keep: str = ""

    async def write(self, store: Store, user_id: str) -> None:
        """Remember the revocation, in a view of the store for sessions."""
        value = f"{self.at!r} {self.keep}".encode()
        await store.set(user_id, value, seconds=REVOCATION_SECONDS)

    @classmethod
    async def read(cls, store: Store, user_id: str) -> Revocation:
        """Return the last revocation. Without one, its time is 0."""
        at, _, keep = (await store.get(user_id) or b"0 ").decode().partition(" ")
        return cls(float(at), keep)
