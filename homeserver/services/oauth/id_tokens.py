"""ID tokens: who has logged in, signed, for clients that ask for the scope ``openid``.

The Matrix specification knows nothing of them; clients that were made with libraries of OpenID
Connect, Element Web among them, do not log in without.  OpenID Connect Core, section 2.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from homeserver.protocol.events import JsonObject
from homeserver.storage import oauth_keys as storage
from homeserver.storage.database import Database

if TYPE_CHECKING:  # large, and not needed before somebody logs in so
    from joserfc.jwk import RSAKey

ALGORITHM = "RS256"  # what every client of OpenID Connect has to know
KEY_BITS = 2048
LIFETIME_SECONDS = 3600


class IdTokens:
    """Signs ID tokens with a key that is made when it is first needed."""

    def __init__(
        self, *, issuer: str, secret: bytes, database: Database, clock_ms: Callable[[], int]
    ) -> None:
        """``secret``: encrypts the key where it is stored."""
        self._issuer = issuer
        self._box = SecretBox(
            hashlib.blake2b(secret, digest_size=32, person=b"comity-idtokens").digest()
        )
        self._database = database
        self._clock_ms = clock_ms
        self._key: RSAKey | None = None
        self._opened: dict[bytes, RSAKey] = {}
        self._making = asyncio.Lock()

    async def load(self) -> None:
        """Have a key at hand; make one if there is none."""
        async with self._making:
            if self._key is None:
                keys = await self._stored()
                self._key = keys[0] if keys else await self._make()

    async def key_set(self) -> JsonObject:
        """The public keys, also those of other processes on the same database."""
        await self.load()
        return {"keys": [_public(key) for key in await self._stored()]}

    def sign(self, *, user_id: str, client_id: str, access_token: str, nonce: str | None) -> str:
        """An ID token; :meth:`load` was called before."""
        from joserfc import jwt

        if self._key is None:
            raise RuntimeError("no key is loaded")
        now = self._clock_ms() // 1000
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        claims = {
            "iss": self._issuer,
            "sub": user_id,
            "aud": client_id,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
            **({"nonce": nonce} if nonce is not None else {}),
        }
        header = {"alg": ALGORITHM, "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])

    async def _stored(self) -> list[RSAKey]:
        """Those that our secret opens: with another one, a new key is made."""
        keys = []
        for sealed in await storage.get_keys(self._database):
            if sealed not in self._opened:
                try:
                    plain = self._box.decrypt(sealed)
                except CryptoError:
                    continue
                self._opened[sealed] = await asyncio.to_thread(_import, plain)
            keys.append(self._opened[sealed])
        return keys

    async def _make(self) -> RSAKey:
        made = await asyncio.to_thread(_generate)
        plain = orjson.dumps(made.as_dict(private=True))
        key = await asyncio.to_thread(_import, plain)
        sealed = bytes(self._box.encrypt(plain))
        await storage.insert_key(self._database, str(key.kid), sealed, self._clock_ms())
        self._opened[sealed] = key
        return key


def _generate() -> RSAKey:
    from joserfc.jwk import RSAKey

    return RSAKey.generate_key(KEY_BITS)


def _import(plain: bytes) -> RSAKey:
    from joserfc.jwk import RSAKey

    document = orjson.loads(plain)
    key = RSAKey.import_key(document)
    return RSAKey.import_key(document, {"kid": key.thumbprint(), "use": "sig", "alg": ALGORITHM})


def _public(key: RSAKey) -> JsonObject:
    return dict(key.as_dict(private=False))
