"""The keys of an issuer: one that is shared, or a key set (JWKS) from a file or an address.

A key set from an address is fetched when it is first needed, and again once it is an hour old, or
when a token names a key that is not in it, but then at most every half minute: whoever makes up
key IDs causes no more requests than that.  An issuer that does not answer leaves the last set good
for a day.  Spec: RFC 7517.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import structlog
from joserfc.errors import JoseError

from homeserver.errors import PeerFailed
from homeserver.services.sign_in.documents import Documents

if TYPE_CHECKING:  # large, and not needed before there is a key
    from joserfc.jwk import Key

logger = structlog.get_logger(__name__)

FRESH_MS = 3_600_000
USABLE_MS = 24 * 3_600_000
ASK_AGAIN_AFTER_MS = 30_000
MAX_KEYS = 100

# Which kind of key an algorithm takes; what is not here is not supported.
KEY_TYPES = {"HS256": "oct", "RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
CURVES = {"ES256": "P-256", "EdDSA": "Ed25519"}
LEAST_RSA_BITS = 2048


class KeySource(Protocol):
    """Where the keys that verify an issuer's tokens come from."""

    async def find(self, algorithm: str, key_id: str | None) -> Sequence[Key]:
        """The keys that may have signed a token.  Raises :class:`PeerFailed`."""


class SharedKey:
    """One secret that the issuer and this instance know."""

    def __init__(self, secret: str) -> None:
        from joserfc.jwk import OctKey

        self._key: Key = OctKey.import_key(secret)

    async def find(self, algorithm: str, key_id: str | None) -> Sequence[Key]:
        """The key, whatever it is called."""
        return (self._key,) if KEY_TYPES[algorithm] == "oct" else ()


class KeyFile:
    """A key set in a file, which is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = 0.0
        self._keys: list[Key] = []
        self._read()

    def _read(self) -> None:
        changed_at = self._path.stat().st_mtime
        if changed_at != self._read_at:
            self._keys = parse_key_set(orjson.loads(self._path.read_bytes()))
            self._read_at = changed_at

    async def find(self, algorithm: str, key_id: str | None) -> Sequence[Key]:
        """The keys of that ID, or all that fit where the token names none."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            logger.warning("a key set cannot be read", path=str(self._path), reason=str(error))
        return fitting(self._keys, algorithm, key_id)


class KeyAddress:
    """A key set at an address."""

    def __init__(
        self, *, documents: Documents, clock_ms: Callable[[], int], url: Callable[[], Any]
    ) -> None:
        """``url`` gives the address; it may be a coroutine function that has to look it up."""
        self._documents = documents
        self._clock_ms = clock_ms
        self._url = url
        self._keys: list[Key] = []
        self._fetched_at: int | None = None
        self._asked_at: int | None = None
        self._lock = asyncio.Lock()

    async def find(self, algorithm: str, key_id: str | None) -> Sequence[Key]:
        """The keys of that ID, or all that fit.  Raises :class:`PeerFailed` without any set."""
        now = self._clock_ms()
        found = fitting(self._keys, algorithm, key_id)
        if found and self._age(now) < FRESH_MS:
            return found
        async with self._lock:
            if self._may_ask(now):
                await self._fetch(now)
        if self._fetched_at is None or self._age(now) >= USABLE_MS:
            raise PeerFailed("The issuer's keys cannot be had at the moment")
        return fitting(self._keys, algorithm, key_id)

    def _age(self, now: int) -> int:
        return now - self._fetched_at if self._fetched_at is not None else USABLE_MS

    def _may_ask(self, now: int) -> bool:
        return self._asked_at is None or now - self._asked_at >= ASK_AGAIN_AFTER_MS

    async def _fetch(self, now: int) -> None:
        self._asked_at = now
        try:
            url = self._url()
            url = url if isinstance(url, str) else await url
            self._keys = parse_key_set(await self._documents.get(url))
            self._fetched_at = now
        except PeerFailed as error:
            logger.warning("an issuer's keys could not be fetched", reason=error.text)
        except ValueError as error:
            logger.warning("an issuer's key set cannot be used", reason=str(error))


def parse_key_set(document: Any) -> list[Key]:
    """The public keys of a key set that can be used.  Raises :class:`ValueError` without any.

    Shared keys in it are left out: who can read the set could sign with them.
    """
    from joserfc.jwk import JWKRegistry

    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no key set: an object with 'keys' is expected")
    keys: list[Key] = []
    for item in listed[:MAX_KEYS]:
        if not isinstance(item, dict) or item.get("use", "sig") != "sig":
            continue
        try:
            key = JWKRegistry.import_key(item)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if key.key_type != "oct":
            keys.append(key)
    if not keys:
        raise ValueError("it has no key that can be used")
    return keys


def fitting(keys: Sequence[Key], algorithm: str, key_id: str | None) -> list[Key]:
    """Those of some keys with which a token of that algorithm and key ID may be signed."""
    return [
        key
        for key in keys
        if key.key_type == KEY_TYPES[algorithm]
        and (key_id is None or key.kid == key_id)
        and key.get("alg") in (None, algorithm)
        and key.get("crv") == CURVES.get(algorithm, key.get("crv"))
        and (key.key_type != "RSA" or key.public_key.key_size >= LEAST_RSA_BITS)  # type: ignore[union-attr]
    ]
