"""Keys of devices, the same as Matrix's; messages between devices."""

from __future__ import annotations

from typing import Any

import pytest
from nacl.encoding import Base64Encoder
from nacl.signing import SigningKey, VerifyKey

from homeserver.protocol.canonical import encode_canonical_json
from tests.conversations.conftest import ApiUser, new_user
from tests.integration.single import Instance

DEVICE_ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]


class Device:
    """An application's device that signs its keys."""

    def __init__(self, user: ApiUser, device_id: str) -> None:
        self.user = user
        self.id = device_id
        self._signing = SigningKey.generate()
        self.signing_key = self._plain(self._signing.verify_key.encode(Base64Encoder))

    @staticmethod
    def _plain(encoded: bytes) -> str:
        return encoded.decode().rstrip("=")

    def sign(self, value: Any) -> str:
        signature = self._signing.sign(encode_canonical_json(value)).signature
        return self._plain(Base64Encoder.encode(signature))

    def identity(self) -> dict[str, Any]:
        keys = {f"curve25519:{self.id}": "agree", f"ed25519:{self.id}": self.signing_key}
        signed = {
            "algorithms": DEVICE_ALGORITHMS,
            "device_id": self.id,
            "keys": keys,
            "user_id": self.user.user_id,
        }
        return {
            "agreement_key": "agree",
            "signing_key": self.signing_key,
            "signature": self.sign(signed),
        }

    def pre_key(self, key_id: str, **also: Any) -> dict[str, Any]:
        return {
            "id": key_id,
            "key": f"key of {key_id}",
            "signature": self.sign({"key": f"key of {key_id}", **also}),
        }

    async def publish(self, once: int) -> dict[str, Any]:
        answer: dict[str, Any] = await self.user.call(
            "PUT",
            "/keys",
            {
                "identity_key": self.identity(),
                "signed_pre_key": self.pre_key("signed", fallback=True),
                "one_time_pre_keys": [self.pre_key(f"once-{n}") for n in range(once)],
            },
        )
        return answer


async def device_of(user: ApiUser) -> Device:
    current = await user.get("/sessions/current")
    return Device(user, current["device"]["id"])


async def test_keys_are_published_and_counted(alice: ApiUser) -> None:
    device = await device_of(alice)

    empty = await alice.get("/keys")
    published = await device.publish(3)

    assert empty == {**empty, "identity_key": None, "one_time_pre_keys": 0}
    assert empty["has_signed_pre_key"] is False
    assert published == await alice.get("/keys")
    assert published["one_time_pre_keys"] == 3
    assert published["identity_key"]["signing_key"] == device.signing_key
    assert published["identity_key"]["algorithms"] == ["olm", "megolm"]
    assert published["has_signed_pre_key"] is True
    assert published["signed_pre_key_used"] is False


async def test_a_bundle_uses_up_one_pre_key_and_then_the_signed_one_is_left(
    alice: ApiUser, bob: ApiUser
) -> None:
    device = await device_of(alice)
    await device.publish(1)
    wanted = {"people": [alice.address]}

    identity_alone = await bob.post("/keys/bundles", {**wanted, "pre_keys": False})
    first = await bob.post("/keys/bundles", wanted)
    second = await bob.post("/keys/bundles", wanted)

    (looked_at,) = identity_alone["items"][0]["devices"]
    assert looked_at["one_time_pre_key"] is None
    assert first["failures"] == []
    (bundle,) = first["items"][0]["devices"]
    assert first["items"][0]["address"] == alice.address
    assert bundle["device_id"] == device.id
    assert bundle["one_time_pre_key"]["id"] == "once-0"
    assert bundle["signed_pre_key"]["id"] == "signed"
    (bundle,) = second["items"][0]["devices"]
    assert bundle["one_time_pre_key"] is None
    assert bundle["signed_pre_key"]["id"] == "signed"
    assert (await alice.get("/keys"))["signed_pre_key_used"] is True


