"""Keys of devices with the shapes of the Conversations API: the same store as Matrix's.

Spec: client-server API, end-to-end encryption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.errors import InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.consent import Consent
from homeserver.services.consent.access import ConsentAccess
from homeserver.services.conversations.shapes.keys import (
    Bundles,
    DeviceBundle,
    IdentityKey,
    KeysUpload,
    NewIdentityKey,
    OwnKeys,
    PersonBundles,
    PreKey,
    PreKeyShown,
    Unreachable,
)
from homeserver.services.conversations.shapes.people import address
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.storage import end_to_end_keys as storage
from homeserver.storage.database import Database

SIGNED = "signed_curve25519"
AGREEMENT, SIGNING = "curve25519", "ed25519"
LOW_WATER = 20
# The algorithms of Matrix, by the names of the protocols.
ALGORITHMS = {"olm": "m.olm.v1.curve25519-aes-sha2", "megolm": "m.megolm.v1.aes-sha2"}
NAMES_OF_ALGORITHMS = {algorithm: name for name, algorithm in ALGORITHMS.items()}


class ApiKeys:
    """Publishes and hands out keys."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        keys: EndToEndKeyService,
        access: ConsentAccess,
        consent: Consent,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._keys = keys
        self._access = access
        self._consent = consent

    # ------------------------------------------------------------ one's own

    async def upload(self, user_id: str, device_id: str, given: KeysUpload) -> OwnKeys:
        """Publish keys of a device.

        Raises :class:`InvalidParam`, :class:`~homeserver.errors.TooLarge`.
        """
        user_id = str(user_id)  # a plain one: it becomes a key of JSON
        names = {key.id for key in given.one_time_pre_keys}
        if len(names) != len(given.one_time_pre_keys):
            raise InvalidParam("Each one-time pre-key needs an 'id' of its own")
        identity, signed = given.identity_key, given.signed_pre_key
        await self._keys.upload(
            user_id,
            device_id,
            device_keys=_device_keys(user_id, device_id, identity) if identity else None,
            one_time_keys={
                f"{SIGNED}:{key.id}": _signed_key(user_id, device_id, key)
                for key in given.one_time_pre_keys
            },
            fallback_keys={
                f"{SIGNED}:{signed.id}": _signed_key(user_id, device_id, signed, fallback=True)
            }
            if signed is not None
            else {},
        )
        return await self.own(user_id, device_id)

    async def own(self, user_id: str, device_id: str) -> OwnKeys:
        """What a device has published, and how many pre-keys are left."""
        counts = await self._keys.counts(user_id, device_id)
        stored = await storage.get_device_keys(self._database, [user_id])
        fallback = await storage.get_fallback_keys(self._database, [user_id], SIGNED)
        identity = next((row.keys for row in stored if row.device_id == device_id), None)
        has_signed = (user_id, device_id) in fallback
        return OwnKeys(
            device_id=device_id,
            identity_key=_identity(user_id, device_id, identity) if identity else None,
            one_time_pre_keys=counts.one_time_keys.get(SIGNED, 0),
            low_water=LOW_WATER,
            has_signed_pre_key=has_signed,
            signed_pre_key_used=has_signed and SIGNED not in counts.unused_fallback_algorithms,
        )

    # ------------------------------------------------------------ others'

    async def bundles(
        self,
        reader: UserId,
        people: Sequence[UserId],
        *,
        device_ids: Sequence[str] | None,
        pre_keys: bool,
    ) -> Bundles:
        """What it takes to begin encrypted sessions with people's devices.

        With ``pre_keys`` each device gives out one: it is used up.  Raises :class:`InvalidParam`,
        and :class:`~homeserver.errors.ConsentNotGiven` where the reader has to allow first that
        other instances hear of them.
        """
        if device_ids is not None and len(people) != 1:
            raise InvalidParam("'device_ids' goes with one person")
        elsewhere = {p.server_name for p in people if p.server_name != self._server_name}
        if elsewhere:
            await self._consent.require_federation(reader, elsewhere)
        local = [person for person in people if person.server_name == self._server_name]
        hidden = await self._access.hidden_from(local, reader)
        shown = [person for person in people if person not in hidden]
        found = await self._keys.query(reader, {person: list(device_ids or ()) for person in shown})
        failures = {name: str(f.get("message", "")) for name, f in found.failures.items()}
        devices = {person: found.keys.device_keys.get(person, {}) for person in shown}
        claimed: Mapping[str, Mapping[str, Mapping[str, Any]]] = {}
        fallback: Mapping[tuple[str, str], storage.Key] = {}
        if pre_keys:
            wanted: dict[str, Mapping[str, str]] = {
                p: dict.fromkeys(ids, SIGNED) for p, ids in devices.items() if ids
            }
            result = await self._keys.claim(wanted)
            claimed = result.one_time_keys
            failures |= {name: str(f.get("message", "")) for name, f in result.failures.items()}
            ours = [p for p in devices if server_name_of(p) == self._server_name]
            fallback = await storage.get_fallback_keys(self._database, ours, SIGNED)
        return Bundles(
            items=[
                PersonBundles(
                    address=address(person),
                    devices=[
                        _bundle(
                            person,
                            device_id,
                            keys,
                            claimed.get(person, {}).get(device_id, {}),
                            fallback.get((person, device_id)),
                        )
                        for device_id, keys in devices.get(person, {}).items()
                    ],
                )
                for person in people
                if person.server_name not in failures
            ],
            failures=[Unreachable(instance=name, detail=text) for name, text in failures.items()],
        )


