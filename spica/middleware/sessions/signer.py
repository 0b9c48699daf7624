"""Sign session cookies with itsdangerous' ``TimestampSigner``, with precomputed keys.

The signer writes and accepts exactly the values of ``TimestampSigner`` and raises the same errors. It
stores no data from clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itsdangerous import TimestampSigner
from itsdangerous.encoding import want_bytes

from spica.signing import HMACSigner, decode_base64

_MAX_TIMESTAMP_SIZE = 8
"""Maximum size in bytes of a timestamp that itsdangerous reads."""


class SessionSigner(HMACSigner, TimestampSigner):
    """A ``TimestampSigner`` that derives each key only once.

    You can add secrets to ``secret_keys`` and remove them at any time. The other settings are fixed.
    """

    if not TYPE_CHECKING:  # type checkers use the overloads of the base class

        def unsign(
            self,
            signed_value: str | bytes,
            max_age: int | None = None,
            return_timestamp: bool = False,
        ) -> Any:
            """Return the signed value, which must not be older than ``max_age`` seconds.

            Raises:
                BadData: the signature is wrong, or too old.
            """
            value = self._read(want_bytes(signed_value), max_age)
            if value is None or return_timestamp:
                # Let itsdangerous raise the exact error.
                return super().unsign(signed_value, max_age, return_timestamp)
            return value

    def _read(self, signed_value: bytes, max_age: int | None) -> bytes | None:
        """Return the value if signature and age are valid, else None."""
        stamped, _, signature = signed_value.rpartition(self.sep)
        value, separator, timestamp = stamped.rpartition(self.sep)
        if not separator or not self.verify_signature(stamped, signature):
            return None
        try:
            moment = decode_base64(timestamp)
        except ValueError:
            return None
        if len(moment) > _MAX_TIMESTAMP_SIZE:
            return None
        if max_age is not None:
            age = self.get_timestamp() - int.from_bytes(moment)
            if age > max_age or age < 0:
                return None
        return value