async def test_a_matrix_client_can_use_keys_that_were_published_here(
    alice: ApiUser, bob: ApiUser
) -> None:
    """Signatures are over what Matrix signs, so any client verifies them."""
    device = await device_of(alice)
    await device.publish(1)

    query = await bob.matrix("POST", "/keys/query", {"device_keys": {alice.user_id: []}})
    wanted = {alice.user_id: {device.id: "signed_curve25519"}}
    claim = await bob.matrix("POST", "/keys/claim", {"one_time_keys": wanted})
    fallback = await bob.matrix("POST", "/keys/claim", {"one_time_keys": wanted})

    verify = VerifyKey(device.signing_key + "=", Base64Encoder)

    def check(value: dict[str, Any]) -> None:
        signature = value["signatures"][alice.user_id][f"ed25519:{device.id}"]
        rest = {k: v for k, v in value.items() if k not in ("signatures", "unsigned")}
        verify.verify(
            encode_canonical_json(rest), Base64Encoder.decode((signature + "==").encode())
        )

    check(query["device_keys"][alice.user_id][device.id])
    check(claim["one_time_keys"][alice.user_id][device.id]["signed_curve25519:once-0"])
    signed = fallback["one_time_keys"][alice.user_id][device.id]["signed_curve25519:signed"]
    assert signed["fallback"] is True
    check(signed)


async def test_keys_of_a_matrix_client_are_a_bundle_here(alice: ApiUser, bob: ApiUser) -> None:
    device_id = (await alice.matrix("GET", "/account/whoami"))["device_id"]
    signatures = {alice.user_id: {f"ed25519:{device_id}": "sig"}}
    body = {
        "device_keys": {
            "user_id": alice.user_id,
            "device_id": device_id,
            "algorithms": DEVICE_ALGORITHMS,
            "keys": {f"curve25519:{device_id}": "agree", f"ed25519:{device_id}": "sign"},
            "signatures": signatures,
        },
        "one_time_keys": {"signed_curve25519:AAAB": {"key": "once", "signatures": signatures}},
    }
    await alice.matrix("POST", "/keys/upload", body)

    answer = await bob.post("/keys/bundles", {"people": [alice.user_id]})

    (bundle,) = answer["items"][0]["devices"]
    assert bundle["identity_key"] == {
        "device_id": device_id,
        "agreement_key": "agree",
        "signing_key": "sign",
        "algorithms": ["olm", "megolm"],
        "signature": "sig",
    }
    assert bundle["one_time_pre_key"] == {"id": "AAAB", "key": "once", "signature": "sig"}
    assert bundle["signed_pre_key"] is None


async def test_the_signed_pre_key_is_rotated(alice: ApiUser, bob: ApiUser) -> None:
    device = await device_of(alice)
    await device.publish(0)
    await bob.post("/keys/bundles", {"people": [alice.address]})

    await alice.call("PUT", "/keys", {"signed_pre_key": device.pre_key("second", fallback=True)})
    answer = await bob.post("/keys/bundles", {"people": [alice.address]})

    assert answer["items"][0]["devices"][0]["signed_pre_key"]["id"] == "second"


async def test_who_takes_no_messages_gives_out_no_keys(alice: ApiUser, bob: ApiUser) -> None:
    device = await device_of(alice)
    await device.publish(1)
    await alice.call("PUT", "/consent", {"preset": "closed"})

    answer = await bob.post("/keys/bundles", {"people": [alice.address, "ghost@one.test"]})

    assert answer["items"] == [
        {"address": alice.address, "devices": []},
        {"address": "ghost@one.test", "devices": []},
    ]
    assert (await alice.get("/keys"))["one_time_pre_keys"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"one_time_pre_keys": [{"id": "a", "key": "k"}, {"id": "a", "key": "l"}]}, 400),
        ({"one_time_pre_keys": [{"id": "a:b", "key": "k"}]}, 422),
        ({"one_time_pre_keys": [{"id": "a", "key": "k"}] * 501}, 422),
        ({"identity_key": {"agreement_key": "a"}}, 422),
        ({"identity": {}}, 422),
    ],
)
async def test_bad_keys_are_refused(alice: ApiUser, body: Any, status: int) -> None:
    await alice.call("PUT", "/keys", body, status=status)


