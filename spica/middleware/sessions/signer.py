"""Sign session cookies with itsdangerous' ``TimestampSigner``, with precomputed keys.

The signer writes and accepts exactly the values of ``TimestampSigner`` and raises the same errors. The
original derives the key and initialises an HMAC for each value, which costs more than the rest of a session.
This class does so once per secret. It stores no data from clients.

Standards: RFC 2104 (HMAC), RFC 4648 s.5 (base64 for URLs).
"""

from __future__ import annotations

from binascii import a2b_base64
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from itsdangerous import TimestampSigner
from itsdangerous.encoding import base64_encode, want_bytes

# RFC 2104 s.2: ipad and opad, XORed with each byte of the key
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

# RFC 4648 s.5: "-" and "_" replace "+" and "/".
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_URL_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

_MAX_TIMESTAMP_SIZE = 8
"""Maximum size in bytes of a timestamp that itsdangerous reads."""


class SessionSigner(TimestampSigner):
    """A ``TimestampSigner`` that derives each key only once.

    You can add secrets to ``secret_keys`` and remove them at any time. The other settings are fixed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # For each secret, the two hashes of an HMAC that has processed only the key.
        self._hashes: dict[bytes, tuple[Any, Any]] = {}

    def get_signature(self, value: str | bytes) -> bytes:
        """Return the signature of ``value`` with the newest secret."""
        return base64_encode(self._authenticate(want_bytes(value), self.secret_keys[-1]))

    def verify_signature(self, value: str | bytes, sig: str | bytes) -> bool:
        """Return whether one of the secrets has signed ``value``."""
        text = want_bytes(value)
        try:
            given = _decode(sig.encode("ascii", "ignore") if isinstance(sig, str) else sig)
        except ValueError:
            return False
        for secret in reversed(self.secret_keys):
            if compare_digest(given, self._authenticate(text, secret)):
                return True
        return False

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
        hashes = self._hashes.get(secret)
        if hashes is None:
            hashes = self._hashes[secret] = self._prepare(self.derive_key(secret))
        inner, outer = hashes[0].copy(), hashes[1].copy()
        inner.update(text)
        outer.update(inner.digest())
        code: bytes = outer.digest()
        return code

    def _prepare(self, key: bytes) -> tuple[Any, Any]:
        """Return the inner and outer hash of an HMAC that has processed only the key."""
        # RFC 2104 s.4: these intermediate results may be precomputed, and are as secret as the key.
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
        ValueError: the input is not base64 for URLs (RFC 4648 s.3.3, s.5).
    """
    if text.translate(None, _URL_ALPHABET):
        raise ValueError("a character outside the base64 alphabet for URLs")
    return a2b_base64(text.translate(_STANDARD_ALPHABET) + b"=" * (-len(text) % 4))
