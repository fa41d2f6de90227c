"""Dehydrated devices (MSC3814), through a whole instance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from homeserver.services import dehydrated_devices as service
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.single import Instance, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
ALGORITHM = "signed_curve25519"
NUMBERS = count()


class Owner:
    """Somebody with a dehydrated device."""

    def __init__(self, instance: Instance, token: str, name: str) -> None:
        self.instance, self.token, self.name = instance, token, name
        self.user_id = f"@{name}:one.test"

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """A request with the owner's token."""
        return await self.instance.call(method, path, body, token=self.token, status=status)

    def device(self, device_id: str, **changes: Any) -> dict[str, Any]:
        """What a client uploads."""
        keys = {
            "user_id": self.user_id,
            "device_id": device_id,
            "dehydrated": True,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": {f"curve25519:{device_id}": device_id, f"ed25519:{device_id}": "ed"},
            "signatures": {self.user_id: {f"ed25519:{device_id}": "signature"}},
        }
        return {
            "device_id": device_id,
            "device_data": {"algorithm": "org.matrix.msc3814.v2", "device_pickle": device_id},
            "initial_device_display_name": "Dehydrated device",
            "device_keys": keys,
            "one_time_keys": {f"{ALGORITHM}:once": {"key": "once", "signatures": {}}},
            "fallback_keys": {f"{ALGORITHM}:F": {"key": "F", "fallback": True, "signatures": {}}},
            **changes,
        }

    async def put(self, device_id: str) -> None:
        """Put a dehydrated device in place."""
        answer = await self.call("PUT", PREFIX, self.device(device_id))
        assert answer == {"device_id": device_id}

    async def send(self, device_id: str, *texts: str) -> None:
        """Send messages to one of one's own devices."""
        for text in texts:
            body = {"messages": {self.user_id: {device_id: {"text": text}}}}
            await self.call("PUT", f"/sendToDevice/m.test/{next(NUMBERS)}", body)

    async def published(self) -> dict[str, Any]:
        """The owner's devices with their keys."""
        answer = await self.call("POST", "/keys/query", {"device_keys": {self.user_id: []}})
        keys: dict[str, Any] = answer["device_keys"].get(self.user_id, {})
        return keys


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instance(
    postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Instance]:
    """One instance for all tests: each has users of its own."""
    database = await Database.connect(await postgres.create_database())
    async with running(database, tmp_path_factory.mktemp("dehydrated")) as instance:
        yield instance
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def owner(instance: Instance) -> Owner:
    name = f"alice{next(NUMBERS)}"
    return Owner(instance, await instance.register(name), name)


async def test_who_has_none_is_told_so_and_the_feature_is_announced(owner: Owner) -> None:
    for method in ("GET", "DELETE"):
        answer = await owner.call(method, PREFIX, status=404)
        assert answer["errcode"] == "M_NOT_FOUND"

    versions = await owner.instance.call("GET", "/_matrix/client/versions")

    assert versions["unstable_features"]["org.matrix.msc3814"] is True
    wellknown = await owner.instance.call("GET", "/.well-known/matrix/client")
    assert "org.matrix.msc3814" not in wellknown


