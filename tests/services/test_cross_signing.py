"""Cross-signing keys and signatures: who may upload what, and who sees it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.errors import Forbidden, InvalidParam, MissingParam
from homeserver.protocol.canonical import encode_canonical_json
from homeserver.services.cross_signing import CrossSigningService, InvalidSignature
from homeserver.services.device_lists import DeviceListService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.storage.log import Log
from tests.services.doubles import (
    ALICE,
    BOB,
    CAROL,
    PEER,
    SERVER,
    Clock,
    Edus,
    Peers,
    add_device,
    set_membership,
)


def base64(data: bytes) -> str:
    """Unpadded Base64."""
    return b64encode(data).decode().rstrip("=")


class Signer:
    """A key pair that signs JSON."""

    def __init__(self, seed: int) -> None:
        self._key = SigningKey(bytes([seed]) * 32)
        self.public = base64(bytes(self._key.verify_key))

    def sign(self, value: dict[str, Any], user_id: str, name: str | None = None) -> dict[str, Any]:
        """A copy of ``value`` with a signature added."""
        bare = {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
        signature = base64(self._key.sign(encode_canonical_json(bare)).signature)
        signatures = {user: dict(theirs) for user, theirs in value.get("signatures", {}).items()}
        signatures.setdefault(user_id, {})[f"ed25519:{name or self.public}"] = signature
        return {**value, "signatures": signatures}

    def key(self, user_id: str, usage: str) -> dict[str, Any]:
        """A cross-signing key object of this pair's."""
        keys = {f"ed25519:{self.public}": self.public}
        return {"user_id": user_id, "usage": [usage], "keys": keys}


MASTER, SELF, USER, DEVICE, OTHER = (Signer(seed) for seed in range(1, 6))


def three_keys(user_id: str, master: Signer = MASTER) -> dict[str, Any]:
    """What a client uploads when it sets up cross-signing."""
    return {
        "master_key": master.key(user_id, "master"),
        "self_signing_key": master.sign(SELF.key(user_id, "self_signing"), user_id),
        "user_signing_key": master.sign(USER.key(user_id, "user_signing"), user_id),
    }


def signed_device(user_id: str, device_id: str) -> dict[str, Any]:
    """Identity keys of a device, signed by itself."""
    return DEVICE.sign(
        {
            "user_id": user_id,
            "device_id": device_id,
            "algorithms": [],
            "keys": {f"ed25519:{device_id}": DEVICE.public},
        },
        user_id,
        device_id,
    )


@dataclass
class Stage:
    """The services, and what stands around them."""

    service: CrossSigningService
    keys: EndToEndKeyService
    lists: DeviceListService
    edus: Edus
    log: Log


@pytest.fixture
async def stage(database):
    log = Log(database)
    await log.start()
    edus, peers = Edus(), Peers()
    lists = DeviceListService(database=database, log=log, edus=edus)
    remote = RemoteDevices(database=database, log=log, remote=peers, clock_ms=Clock())
    keys = EndToEndKeyService(
        server_name=SERVER,
        database=database,
        device_lists=lists,
        remote_devices=remote,
        remote=peers,
    )
    service = CrossSigningService(database=database, device_lists=lists, keys=keys)
    for user_id in (ALICE, BOB):
        await add_device(database, user_id, "PHONE")
        await set_membership(database, user_id)
        await keys.upload(
            user_id,
            "PHONE",
            device_keys=signed_device(user_id, "PHONE"),
            one_time_keys={},
            fallback_keys={},
        )
    await set_membership(database, CAROL)
    edus.durable.clear()
    yield Stage(service, keys, lists, edus, log)
    await remote.close()
    await log.close()


async def test_the_first_keys_need_no_second_proof_and_new_ones_do(stage):
    first = await stage.service.needs_authentication(ALICE, three_keys(ALICE))
    await stage.service.upload(ALICE, three_keys(ALICE))

    same = await stage.service.needs_authentication(ALICE, three_keys(ALICE))
    new = await stage.service.needs_authentication(ALICE, three_keys(ALICE, OTHER))

    assert (first, same, new) == (False, False, True)


async def test_only_the_owner_sees_the_user_signing_key(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))

    own = (await stage.keys.query(ALICE, {ALICE: []})).keys
    others = (await stage.keys.query(BOB, {ALICE: []})).keys
    peers = await stage.keys.query_local({ALICE: []})

    assert ALICE in own.user_signing_keys
    assert not others.user_signing_keys and not peers.user_signing_keys
    for keys in (own, others, peers):
        assert ALICE in keys.master_keys and ALICE in keys.self_signing_keys


async def test_other_instances_are_told_of_new_keys(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))

    ((to, kind, content),) = stage.edus.durable
    assert (to, kind) == (PEER, "m.signing_key_update")
    assert set(content) == {"user_id", "master_key", "self_signing_key"}


async def test_the_same_keys_again_change_nothing(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))
    position = stage.log.position

    await stage.service.upload(ALICE, three_keys(ALICE))

    assert stage.log.position == position