async def test_a_key_id_is_not_used_for_another_key(alice: ApiUser) -> None:
    await alice.call("PUT", "/keys", {"one_time_pre_keys": [{"id": "a", "key": "k"}]})
    again = await alice.call("PUT", "/keys", {"one_time_pre_keys": [{"id": "a", "key": "k"}]})
    other = {"one_time_pre_keys": [{"id": "a", "key": "other"}]}

    await alice.call("PUT", "/keys", other, status=400)

    assert again["one_time_pre_keys"] == 1


# ---------------------------------------------------------------- messages


async def test_a_message_waits_for_its_device_until_it_is_acknowledged(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    device = await device_of(bob)
    content = {"algorithm": "olm", "ciphertext": {"x": [1, 2]}}
    message = {"to": bob.address, "device_id": device.id, "content": content}

    sent = await alice.post("/device-messages", {"messages": [message]})
    waiting = await bob.get("/device-messages")
    again = await bob.get("/device-messages")
    position = waiting["items"][0]["position"]
    await bob.post("/device-messages/acknowledge", {"position": position})

    assert sent == {"addressed": 1}
    assert waiting == again
    assert waiting["items"] == [
        {"position": position, "sender": alice.address, "kind": "encrypted", "content": content}
    ]
    assert (await bob.get("/device-messages"))["items"] == []


async def test_a_matrix_client_gets_messages_to_devices_in_its_sync(
    alice: ApiUser, bob: ApiUser
) -> None:
    message = {"to": bob.user_id, "content": {"a": 1}}

    await alice.post("/device-messages", {"messages": [message]})
    synced = await bob.matrix("GET", "/sync")
    await bob.matrix(
        "PUT",
        "/sendToDevice/org.example.ping/1",
        {"messages": {alice.user_id: {"*": {"b": 2}}}},
    )
    waiting = await alice.get("/device-messages")

    assert synced["to_device"]["events"] == [
        {"type": "m.room.encrypted", "sender": alice.user_id, "content": {"a": 1}}
    ]
    assert [(m["kind"], m["content"]) for m in waiting["items"]] == [("org.example.ping", {"b": 2})]


async def test_a_message_with_an_idempotency_key_is_sent_once(alice: ApiUser, bob: ApiUser) -> None:
    body = {"messages": [{"to": bob.address, "content": {"a": 1}}]}
    headers = {"Idempotency-Key": "k" * 255}

    await alice.post("/device-messages", body, headers=headers)
    await alice.post("/device-messages", body, headers=headers)

    assert len((await bob.get("/device-messages"))["items"]) == 1


async def test_who_is_blocked_reaches_no_device(instance: Instance, bob: ApiUser) -> None:
    mallory = await new_user(instance, "mallory")
    await bob.call("PUT", f"/blocked/{mallory.address}")

    sent = await mallory.post(
        "/device-messages", {"messages": [{"to": bob.address, "content": {}}]}
    )

    assert sent == {"addressed": 0}
    assert (await bob.get("/device-messages"))["items"] == []


async def test_many_messages_come_in_parts(alice: ApiUser, bob: ApiUser) -> None:
    for number in range(5):
        await alice.post(
            "/device-messages", {"messages": [{"to": bob.address, "content": {"n": number}}]}
        )

    first = await bob.get("/device-messages?limit=3")
    rest = await bob.get(f"/device-messages?limit=3&cursor={first['next']}")

    assert [m["content"]["n"] for m in first["items"] + rest["items"]] == [0, 1, 2, 3, 4]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": []}, 422),
        ({"messages": [{"to": "nonsense", "content": {}}]}, 400),
        ({"messages": [{"to": "bob@one.test", "content": "text"}]}, 422),
        ({"messages": [{"to": "bob@one.test", "content": {}}] * 2}, 400),
        ({"messages": [{"to": "bob@two.test", "content": {}}]}, 403),
        ({"messages": [{"to": "bob@one.test", "content": {"a": "x" * 70_000}}]}, 413),
    ],
)
async def test_bad_messages_are_refused(
    alice: ApiUser, bob: ApiUser, body: Any, status: int
) -> None:
    await alice.post("/device-messages", body, status=status)