async def test_clients_are_told_to_keep_one_where_the_admin_wants_it(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    database = await Database.connect(await postgres.create_database())

    async with running(database, tmp_path, encryption={"dehydrated_devices": True}) as instance:
        told = await instance.call("GET", "/.well-known/matrix/client")

    await database.close()
    assert told["org.matrix.msc3814"] is True


async def test_the_device_is_there_with_its_keys_and_can_be_rehydrated(owner: Owner) -> None:
    await owner.put("dry/+")

    found = await owner.call("GET", PREFIX)

    assert found == {"device_id": "dry/+", "device_data": owner.device("dry/+")["device_data"]}
    keys = (await owner.published())["dry/+"]
    assert keys["dehydrated"] is True
    assert keys["unsigned"] == {"device_display_name": "Dehydrated device"}
    devices = (await owner.call("GET", "/devices"))["devices"]
    assert "dry/+" in [device["device_id"] for device in devices]


async def test_it_cannot_take_the_name_of_a_cross_signing_key(owner: Owner) -> None:
    master = {"user_id": owner.user_id, "usage": ["master"], "keys": {"ed25519:master": "master"}}
    await owner.call("POST", "/keys/device_signing/upload", {"master_key": master})

    refused = await owner.call("PUT", PREFIX, owner.device("master"), status=400)

    assert refused["errcode"] == "M_INVALID_PARAM"
    assert await owner.published() == {}


async def test_its_one_time_key_is_claimed_and_then_its_fallback_key(owner: Owner) -> None:
    await owner.put("dry")
    claim = {"one_time_keys": {owner.user_id: {"dry": ALGORITHM}}}

    claimed = [
        (await owner.call("POST", "/keys/claim", claim))["one_time_keys"][owner.user_id]["dry"]
        for _ in range(3)
    ]

    assert [next(iter(keys)) for keys in claimed] == [
        f"{ALGORITHM}:once",
        f"{ALGORITHM}:F",
        f"{ALGORITHM}:F",
    ]


async def test_messages_come_in_batches_and_stay(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MESSAGES_PER_SYNC", 2)
    await owner.put("dry")
    await owner.send("dry", "a", "b", "c", "d")

    read, token = [], None
    for _ in range(2):
        path = f"{PREFIX}/dry/events" + (f"?from={token}" if token else "")
        batch = await owner.call("GET", path)
        read += [event["content"]["text"] for event in batch["events"]]
        token = batch.get("next_batch")
    again = await owner.call("GET", f"{PREFIX}/dry/events")

    assert read == ["a", "b", "c", "d"]
    assert token is None
    assert again["events"][0]["content"] == {"text": "a"}
    assert again["events"][0]["sender"] == owner.user_id


async def test_the_older_way_ends_with_a_batch_without_events(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MESSAGES_PER_SYNC", 2)
    await owner.put("dry")
    await owner.send("dry", "a", "b", "c")

    read: list[list[str]] = []
    body: dict[str, str] = {}
    while not read or read[-1]:
        batch = await owner.call("POST", f"{PREFIX}/dry/events", body)
        read.append([event["content"]["text"] for event in batch["events"]])
        body = {"next_batch": batch["next_batch"]}

    assert read == [["a", "b"], ["c"], []]


async def test_a_new_device_replaces_the_one_before_with_all_that_it_had(owner: Owner) -> None:
    await owner.put("first")
    await owner.send("first", "lost")

    await owner.put("second")

    assert (await owner.call("GET", PREFIX))["device_id"] == "second"
    assert list(await owner.published()) == ["second"]
    await owner.call("GET", "/devices/first", status=404)
    claim = {"one_time_keys": {owner.user_id: {"first": ALGORITHM}}}
    assert (await owner.call("POST", "/keys/claim", claim))["one_time_keys"] == {}
    answer = await owner.call("POST", f"{PREFIX}/first/events", {}, status=403)
    assert answer["errcode"] == "M_FORBIDDEN"


async def test_the_same_device_again_keeps_its_messages(owner: Owner) -> None:
    await owner.put("dry")
    await owner.send("dry", "a")

    changed = owner.device("dry", device_data={"algorithm": "new"})
    await owner.call("PUT", PREFIX, changed)

    assert (await owner.call("GET", PREFIX))["device_data"] == {"algorithm": "new"}
    assert len((await owner.call("GET", f"{PREFIX}/dry/events"))["events"]) == 1


@pytest.mark.parametrize("way", ["dehydrated_device", "devices"])
async def test_a_deleted_device_is_gone(owner: Owner, way: str) -> None:
    await owner.put("dry")
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": owner.name},
        "password": "sesame",
    }

    if way == "devices":
        await owner.call("DELETE", "/devices/dry", {"auth": auth})
    else:
        assert await owner.call("DELETE", PREFIX) == {"device_id": "dry"}

    await owner.call("GET", PREFIX, status=404)
    await owner.call("DELETE", PREFIX, status=404)
    assert await owner.published() == {}


async def test_an_ordinary_device_does_not_become_a_dehydrated_one(owner: Owner) -> None:
    own = (await owner.call("GET", "/account/whoami"))["device_id"]

    answer = await owner.call("PUT", PREFIX, owner.device(own), status=400)

    assert answer["errcode"] == "M_INVALID_PARAM"
    await owner.call("GET", "/account/whoami")
    await owner.call("GET", PREFIX, status=404)


@pytest.mark.parametrize(
    "change",
    [
        {"device_id": ""},
        {"device_id": "other"},
        {"device_keys": None},
        {"device_keys": {}},
        {"device_data": "text"},
        {"one_time_keys": {"name without colon": "key"}},
        {"fallback_keys": {f"{ALGORITHM}:A": {"key": "a"}, f"{ALGORITHM}:B": {"key": "b"}}},
    ],
)
async def test_a_malformed_upload_leaves_the_device_before_in_place(
    owner: Owner, change: dict[str, Any]
) -> None:
    await owner.put("first")

    await owner.call("PUT", PREFIX, {**owner.device("second"), **change}, status=400)

    assert (await owner.call("GET", PREFIX))["device_id"] == "first"
    assert list(await owner.published()) == ["first"]
    await owner.call("GET", "/devices/second", status=404)


@pytest.mark.parametrize("token", ["x", "-1", "9" * 30, "²"])
async def test_an_impossible_token_is_refused(owner: Owner, token: str) -> None:
    await owner.put("dry")

    answer = await owner.call("GET", f"{PREFIX}/dry/events?from={token}", status=400)

    assert answer["errcode"] == "M_INVALID_PARAM"


async def test_nobody_reads_what_waits_for_anothers_device(owner: Owner) -> None:
    await owner.put("dry")
    bob = Owner(owner.instance, await owner.instance.register(f"bob{next(NUMBERS)}"), "bob")

    await bob.call("GET", f"{PREFIX}/dry/events", status=403)
