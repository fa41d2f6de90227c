"""Devices, as their owner sees them."""

from tests.client_api.conftest import Account, Server


def proof() -> dict:
    return {"type": "m.login.password", "user": "alice", "password": "sesame"}


async def device_ids(server: Server, alice: Account) -> list[str]:
    answer = await server.get("/devices", token=alice.token)
    return [device["device_id"] for device in answer["devices"]]


async def test_renaming_a_device_tells_who_sees_it(server: Server):
    alice = await server.new_account("alice", device_id="PHONE")

    await server.put("/devices/PHONE", {"display_name": "My phone"}, token=alice.token)
    await server.put("/devices/PHONE", {}, token=alice.token)

    device = await server.get("/devices/PHONE", token=alice.token)
    assert device["display_name"] == "My phone"
    assert server.others.renamed == [(alice.user_id, "PHONE")]


async def test_a_device_that_is_not_there(server: Server):
    alice = await server.new_account("alice")

    for device_id, status in (("NONE", 404), ("a%00b", 400)):
        path = f"/devices/{device_id}"
        await server.get(path, token=alice.token, status=status)
        await server.put(path, {"display_name": "x"}, token=alice.token, status=status)
        await server.put(path, {}, token=alice.token, status=status)


async def test_deleting_a_device_takes_a_password(server: Server, database):
    alice = await server.new_account("alice", device_id="PHONE")
    laptop = await server.log_in("alice", device_id="LAPTOP")

    challenge = await server.delete("/devices/LAPTOP", token=alice.token, status=401)
    await server.delete(
        "/devices/LAPTOP",
        {"auth": {**proof(), "session": challenge["session"]}},
        token=alice.token,
    )

    assert await device_ids(server, alice) == ["PHONE"]
    await server.get("/account/whoami", token=laptop.token, status=401)
    assert server.others.deleted == [(alice.user_id, "LAPTOP")]


async def test_deleting_what_is_gone_already_succeeds(server: Server):
    alice = await server.new_account("alice")

    await server.delete("/devices/GONE", {"auth": proof()}, token=alice.token)

    assert server.others.deleted == []


async def test_several_devices_at_once(server: Server):
    alice = await server.new_account("alice", device_id="ONE")
    for device_id in ("TWO", "THREE", "FOUR"):
        await server.log_in("alice", device_id=device_id)
    body = {"devices": ["TWO", "THREE", "GONE"]}
    challenge = await server.post("/delete_devices", body, token=alice.token, status=401)

    body["auth"] = {**proof(), "session": challenge["session"]}
    await server.post("/delete_devices", body, token=alice.token)

    assert await device_ids(server, alice) == ["FOUR", "ONE"]


async def test_malformed_requests(server: Server):
    alice = await server.new_account("alice", device_id="ONE")

    for body in ({}, {"devices": "ONE"}, {"devices": [1]}):
        await server.post("/delete_devices", body, token=alice.token, status=400)
    await server.put("/devices/ONE", {"display_name": 7}, token=alice.token, status=400)


async def test_nobody_sees_the_devices_of_others(server: Server):
    await server.new_account("alice", device_id="PHONE")
    bob = await server.new_account("bob", device_id="TABLET")

    await server.get("/devices/PHONE", token=bob.token, status=404)
    auth = {"type": "m.login.password", "user": "bob", "password": "sesame"}
    await server.delete("/devices/PHONE", {"auth": auth}, token=bob.token)
    await server.log_in("alice")
    assert server.others.deleted == []


async def test_a_device_cannot_take_the_name_of_a_cross_signing_key(server: Server, database):
    await server.new_account("alice")
    await database.execute(
        "INSERT INTO cross_signing_keys (user_id, usage, key, position) VALUES ($1, $2, $3, 1)",
        "@alice:one.example",
        "master",
        {"keys": {"ed25519:KEY": "KEY"}, "usage": ["master"], "user_id": "@alice:one.example"},
    )

    answer = await server.post(
        "/login",
        {"type": "m.login.password", "user": "alice", "password": "sesame", "device_id": "KEY"},
        status=403,
    )

    assert answer["errcode"] == "M_FORBIDDEN"