# ---------------------------------------------------------------- from shapes


def _device_keys(user_id: str, device_id: str, given: NewIdentityKey) -> JsonObject:
    signing = f"{SIGNING}:{device_id}"
    keys: JsonObject = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": [ALGORITHMS.get(name, name) for name in given.algorithms],
        "keys": {f"{AGREEMENT}:{device_id}": given.agreement_key, signing: given.signing_key},
    }
    if given.signature is not None:
        keys["signatures"] = {user_id: {signing: given.signature}}
    return keys


def _signed_key(
    user_id: str, device_id: str, given: PreKey, *, fallback: bool = False
) -> JsonObject:
    key: JsonObject = {"key": given.key}
    if fallback:
        key["fallback"] = True
    if given.signature is not None:
        key["signatures"] = {user_id: {f"{SIGNING}:{device_id}": given.signature}}
    return key


# ---------------------------------------------------------------- to shapes


def _identity(user_id: str, device_id: str, keys: JsonObject) -> IdentityKey:
    by_name = {n: k for n, k in keys.get("keys", {}).items() if isinstance(k, str)}
    agreement, signing = f"{AGREEMENT}:{device_id}", f"{SIGNING}:{device_id}"
    return IdentityKey(
        device_id=device_id,
        agreement_key=by_name.get(agreement),
        signing_key=by_name.get(signing),
        algorithms=[
            NAMES_OF_ALGORITHMS.get(a, a) for a in keys.get("algorithms", ()) if isinstance(a, str)
        ],
        signature=_signature(keys, user_id, device_id),
        other_keys={n: k for n, k in by_name.items() if n not in (agreement, signing)},
    )


def _signature(signed: object, user_id: str, device_id: str) -> str | None:
    """The device's own signature on something that it published, whatever was sent for it."""
    for part in ("signatures", user_id, f"{SIGNING}:{device_id}"):
        signed = signed.get(part) if isinstance(signed, dict) else None
    return signed if isinstance(signed, str) else None


def _bundle(
    user_id: str,
    device_id: str,
    keys: JsonObject,
    claimed: Mapping[str, Any],
    fallback: storage.Key | None,
) -> DeviceBundle:
    once, signed = None, None
    for key_name, key in claimed.items():
        shown = _pre_key(user_id, device_id, key_name.partition(":")[2], key)
        if isinstance(key, dict) and key.get("fallback") is True:
            signed = shown
        else:
            once = shown
    if signed is None and fallback is not None:
        signed = _pre_key(user_id, device_id, fallback.key_id, fallback.key)
    unsigned = keys.get("unsigned")
    name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
    return DeviceBundle(
        device_id=device_id,
        name=name if isinstance(name, str) else None,
        identity_key=_identity(user_id, device_id, keys),
        one_time_pre_key=once,
        signed_pre_key=signed,
    )


def _pre_key(user_id: str, device_id: str, key_id: str, key: object) -> PreKeyShown | None:
    value = key.get("key") if isinstance(key, dict) else key
    if not isinstance(value, str):
        return None
    return PreKeyShown(id=key_id, key=value, signature=_signature(key, user_id, device_id))
