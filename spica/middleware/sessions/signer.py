"""What signs the cookie of a session: itsdangerous' ``TimestampSigner``, with its keys made ready once.

It writes and accepts exactly what ``TimestampSigner`` does, and raises the same errors. That one derives
the key and begins an HMAC anew for each value, which costs more than all else a session takes. Here
that is done once for each secret. Nothing that comes from a client is kept.

Standards: RFC 2104 (HMAC), RFC 4648 s.5 (base64 for URLs).
"""

from __future__ import annotations

from binascii import a2b_base64
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from itsdangerous import TimestampSigner
from itsdangerous.encoding import base64_encode, want_bytes

# RFC 2104 s.2: ipad and opad, with which the key is combined byte by byte
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

# RFC 4648 s.5: "-" and "_" stand for "+" and "/".
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_URL_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

_MAX_TIMESTAMP_SIZE = 8
"""Bytes of a timestamp that itsdangerous reads."""


class SessionSigner(TimestampSigner):
    """A ``TimestampSigner`` that does not derive its keys for each value.

    Secrets may be added to and taken from ``secret_keys`` at any time; what else it is made with is
    settled.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of each secret, an HMAC that has read the key and no text.
        self._started_app: dict[bytes, tuple[Any, Any]] = {}

    def get_signature(self, value: str | bytes) -> bytes:
        """Return the signature of ``value`` by the newest secret."""
        return base64_encode(self._authenticate(want_bytes(value), self.secret_keys[-1]))

    def verify_signature(self, value: str | bytes, sig: str | bytes) -> bool:
        """Tell whether one of the secrets has signed ``value``."""
        text = want_bytes(value)
        try:
            given = _decode(sig.encode("ascii", "ignore") if isinstance(sig, str) else sig)
        except ValueError:
            return False
        for secret in reversed(self.secret_keys):
            if compare_digest(given, self._authenticate(text, secret)):
                return True
        return False

    if not TYPE_CHECKING:  # The types of the base's own say the same, in overloads.

        def unsign(
            self,
            signed_value: str | bytes,
            max_age: int | None = None,
            return_timestamp: bool = False,
        ) -> Any:
            """Return the value that was signed, at most ``max_age`` seconds ago.

            Raises:
                BadData: it was not signed by one of the secrets, or earlier than that.
            """
            value = self._read(want_bytes(signed_value), max_age)
            if value is None or return_timestamp:
                # What is wrong is said by the one who makes the rules.
                return super().unsign(signed_value, max_age, return_timestamp)
            return value

    def _read(self, signed_value: bytes, max_age: int | None) -> bytes | None:
        """Return the value if all is as it should be."""
        stamped, _, signature = signed_value.rpartition(self.sep)
        value, separator, timestamp = stamped.rpartition(self.sep)
        if not separator or not self.verify_signature(stamped, signature):
            return None
        try:
            moment = _decode(timestamp)
        except ValueError:
            return None
        if len(moment) > _MAX_TIMESTAMP_SIZE:
            return None
        if max_age is not None:
            age = self.get_timestamp() - int.from_bytes(moment)
            if age > max_age or age < 0:
                return None
        return value

    def _authenticate(self, text: bytes, secret: bytes) -> bytes:
        """Return the HMAC of ``text``."""
        begun = self._started_app.get(secret)
        if begun is None:
            begun = self._started_app[secret] = self._begin(self.derive_key(secret))
        inner, outer = begun[0].copy(), begun[1].copy()
        inner.update(text)
        outer.update(inner.digest())
        code: bytes = outer.digest()
        return code

    def _begin(self, key: bytes) -> tuple[Any, Any]:
        """Return the two hashes of an HMAC with this key, begun."""
        # RFC 2104 s.4: what the hash makes of the key alone is computed in advance, and kept as secret
        # as the key.
        make_hash = self.digest_method
        size: int = make_hash().block_size
        if len(key) > size:
            key = make_hash(key).digest()
        block = key.ljust(size, b"\0")
        return make_hash(block.translate(_INNER)), make_hash(block.translate(_OUTER))


def _decode(text: bytes) -> bytes:
    """Read base64 for URLs without its padding.

    Python versions differ in the characters outside the alphabet that they skip, and so does itsdangerous
    on them. No signer writes such characters, so this function refuses them everywhere.

    Raises:
        ValueError: the text is not base64 for URLs (RFC 4648 s.3.3, s.5).
    """
    if text.translate(None, _URL_ALPHABET):
        raise ValueError("a character outside the base64 alphabet for URLs")
    return a2b_base64(text.translate(_STANDARD_ALPHABET) + b"=" * (-len(text) % 4))
