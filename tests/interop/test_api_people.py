"""The Conversations API's people, presence and keys, across instances: Comity's and Synapse's."""

from __future__ import annotations

import itertools
from typing import Any

from tests.harness.client import RawClient, eventually, raw_session

from .conftest import Pair

_serial = itertools.count(1)
OTHER_INSTANCES = "/consent/grants/federation/*"


class Caller:
    """Somebody's calls of the API."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        localpart, _, server_name = raw.user_id[1:].partition(":")
        self.address = f"{localpart}@{server_name}"

    async def __call__(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.raw.access_token}"}
        url = f"{self.raw.base_url}/api/v1{path}"
        async with self.raw.session.request(method, url, json=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            assert response.status == 200, answer
            return answer


async def two(session: Any, pair: Pair) -> tuple[Caller, Caller]:
    """Alice, who uses the API, and Bob elsewhere."""
    people = []
    for name, server in zip(("api-alice", "api-bob"), pair.servers, strict=True):
        raw = RawClient(session, server.client_url)
        await raw.register(f"{name}{next(_serial)}")
        people.append(Caller(raw))
    alice, bob = people
    await alice("PUT", OTHER_INSTANCES, {"state": "granted"})
    return alice, bob


async def meet(alice: Caller, bob: Caller) -> str:
    """A room with both."""
    room_id = await alice.raw.create_room(preset="private_chat", invite=[bob.raw.user_id])

    async def joined() -> bool:
        try:
            await bob.raw.join(room_id)
        except Exception:
            return False
        return True

    await eventually(joined, "bob joins")
    return room_id


async def publish_keys(person: Caller) -> None:
    """As a Matrix client does."""
    user_id, device_id = person.raw.user_id, person.raw.device_id
    signatures = {user_id: {f"ed25519:{device_id}": "c2ln"}}
    key = "bGFyZ2UgZW5vdWdoIHRvIGJlIGEga2V5IG9mIDMyIGI"
    keys = {f"curve25519:{device_id}": key, f"ed25519:{device_id}": key}
    body = {
        "device_keys": {
            "user_id": user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": keys,
            "signatures": signatures,
        },
        "one_time_keys": {"signed_curve25519:AAAA": {"key": "once", "signatures": signatures}},
        "fallback_keys": {
            "signed_curve25519:BBBB": {"key": "last", "fallback": True, "signatures": signatures}
        },
    }
    await person.raw.call("POST", "keys", "upload", body=body)


async def test_bundles_and_messages_go_to_devices_elsewhere(pair: Pair) -> None:
    async with raw_session() as session:
        alice, bob = await two(session, pair)
        await publish_keys(bob)
        wanted = {"people": [bob.address]}
        content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": {}}
        message = {"to": bob.address, "device_id": bob.raw.device_id, "content": content}

        first = await alice("POST", "/keys/bundles", wanted)
        second = await alice("POST", "/keys/bundles", wanted)
        await alice("POST", "/device-messages", {"messages": [message]})

        (bundle,) = first["items"][0]["devices"]
        assert first["failures"] == []
        assert bundle["device_id"] == bob.raw.device_id
        assert bundle["identity_key"]["algorithms"] == ["olm", "megolm"]
        assert bundle["one_time_pre_key"]["id"] == "AAAA"
        assert second["items"][0]["devices"][0]["signed_pre_key"]["id"] == "BBBB"

        since: dict[str, Any] = {}

        async def arrived() -> bool:
            answer = await bob.raw.call("GET", "sync", query={"timeout": 1000, **since})
            since["since"] = answer["next_batch"]
            return any(
                event["sender"] == alice.raw.user_id and event["content"] == content
                for event in answer.get("to_device", {}).get("events", [])
            )

        await eventually(arrived, "the message to bob's device")


async def test_people_elsewhere_are_seen_and_found_once_they_are_met(pair: Pair) -> None:
    async with raw_session() as session:
        alice, bob = await two(session, pair)
        name = f"Zacharias Quux{next(_serial)}"
        await bob.raw.call(
            "PUT", "profile", bob.raw.user_id, "displayname", body={"displayname": name}
        )

        profile = await alice("GET", f"/people/{bob.address}")
        strangers = await alice("GET", f"/people?query={name.split()[1]}")
        await meet(alice, bob)

        async def found() -> bool:
            answer = await alice("GET", f"/people?query={name.split()[1]}")
            return [person["address"] for person in answer["items"]] == [bob.address]

        assert profile["person"] == {
            "address": bob.address,
            "name": name,
            "avatar": None,
            "is_local": False,
        }
        assert strangers["items"] == []
        await eventually(found, "alice finds bob")


async def test_presence_elsewhere_is_seen_by_who_shares_a_conversation(pair: Pair) -> None:
    async with raw_session() as session:
        alice, bob = await two(session, pair)
        before = await alice("GET", f"/people/{bob.address}/presence")
        await meet(alice, bob)
        body = {"presence": "unavailable", "status_msg": "at lunch"}
        await bob.raw.call("PUT", "presence", bob.raw.user_id, "status", body=body)

        async def seen() -> bool:
            presence = await alice("GET", f"/people/{bob.address}/presence")
            return (presence["state"], presence["text"]) == ("away", "at lunch")

        assert before["state"] == "offline"
        await eventually(seen, "alice sees that bob is away")


async def test_whether_somebody_elsewhere_takes_messages(pair: Pair) -> None:
    async with raw_session() as session:
        alice, bob = await two(session, pair)

        answer = await alice("GET", f"/people/{bob.address}/consent")

        # only Comity says; Synapse knows no such question
        assert answer["answer"] == ("granted" if pair.name == "comity-comity" else "unknown")
