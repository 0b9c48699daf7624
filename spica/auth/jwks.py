"""The public keys that verify tokens: those of an issuer, fetched when they are needed, or your own.

Standards: RFC 7517 (JSON Web Key), RFC 7518 s.6 (the parameters of keys), RFC 8037 (Ed25519).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import orjson
from anyio.lowlevel import RunVar

from spica.exceptions import HTTPException, warn_configuration

try:
    import httpx2
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key
except ImportError as error:
    raise ImportError(
        "spica.auth.jwt needs joserfc and httpx2: pip install 'spica[jwt]'."
    ) from error

if TYPE_CHECKING:
    from joserfc.jwk import Key as JoseKey

logger = logging.getLogger("spica.auth")

MAX_KEYS = 64
"""The number of keys that a document may have."""
MAX_DOCUMENT_SIZE = 256 * 1024
"""The size of a document in bytes."""
FRESH_SECONDS = 600.0
"""How long keys are used before they are fetched again."""
USABLE_SECONDS = 3600.0
"""How long keys stay usable if the issuer is down."""
RETRY_SECONDS = 60.0
"""The shortest time between two fetches for unknown keys, and after a failure with usable keys."""
RETRY_WITHOUT_KEYS_SECONDS = 5.0
"""The shortest time between two fetches after a failure without usable keys."""

_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
# RFC 7518 s.3.3: RSA keys have 2048 bits or more. Much larger ones only cost time.
_RSA_BITS = range(2048, 8192 + 1)


class KeysUnavailable(HTTPException):
    """The keys of the issuer can't be fetched, so no token can be verified. The client gets a 503."""

    def __init__(self, detail: str = "The keys to verify tokens are not available.") -> None:
        retry_after = str(math.ceil(RETRY_WITHOUT_KEYS_SECONDS))
        super().__init__(503, detail, {"Retry-After": retry_after})


class Key(NamedTuple):
    """A public key, or a shared secret, and the tokens that it may verify."""

    kid: str | None
    kty: str
    crv: str | None
    alg: str | None
    value: JoseKey


def read_key_set(document: Any) -> list[Key]:
    """Return the keys of a JWK set that can verify signatures. Other keys are skipped (RFC 7517 s.5).

    Raises:
        ValueError: The document is not a JWK set, or has too many keys.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError('the document is not a JWK set, an object with a list "keys"')
    if len(keys) > MAX_KEYS:
        raise ValueError(f"the document has {len(keys)} keys, more than {MAX_KEYS}")
    return [key for key in map(read_public_key, keys) if key is not None]


def read_public_key(jwk: Any) -> Key | None:
    """Return the public key in a JWK, or None if it can't verify signatures or is too weak."""
    if not isinstance(jwk, Mapping) or not _may_verify(jwk):
        return None
    kid, alg = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str | None) or not isinstance(alg, str | None):
        return None
    try:
        value = import_key({name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk})
        value.get_op_key("verify")
    except (JoseError, ValueError, TypeError):
        return None
    key = Key(kid, jwk["kty"], jwk.get("crv"), alg, value)
    return key if is_strong(key) else None


def _may_verify(jwk: Mapping[str, Any]) -> bool:
    """Return whether a JWK is a public key for signatures."""
    kty, operations = jwk.get("kty"), jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list):
        return False
    if "verify" not in operations:
        return False
    if kty == "RSA":
        modulus = jwk.get("n")
        # joserfc would warn of a shorter one.
        return isinstance(modulus, str) and len(modulus) * 6 >= _RSA_BITS.start
    return kty in ("EC", "OKP")  # and no shared secret: a published one is known to everybody


def is_strong(key: Key) -> bool:
    """Return whether an RSA key has an acceptable size. The size of other keys follows from the curve."""
    rsa: Any = key.value
    return key.kty != "RSA" or rsa.public_key.key_size in _RSA_BITS


