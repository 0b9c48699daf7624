"""Sign strings that a client keeps and returns: cookies, links in e-mails, download URLs.

A signature proves that one of your secrets signed exactly this string, for this purpose. It hides nothing:
the client can read the string. This module needs itsdangerous: ``pip install 'spica[sessions]'``.

Standards: RFC 2104 (HMAC), RFC 4648 s.5 (base64 for URLs).
"""

from __future__ import annotations

import hashlib
import math
import time
from binascii import a2b_base64
from hmac import compare_digest
from typing import Any

from spica._diagnostics.arguments import check_secret
from spica._diagnostics.foreign_names import FIXES_OF_KEYRINGS, explain_names
from spica.datastructures import Secret
from spica.exceptions import HTTPException

try:
    from itsdangerous import BadData, Signer
    from itsdangerous.encoding import base64_encode, want_bytes
except ImportError as error:
    raise ImportError("spica.signing needs itsdangerous: pip install 'spica[sessions]'.") from error

__all__ = ["ExpiredSignature", "InvalidSignature", "Keyring"]

_MAX_SIGNERS = 64
"""How many purposes a keyring prepares. Preparing a signer again costs 10 microseconds."""

# RFC 2104 s.2: ipad and opad, XORed with each byte of the key
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

# RFC 4648 s.5: "-" and "_" replace "+" and "/".
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_URL_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class InvalidSignature(HTTPException):
    """A signed string was not signed by these secrets for this purpose.

    If nothing handles it, the client gets a 403.
    """

    def __init__(self, detail: str = "The signature is invalid.") -> None:
        super().__init__(403, detail)


class ExpiredSignature(InvalidSignature):
    """The signature is valid, but its time is over. If nothing handles it, the client gets a 403."""

    def __init__(self, detail: str = "The signature has expired.") -> None:
        super().__init__(detail)


class Keyring:
    """The secrets that sign, and those that only verify.

    One object serves sessions, signed URLs and everything else, because each signature names its purpose. To
    rotate secrets, add a new one in front, and remove the old one when nothing that it signed is in use.

    Args:
        *secrets: the secrets. The first one signs, and all of them verify. Use 32 random bytes or more, for
            example from ``secrets.token_hex(32)``.

    Raises:
        TypeError: a secret is neither a string, bytes nor a `Secret`.
        ValueError: there is no secret, or one is empty. Messages never show a secret.

    >>> keyring = Keyring("a long random string")
    >>> signed = keyring.sign("user 7", "unsubscribe", seconds=3600)
    >>> keyring.verify(signed, "unsubscribe")
    'user 7'
    """

    __slots__ = ("_secrets", "_signers")

    def __init__(self, *secrets: str | bytes | Secret) -> None:
        if not secrets:
            raise ValueError(
                "Keyring: there is no secret, so nothing can be signed. Write Keyring(secret)."
            )
        self._secrets = [check_secret(secret, "Keyring: a secret") for secret in secrets]
        self._signers: dict[str, HMACSigner] = {}

    def sign(self, value: str, purpose: str, seconds: float | None = None) -> str:
        """Return ``value`` with a signature: ``value.expiry.signature``.

        You can put the result in a cookie if the value may be in one. In a URL, encode it like any other
        string.

        Args:
            value: the string to sign.
            purpose: where the signature is valid, such as ``"unsubscribe"``. A signature for one purpose is
                invalid for every other.
            seconds: how long it is valid. The default is forever.

        Raises:
            TypeError: ``value`` is not a string.
            ValueError: ``seconds`` is not a positive number, or ``purpose`` is empty.
        """
        if not isinstance(value, str):
            raise TypeError(f"Keyring.sign: the value must be a str, not {value!r:.80}.")
        expiry = ""
        if seconds is not None:
            if isinstance(seconds, bool) or not 0 < seconds < math.inf:
                raise ValueError(
                    f"Keyring.sign: seconds must be a positive number, not {seconds!r:.80}."
                )
            expiry = str(math.ceil(time.time() + seconds))
        # The expiry always has a place of its own. Otherwise a value that ends with a number would have one.
        signed: bytes = self.signer(purpose).sign(
            f"{value}.{expiry}".encode("utf-8", "surrogatepass")
        )
        return signed.decode("utf-8", "surrogatepass")

    def verify(self, signed: str | None, purpose: str) -> str:
        """Return the value of a string from ``sign``.

        Args:
            signed: the string from the client. None counts as invalid, so you can pass
                ``request.query_params.get("token")``.
            purpose: the purpose for which it was signed.

        Raises:
            ExpiredSignature: its time is over. This is an `InvalidSignature` too.
            InvalidSignature: the string was not signed by these secrets for this purpose.
        """
        if not isinstance(signed, str):
            raise InvalidSignature
        try:
            content: bytes = self.signer(purpose).unsign(signed.encode("utf-8", "surrogatepass"))
        except BadData:
            raise InvalidSignature from None
        value, separator, expiry = content.rpartition(b".")
        if not separator or not (expiry.isdigit() or not expiry):
            raise InvalidSignature  # `signer` has signed bytes without an expiry
        if expiry and time.time() >= int(expiry):
            raise ExpiredSignature
        return value.decode("utf-8", "surrogatepass")

    def signer(self, purpose: str) -> HMACSigner:
        """Return the ``Signer`` of itsdangerous for one purpose. It signs bytes, without an expiry.

        Raises:
            ValueError: ``purpose`` is empty.
        """
        signer = self._signers.get(purpose)
        if signer is None:
            if not isinstance(purpose, str) or not purpose:
                raise ValueError(
                    f"Keyring: the purpose must be a string that is not empty, not {purpose!r:.80}."
                )
            if len(self._signers) >= _MAX_SIGNERS:
                self._signers.clear()  # purposes that are made per user must not fill the memory
            # itsdangerous expects the oldest secret first and signs with the last.
            signer = self._signers[purpose] = HMACSigner(
                self._secrets[::-1],
                salt=purpose.encode(),
                key_derivation="hmac",
                digest_method=hashlib.sha256,
            )
        return signer

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets, the one that signs first. Keep them out of logs."""
        return tuple(self._secrets)

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._secrets)} secrets>"


class HMACSigner(Signer):
    """A ``Signer`` of itsdangerous that derives each key only once.

    The original derives the key and initialises an HMAC for each value, which costs more than the rest of a
    session. You can add secrets to ``secret_keys`` and remove them at any time. The other settings are fixed.
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
            given = decode_base64(sig.encode("ascii", "ignore") if isinstance(sig, str) else sig)
        except ValueError:
            return False
        for secret in reversed(self.secret_keys):
            if compare_digest(given, self._authenticate(text, secret)):
                return True
        return False

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


def decode_base64(text: bytes) -> bytes:
    """Read base64 for URLs without its padding.

    Python versions differ in the characters outside the alphabet that they skip, and so does itsdangerous
    on them. No signer writes such characters, so this function refuses them everywhere.

    Raises:
        ValueError: the input is not base64 for URLs (RFC 4648 s.3.3, s.5).
    """
    if text.translate(None, _URL_ALPHABET):
        raise ValueError("a character outside the base64 alphabet for URLs")
    return a2b_base64(text.translate(_STANDARD_ALPHABET) + b"=" * (-len(text) % 4))


explain_names(Keyring, FIXES_OF_KEYRINGS)
