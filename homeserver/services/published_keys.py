"""Keys as others see them: with their devices' names, and the signatures a viewer may see.

Spec: client-server API, end-to-end encryption, key and signature security.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from msgspec import Struct, field

from homeserver.protocol.events import JsonObject
from homeserver.storage import end_to_end_keys as storage
from homeserver.storage.database import Queryable

Signed = dict[tuple[str, str], list[storage.Signatures]]


class PublishedKeys(Struct):
    """The keys of some users: by user ID, devices by device ID beneath."""

    device_keys: dict[str, dict[str, JsonObject]] = field(default_factory=dict)
    master_keys: dict[str, JsonObject] = field(default_factory=dict)
    self_signing_keys: dict[str, JsonObject] = field(default_factory=dict)
    user_signing_keys: dict[str, JsonObject] = field(default_factory=dict)

    def update(self, other: PublishedKeys) -> None:
        """Take in the keys of other users."""
        self.device_keys.update(other.device_keys)
        self.master_keys.update(other.master_keys)
        self.self_signing_keys.update(other.self_signing_keys)
        self.user_signing_keys.update(other.user_signing_keys)


async def published_keys(
    db: Queryable, user_ids: Collection[str], viewer: str | None
) -> PublishedKeys:
    """The stored keys of users as ``viewer`` sees them (None: another instance)."""
    published = PublishedKeys(device_keys={user_id: {} for user_id in user_ids})
    signed: Signed = defaultdict(list)
    for entry in await storage.get_signatures(db, user_ids, viewer):
        signed[(entry.target_user_id, entry.target_key)].append(entry)

    for device in await storage.get_device_keys(db, user_ids):
        keys = with_signatures(device.keys, signed.get((device.user_id, device.device_id), ()))
        if device.display_name:
            keys["unsigned"] = {"device_display_name": device.display_name}
        published.device_keys[device.user_id][device.device_id] = keys

    shown = {"master": published.master_keys, "self_signing": published.self_signing_keys}
    for user_id, by_usage in (await storage.get_cross_signing_keys(db, user_ids)).items():
        for usage, key in by_usage.items():
            merged = with_signatures(key, signed.get((user_id, public_key(key)), ()))
            if usage in shown:
                shown[usage][user_id] = merged
            elif usage == "user_signing" and user_id == viewer:
                published.user_signing_keys[user_id] = merged
    return published


async def add_own_signatures(db: Queryable, keys: PublishedKeys, viewer: str) -> None:
    """Add to master keys that came from elsewhere the signatures that the viewer made."""
    entries = await storage.get_signatures(db, list(keys.master_keys), viewer)
    for user_id, key in keys.master_keys.items():
        theirs = [
            entry
            for entry in entries
            if entry.target_user_id == user_id and entry.target_key == public_key(key)
        ]
        keys.master_keys[user_id] = with_signatures(key, theirs)


def with_signatures(key: JsonObject, entries: Iterable[storage.Signatures]) -> JsonObject:
    """A copy of a key with further signatures."""
    signatures: dict[str, dict[str, str]] = {
        signer: dict(by_key)
        for signer, by_key in (key.get("signatures") or {}).items()
        if isinstance(by_key, dict)
    }
    for entry in entries:
        signatures.setdefault(entry.signer, {}).update(entry.signatures)
    merged = dict(key)
    if signatures:
        merged["signatures"] = signatures
    return merged


def public_key(key: JsonObject) -> str:
    """The public key of a cross-signing key object: the only value of its ``keys``."""
    value: str = next(iter(key["keys"].values()))
    return value