class OwnKeys:
    """Keys that never change."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = keys

    async def select(self, accepts: Callable[[Key], bool]) -> list[Key]:
        """Return the keys that a token may be signed with."""
        return [key for key in self.keys if accepts(key)]


class RemoteKeys:
    """The keys that an issuer publishes as a JWK set.

    One request fetches them while others wait, or use the keys that are there. The keys are used for 10
    minutes, and for an hour if the issuer is down. A token with an unknown key causes a fetch, at most one a
    minute. Redirects are not followed.

    Args:
        url: The address of the JWK set.
        client: The client that fetches it, for a proxy or certificates of your own. You close it.
        timeout_seconds: The time for a whole fetch.
        clock: The time in seconds.
    """

    def __init__(
        self,
        url: str,
        client: httpx2.AsyncClient | None = None,
        timeout_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_url(url)
        self.url = url
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._keys: list[Key] = []
        self._fetched_at = self._failed_at = self._asked_at = -math.inf
        self._attempts = 0
        # The name has the id, because early versions of AnyIO 4 compare variables only by their names.
        self._lock_of_loop: RunVar[anyio.Lock] = RunVar(f"spica keys ({id(self)})")

    async def select(self, accepts: Callable[[Key], bool]) -> list[Key]:
        """Return the keys that a token may be signed with. An empty list means that none fits.

        Raises:
            KeysUnavailable: There are no keys, and the issuer is down.
        """
        if self._age() >= FRESH_SECONDS:
            await self._refresh_old()
        found = [key for key in self._keys if accepts(key)]
        if not found and self._clock() - self._asked_at >= RETRY_SECONDS:
            attempts = self._attempts
            previous, self._asked_at = self._asked_at, self._clock()
            try:
                await self._refresh(attempts)
            finally:
                if self._attempts == attempts:  # cancelled: the next request asks
                    self._asked_at = previous
            found = [key for key in self._keys if accepts(key)]
        elif not found and self._lock.statistics().locked:
            await self._refresh(self._attempts)  # another request fetches them: wait for it
            found = [key for key in self._keys if accepts(key)]
        return found

    @property
    def _lock(self) -> anyio.Lock:
        """The lock of this event loop: tests run an application in several, one after the other."""
        try:
            return self._lock_of_loop.get()
        except LookupError:
            lock = anyio.Lock()
            self._lock_of_loop.set(lock)
            return lock

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    async def _refresh_old(self) -> None:
        """Fetch keys that are not fresh. Usable keys are used if that fails, or is already under way."""
        is_usable = self._age() < USABLE_SECONDS
        pause = RETRY_SECONDS if is_usable else RETRY_WITHOUT_KEYS_SECONDS
        if is_usable and self._lock.statistics().locked:
            return
        if self._clock() - self._failed_at >= pause:
            await self._refresh(self._attempts)
        if self._age() >= USABLE_SECONDS:
            raise KeysUnavailable()

    async def _refresh(self, attempts: int) -> None:
        """Fetch the keys, unless another request has done it since ``attempts`` was read."""
        async with self._lock:
            if self._attempts != attempts:
                return
            try:
                keys = await self._fetch()
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, TimeoutError) as error:
                self._failed_at = self._clock()
                reason = str(error) or type(error).__name__
                logger.warning("The keys at %s can't be fetched: %s", self.url, reason)
            else:
                self._keys, self._fetched_at = keys, self._clock()
            self._attempts += 1

    async def _fetch(self) -> list[Key]:
        with anyio.fail_after(self._timeout_seconds):
            if self._client is not None:
                return read_key_set(orjson.loads(await self._download(self._client)))
            async with httpx2.AsyncClient(timeout=self._timeout_seconds) as client:
                return read_key_set(orjson.loads(await self._download(client)))

    async def _download(self, client: httpx2.AsyncClient) -> bytes:
        """Return the document.

        Raises:
            ValueError: The response is not a document of an allowed size.
        """
        # Compressed bytes could hide a much larger document.
        headers = {
            "Accept": "application/jwk-set+json, application/json",
            "Accept-Encoding": "identity",
        }
        async with client.stream(
            "GET", self.url, headers=headers, follow_redirects=False
        ) as response:
            if response.status_code != 200:
                raise ValueError(f"the status is {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError("the document is compressed")
            document = bytearray()
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    document += chunk
                    if len(document) > MAX_DOCUMENT_SIZE:
                        raise ValueError(f"the document is larger than {MAX_DOCUMENT_SIZE} bytes")
        return bytes(document)


def check_url(url: Any) -> None:
    """Require the URL of a JWK set, and warn if it is fetched without TLS from another machine."""
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"JWTBackend: jwks_url must be an absolute http(s) URL, not {url!r:.200}. The issuer's document "
            "/.well-known/openid-configuration has it as jwks_uri."
        )
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        warn_configuration(
            f"JWTBackend: jwks_url {url!r:.200} has no TLS. Anybody on the way can replace the keys, and so "
            "sign tokens. Use https."
        )
