"""Cross-signing: a user's master, self-signing and user-signing keys, and signatures by them.

Spec: client-server API, end-to-end encryption, cross-signing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.errors import Forbidden, MatrixError, MissingParam
from homeserver.protocol.events import JsonObject
from homeserver.services.device_lists import DeviceListService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.key_checks import check_cross_signing_key
from homeserver.services.key_signatures import is_signed
from homeserver.services.published_keys import PublishedKeys, public_key
from homeserver.services.values import is_object, is_user_id
from homeserver.storage import end_to_end_keys as storage
from homeserver.storage.database import Database
from homeserver.storage.device_lists import get_device_ids
from homeserver.storage.end_to_end_keys import Signatures

FIELDS = {
    "master_key": "master",
    "self_signing_key": "self_signing",
    "user_signing_key": "user_signing",
}
MAX_SIGNATURES = 1_000


class InvalidSignature(MatrixError):
    """A key does not bear the signature that it must."""

    errcode, status = "M_INVALID_SIGNATURE", 400


class CrossSigningService:
    """Takes cross-signing keys and signatures, and checks that one vouches for the other."""

    def __init__(
        self, *, database: Database, device_lists: DeviceListService, keys: EndToEndKeyService
    ) -> None:
        self._database = database
        self._device_lists = device_lists
        self._keys = keys

    # ------------------------------------------------------------ keys

    async def needs_authentication(self, user_id: str, body: JsonObject) -> bool:
        """Whether the user must prove once more who they are.

        Spec: ``POST /keys/device_signing/upload``: unless there is no master key yet, or the
        request contains no new keys.
        """
        stored = await self._stored(user_id)
        if "master" not in stored:
            return False
        return any(
            not _is_same(stored.get(usage), body[field])
            for field, usage in FIELDS.items()
            if body.get(field) is not None
        )

    async def upload(self, user_id: str, body: JsonObject) -> None:
        """Publish cross-signing keys.  Spec: ``POST /keys/device_signing/upload``.

        Raises :class:`~homeserver.errors.InvalidParam`, :class:`MissingParam`,
        :class:`InvalidSignature`, :class:`Forbidden`.
        """
        new = {usage: body[field] for field, usage in FIELDS.items() if body.get(field) is not None}
        for usage, key in new.items():
            check_cross_signing_key(key, user_id, usage)
        stored = await self._stored(user_id)
        master = new.get("master") or stored.get("master")
        if master is None:
            raise MissingParam("There is no master key: upload one first, or with the others")
        for usage, key in new.items():
            if usage != "master" and not is_signed(key, user_id, public_key(master)):
                raise InvalidSignature(f"The {usage} key is not signed by the master key")
        device_ids = await get_device_ids(self._database, user_id)
        if any(public_key(key) in device_ids for key in new.values()):
            raise Forbidden("One of the keys is the same as one of your device IDs")
        changed = {usage: key for usage, key in new.items() if not _is_same(stored.get(usage), key)}
        if changed:
            await self._device_lists.cross_signing_uploaded(user_id, changed)

    async def _stored(self, user_id: str) -> dict[str, JsonObject]:
        found = await storage.get_cross_signing_keys(self._database, [user_id])
        return found.get(user_id, {})

    # ------------------------------------------------------------ signatures

    async def upload_signatures(self, user_id: str, body: JsonObject) -> dict[str, JsonObject]:
        """Publish signatures; what failed: user ID -> key ID -> error.

        Spec: ``POST /keys/signatures/upload``.
        """
        targets = [user for user in body if is_user_id(user) and is_object(body[user])]
        found = await self._keys.query(user_id, {target: [] for target in targets})
        stored = await self._stored(user_id)
        accepted: list[Signatures] = []
        failures: dict[str, JsonObject] = {}
        for target in targets:
            for key_id, signed in list(body[target].items())[:MAX_SIGNATURES]:
                try:
                    accepted.append(
                        _check(user_id, target, key_id, signed, keys=found.keys, own=stored)
                    )
                except MatrixError as error:
                    failures.setdefault(target, {})[key_id] = error.to_json()
        if accepted:
            await self._device_lists.signatures_uploaded(user_id, accepted)
        return failures


def _is_same(stored: JsonObject | None, key: Any) -> bool:
    """Whether it is the same key; the signatures on it do not count."""
    return stored is not None and is_object(key) and stored.get("keys") == key.get("keys")


def _check(
    signer: str,
    target: str,
    key_id: str,
    signed: Any,
    *,
    keys: PublishedKeys,
    own: Mapping[str, JsonObject],
) -> Signatures:
    """The valid signatures by ``signer`` on one key.  Raises :class:`MatrixError`."""
    key = _find(keys, target, key_id)
    if key is None:
        raise MatrixError("There is no such key or device", errcode="M_NOT_FOUND", status=404)
    if not is_object(signed) or _unsigned(signed) != _unsigned(key):
        raise InvalidSignature("What was signed differs from the key that is published")
    signatures = signed.get("signatures")
    given = signatures.get(signer) if is_object(signatures) else None
    if not is_object(given) or not given:
        raise InvalidSignature("It bears no signature of yours")
    verify_keys = _verify_keys(signer, target, key, keys, own)
    vouching = {name: given[name] for name in given if name in verify_keys}
    if not vouching:
        raise InvalidSignature("It bears no signature by a key that may sign it")
    for name in vouching:
        if not is_signed(signed, signer, verify_keys[name], name):
            raise InvalidSignature(f"The signature by '{name}' is not valid")
    return Signatures(signer, target, key_id, vouching)


def _find(keys: PublishedKeys, target: str, key_id: str) -> JsonObject | None:
    device = keys.device_keys.get(target, {}).get(key_id)
    if device is not None:
        return device
    master = keys.master_keys.get(target)
    return master if master is not None and public_key(master) == key_id else None


def _verify_keys(
    signer: str,
    target: str,
    key: JsonObject,
    keys: PublishedKeys,
    own: Mapping[str, JsonObject],
) -> dict[str, str]:
    """Key ID -> public key, of those by which the signer may sign this key.

    One's devices by the self-signing key, one's master key by one's devices, and others' master
    keys by the user-signing key.
    """
    if target != signer:
        usage = "user_signing" if "device_id" not in key else None
    else:
        usage = "self_signing" if "device_id" in key else None
    if usage is not None:
        return dict(own[usage]["keys"]) if usage in own else {}
    if target != signer:
        return {}
    return {
        name: value
        for device in keys.device_keys.get(signer, {}).values()
        for name, value in device["keys"].items()
        if name.startswith("ed25519:")
    }


def _unsigned(key: JsonObject) -> JsonObject:
    return {name: value for name, value in key.items() if name not in ("signatures", "unsigned")}
