"""Sign, read and write the cookie that carries a session.

Its value is ``itsdangerous.TimestampSigner(secret).sign(base64(JSON))``, or ``null`` after the session was
cleared. Other programs read and write it without this package, so the format must not change. Only this
module imports ``signer``, and with it itsdangerous, on first use.

Standards: RFC 6265 s.4.1, s.6.1 and draft-ietf-httpbis-rfc6265bis s.5.6 (what a browser keeps).
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spica._diagnostics.arguments import check_secret
from spica._http.cookies import format_set_cookie, is_domain
from spica.datastructures import Secret
from spica.exceptions import warn_configuration

if TYPE_CHECKING:
    from itsdangerous import TimestampSigner

    from spica.signing import Keyring

MAX_COOKIE_SIZE = 4096
"""Maximum size of a cookie's name and value in bytes. Browsers silently drop larger cookies."""

CLEARED = "null; path={path}; expires=Thu, 01 Jan 1970 00:00:00 GMT; {flags}"

SecretKey = str | bytes | Secret
SecretKeys = SecretKey | Sequence[SecretKey]
"""One secret or several. The first one signs, and signatures by any of them are accepted."""


def make_signer(secret_key: SecretKeys | Keyring, salt: str | None) -> TimestampSigner:
    """Return a signer with these secrets. `salt` names its purpose.

    Raises:
        TypeError: a secret is neither str nor bytes.
        ValueError: a secret or the list is empty. Messages never show a secret.
        ImportError: itsdangerous is not installed.
    """
    keys = _check_keys(secret_key, salt)
    try:
        from spica.middleware.sessions.signer import SessionSigner
    except ImportError as error:
        raise ImportError(_MISSING) from error
    # itsdangerous expects the oldest secret first and signs with the last.
    keys.reverse()
    return SessionSigner(keys) if salt is None else SessionSigner(keys, salt=salt)


def make_keyring(secret_key: SecretKeys | Keyring, salt: str | None) -> Keyring:
    """Return a keyring with these secrets.

    Raises:
        TypeError: a secret is neither str nor bytes.
        ValueError: a secret or the list is empty. Messages never show a secret.
        ImportError: itsdangerous is not installed.
    """
    keys = _check_keys(secret_key, salt)
    try:
        from spica.signing import Keyring
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return Keyring(*keys)


def _check_keys(secret_key: Any, salt: str | None) -> list[bytes]:
    if salt is not None and (not isinstance(salt, str) or not salt):
        raise ValueError("SessionMiddleware: salt must be a string that is not empty, or None.")
    keyring = getattr(secret_key, "secrets", None)
    if keyring is not None:  # a Keyring, whose module must not be imported for this
        return [*keyring]
    given = [secret_key] if isinstance(secret_key, (str, bytes, Secret)) else secret_key
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            _SECRET + f" must be a string, or a list of them, not {type(given).__name__}."
        )
    if not given:
        raise ValueError(_SECRET + " is an empty list, so nothing can be signed.")
    return [check_secret(key, _SECRET) for key in given]


_SECRET = "SessionMiddleware: secret_key"
_MISSING = "SessionMiddleware needs itsdangerous: pip install 'spica[sessions]'."


def check_cookie(name: str, path: str, domain: str | None, same_site: str, secure: bool) -> None:
    """Refuse settings that make browsers drop the cookie.

    Raises:
        ValueError: a part is not allowed in a cookie, or browsers drop a cookie with it.
    """
    if not isinstance(same_site, str):
        raise TypeError(
            f"SessionMiddleware: same_site must be 'lax', 'strict' or 'none', not {same_site!r:.80}."
        )
    if same_site.lower() == "none" and not secure:
        # draft-ietf-httpbis-rfc6265bis s.5.7: browsers drop it.
        raise ValueError(
            f"SessionMiddleware: same_site={same_site!r} needs https_only=True: "
            "browsers drop a cross-site cookie that is not secure."
        )
    if domain and not is_domain(domain):
        raise ValueError(
            f"SessionMiddleware: The domain of a cookie is {domain!r:.80}: "
            "it must be a host name, or browsers drop the cookie."
        )
    try:
        format_set_cookie(name, path=path, domain=domain, samesite=same_site, secure=secure)
    except ValueError as error:
        raise ValueError(f"SessionMiddleware: {error}") from None


def format_flags(same_site: str, secure: bool, domain: str | None, partitioned: bool) -> str:
    """Return the attributes at the end of each session cookie, as in the Set-Cookie header."""
    flags = ["httponly", f"samesite={same_site}"]
    if secure:
        flags.append("secure")
    elif partitioned:
        warn_configuration(
            "SessionMiddleware: partitioned=True needs https_only=True: browsers drop the cookie.",
        )
    if domain:
        flags.append(f"domain={domain}")
    if partitioned:
        flags.append("partitioned")
    return "; ".join(flags)


def unsign(signer: TimestampSigner, value: str, max_age: int | None) -> bytes:
    """Return the JSON in a cookie's value, or b"" for a signature that is wrong or too old.

    `max_age` is in seconds.
    """
    try:
        return a2b_base64(signer.unsign(value, max_age=max_age))
    except (ValueError, OverflowError, OSError):
        return b""  # the latter two: a signed value that is not a session has an absurd timestamp
    except Exception as error:
        from itsdangerous import BadData

        if isinstance(error, BadData):
            return b""
        raise


def sign(signer: TimestampSigner, data: bytes) -> str:
    """Return the cookie value for this JSON."""
    return signer.sign(b2a_base64(data, newline=False)).decode("ascii")


def explain_size(name: str, size: int, sizes: dict[str, int]) -> str:
    """Return the error message for a cookie that is too large. `sizes` has the bytes of each entry."""
    largest = sorted(sizes, key=lambda key: -sizes[key])[:3]
    entries = ", ".join(f"{key!r:.40} ({sizes[key]})" for key in largest)
    return (
        f"SessionMiddleware: with this session the cookie {name!r} has {size} bytes, and browsers drop "
        f"cookies over {MAX_COOKIE_SIZE}. Store large values elsewhere and keep their key in the session. "
        f"Its largest entries, in bytes: {entries}."
    )
