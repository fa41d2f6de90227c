"""Our own signing keys: what is published, and what old events can still be checked with.

The keys in use are those of the signing key file.  A key that was published once and is no longer
in the file was rotated: it stays published as an old one, so that what it signed remains valid.
Spec: server-server API, publishing keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from homeserver.protocol.events import JsonObject
from homeserver.protocol.signing import SigningKey, VerifyKey, sign_json
from homeserver.storage import server_keys as storage
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey

VALID_FOR_MS = 24 * 3600 * 1000
PUBLISH_ANEW_AFTER_MS = 3600 * 1000


class OwnKeys:
    """The keys of this instance; the first of ``signing_keys`` signs, all are valid."""

    def __init__(
        self,
        *,
        server_name: str,
        signing_keys: Sequence[SigningKey],
        database: Database,
        clock_ms: Callable[[], int],
    ) -> None:
        self.server_name = server_name
        self._signing_keys = signing_keys
        self._database = database
        self._clock_ms = clock_ms
        self._old: list[ServerKey] = []
        self._document: JsonObject = {}
        self._signed_at = 0

    async def start(self) -> None:
        """Note the keys in use, and which ones no longer are."""
        now = self._clock_ms()
        current = [
            ServerKey(self.server_name, key.key_id, key.verify_key.data, 0, None, now)
            for key in self._signing_keys
        ]
        await storage.save_keys(self._database, current, None, direct=True)
        in_use = [key.key_id for key in current]
        await storage.expire_other_keys(self._database, self.server_name, in_use, now)
        stored = await storage.get_keys(self._database, self.server_name)
        self._old = [key for key in stored if key.expired_ts is not None]

    def find(self, key_id: str, at_ts: int | None) -> VerifyKey | None:
        """One of our keys, if it was in use at that time; whenever it was, for None."""
        for key in self._signing_keys:
            if key.key_id == key_id:
                return key.verify_key
        for old in self._old:
            if old.key_id == key_id and (at_ts is None or at_ts <= (old.expired_ts or 0)):
                return VerifyKey(old.verify_key)
        return None

    def sign(self, value: JsonObject) -> JsonObject:
        """A copy of an object, signed by each key in use."""
        for key in self._signing_keys:
            value = sign_json(value, self.server_name, key)
        return value

    def document(self) -> JsonObject:
        """What ``GET /_matrix/key/v2/server`` answers."""
        now = self._clock_ms()
        if now - self._signed_at > PUBLISH_ANEW_AFTER_MS:
            self._signed_at = now
            self._document = self.sign(
                {
                    "server_name": self.server_name,
                    "valid_until_ts": now + VALID_FOR_MS,
                    "verify_keys": {
                        key.key_id: {"key": key.verify_key.to_base64()}
                        for key in self._signing_keys
                    },
                    "old_verify_keys": {
                        old.key_id: {
                            "key": VerifyKey(old.verify_key).to_base64(),
                            "expired_ts": old.expired_ts,
                        }
                        for old in self._old
                    },
                }
            )
        return self._document