async def test_keys_that_hang_on_no_master_key_are_refused(stage):
    keys = three_keys(ALICE)

    with pytest.raises(MissingParam):
        await stage.service.upload(ALICE, {"self_signing_key": keys["self_signing_key"]})
    with pytest.raises(InvalidSignature):
        await stage.service.upload(ALICE, {**keys, "master_key": OTHER.key(ALICE, "master")})


@pytest.mark.parametrize(
    "key",
    [
        MASTER.key(BOB, "master"),
        MASTER.key(ALICE, "self_signing"),
        {**MASTER.key(ALICE, "master"), "keys": {"ed25519:a": "b"}},
        {**MASTER.key(ALICE, "master"), "keys": {}},
    ],
)
async def test_malformed_keys_are_refused(stage, key):
    with pytest.raises(InvalidParam):
        await stage.service.upload(ALICE, {"master_key": key})


async def test_a_key_that_is_a_device_id_is_refused(stage, database):
    await add_device(database, ALICE, MASTER.public)

    with pytest.raises(Forbidden):
        await stage.service.upload(ALICE, three_keys(ALICE))


async def test_a_new_master_key_voids_what_hung_on_the_old_one(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))

    await stage.service.upload(ALICE, {"master_key": OTHER.key(ALICE, "master")})

    keys = (await stage.keys.query(ALICE, {ALICE: []})).keys
    assert not keys.self_signing_keys and not keys.user_signing_keys


async def test_a_signed_device_is_seen_by_all_and_announced(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))
    stage.edus.durable.clear()
    signed = SELF.sign(signed_device(ALICE, "PHONE"), ALICE)

    failures = await stage.service.upload_signatures(ALICE, {ALICE: {"PHONE": signed}})

    assert failures == {}
    name = f"ed25519:{SELF.public}"
    seen = (await stage.keys.query(BOB, {ALICE: []})).keys.device_keys[ALICE]["PHONE"]
    assert seen["signatures"][ALICE][name] == signed["signatures"][ALICE][name]
    ((_, kind, content),) = stage.edus.durable
    assert kind == "m.device_list_update"
    assert name in content["keys"]["signatures"][ALICE]


async def test_signatures_on_a_device_go_with_the_keys_that_they_are_on(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))
    device = signed_device(ALICE, "PHONE")
    signed = SELF.sign(device, ALICE)
    await stage.service.upload_signatures(ALICE, {ALICE: {"PHONE": signed}})
    again = {**device, "signatures": {ALICE: {**device["signatures"][ALICE], "ed25519:x": "y"}}}
    other = OTHER.sign({**device, "keys": {"ed25519:PHONE": OTHER.public}}, ALICE, "PHONE")

    signers = []
    for keys in (again, other):
        await stage.keys.upload(
            ALICE, "PHONE", device_keys=keys, one_time_keys={}, fallback_keys={}
        )
        seen = (await stage.keys.query(BOB, {ALICE: []})).keys.device_keys[ALICE]["PHONE"]
        signers.append(f"ed25519:{SELF.public}" in seen["signatures"][ALICE])

    assert signers == [True, False]


async def test_a_master_key_signed_by_a_device_is_seen_by_all(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))
    signed = DEVICE.sign(MASTER.key(ALICE, "master"), ALICE, "PHONE")

    failures = await stage.service.upload_signatures(ALICE, {ALICE: {MASTER.public: signed}})

    assert failures == {}
    seen = (await stage.keys.query(BOB, {ALICE: []})).keys.master_keys[ALICE]
    assert "ed25519:PHONE" in seen["signatures"][ALICE]


async def test_a_signature_on_anothers_master_key_is_seen_by_its_signer_alone(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))
    await stage.service.upload(BOB, {"master_key": OTHER.key(BOB, "master")})
    since = stage.log.position
    signed = USER.sign(OTHER.key(BOB, "master"), ALICE)

    failures = await stage.service.upload_signatures(ALICE, {BOB: {OTHER.public: signed}})

    assert failures == {}
    own = (await stage.keys.query(ALICE, {BOB: []})).keys.master_keys[BOB]
    bobs = (await stage.keys.query(BOB, {BOB: []})).keys.master_keys[BOB]
    assert ALICE in own["signatures"]
    assert ALICE not in bobs.get("signatures", {})
    assert (await stage.lists.changes_since(ALICE, since, 10**9)).changed == [BOB]
    assert (await stage.lists.changes_since(BOB, since, 10**9)).changed == []


async def test_wrong_signatures_fail_and_the_right_ones_beside_them_count(stage):
    await stage.service.upload(ALICE, three_keys(ALICE))
    good = SELF.sign(signed_device(ALICE, "PHONE"), ALICE)
    changed = {**good, "algorithms": ["other"]}
    forged = USER.sign(MASTER.key(ALICE, "master"), ALICE)

    failures = await stage.service.upload_signatures(
        ALICE, {ALICE: {"PHONE": changed, MASTER.public: forged, "NONE": good}}
    )

    assert failures[ALICE]["PHONE"]["errcode"] == "M_INVALID_SIGNATURE"
    assert failures[ALICE][MASTER.public]["errcode"] == "M_INVALID_SIGNATURE"
    assert failures[ALICE]["NONE"]["errcode"] == "M_NOT_FOUND"
