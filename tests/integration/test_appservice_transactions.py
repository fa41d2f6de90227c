"""What application services are told: what interests them, in order, once, and nothing withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from homeserver.services.appservices import delivering
from homeserver.storage import appservices as storage
from homeserver.storage.database import Connection, Database
from tests.integration.appservice_world import BOT, Bridged, Service, bridged
from tests.integration.single import running


async def portal(world: Bridged) -> tuple[str, str, str]:
    """A room of Alice's with a ghost in it; her token, the ghost, the room."""
    alice, ghost = await world.one.register("alice"), await world.ghost("ann")
    room_id = await world.one.room(alice, invite=[ghost])
    await world.call("POST", f"/join/{room_id}", {}, user=ghost)
    return alice, ghost, room_id


async def test_what_happens_in_rooms_of_its_users_is_told_in_order(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        alice, ghost, room_id = await portal(world)
        elsewhere = await world.one.room(alice)
        await world.one.say(alice, elsewhere, "not for bridges")
        for number in range(5):
            await world.one.say(alice, room_id, f"message {number}")
        await world.say(ghost, room_id, "its own")

        await world.service.until(lambda: "its own" in world.service.texts())

        told = world.service.told()
        members = [
            (e["state_key"], e["content"]["membership"])
            for e in told
            if e["type"] == "m.room.member"
        ]
        assert world.service.texts() == [*(f"message {n}" for n in range(5)), "its own"]
        assert members == [(ghost, "invite"), (ghost, "join")]
        assert {e["room_id"] for e in told} == {room_id}
        assert all("event_id" in e and "origin_server_ts" in e for e in told)


async def test_an_invite_says_into_what(database: Database, tmp_path: Path) -> None:
    async with bridged(database, tmp_path) as world:
        alice, ghost = await world.one.register("alice"), await world.ghost("ann")
        await world.one.room(alice, name="Portal", invite=[ghost])

        await world.service.until(world.service.told)

        (invite,) = world.service.told()
        state = {e["type"]: e["content"] for e in invite["unsigned"]["invite_room_state"]}
        assert invite["state_key"] == ghost
        assert state["m.room.name"] == {"name": "Portal"}


async def test_what_happens_after_its_users_left_is_not_told(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        alice, ghost, room_id = await portal(world)
        await world.one.say(alice, room_id, "while there")
        await world.call("POST", f"/rooms/{room_id}/leave", {}, user=ghost)
        await world.one.say(alice, room_id, "after it left")
        await world.one.call("POST", f"/rooms/{room_id}/invite", {"user_id": BOT}, token=alice)
        await world.call("POST", f"/join/{room_id}", {})
        await world.one.say(alice, room_id, "the bot is there")

        await world.service.until(lambda: "the bot is there" in world.service.texts())

        assert world.service.texts() == ["while there", "the bot is there"]
        assert "leave" in [e["content"].get("membership") for e in world.service.told()]


async def test_rooms_are_named_by_their_ids_and_by_their_aliases(
    database: Database, tmp_path: Path
) -> None:
    names = {"aliases": [{"exclusive": False, "regex": "#logged"}]}
    async with bridged(database, tmp_path, changes={"namespaces": names}) as world:
        alice = await world.one.register("alice")
        first = await world.one.room(alice, room_alias_name="logged1")
        second = await world.one.room(alice)
        await world.one.say(alice, second, "before its alias")
        await world.one.say(alice, first, "in the first")
        await world.service.until(lambda: "in the first" in world.service.texts())
        await world.one.call(
            "PUT", "/directory/room/%23logged2:one.test", {"room_id": second}, token=alice
        )
        await world.one.say(alice, second, "after its alias")

        await world.service.until(lambda: "after its alias" in world.service.texts())

        assert world.service.texts() == ["in the first", "after its alias"]
    path = tmp_path / "rooms"
    path.mkdir()
    by_id = {"namespaces": {"rooms": [{"exclusive": False, "regex": "!"}]}, "id": "all"}
    async with bridged(database, path, changes=by_id) as world:
        bob = await world.one.register("bob")
        await world.one.say(bob, await world.one.room(bob), "anything")

        await world.service.until(lambda: "anything" in world.service.texts())


async def test_a_service_that_is_away_misses_nothing_and_hears_nothing_twice(
    database: Database, tmp_path: Path
) -> None:
    service = Service()
    service.server = TestServer(service.app())
    await service.server.start_server()
    try:
        async with bridged(database, tmp_path, service=service) as world:
            alice, _, room_id = await portal(world)
            await service.until(lambda: len(service.told()) == 2)
            service.status = 503
            await world.one.say(alice, room_id, "first")
            await service.until(lambda: service.attempts[-1][0] not in service.transactions)
            await world.one.say(alice, room_id, "second")
            failed = service.attempts[-1]
        service.status = 200
        async with bridged(database, tmp_path, service=service) as world:
            await service.until(lambda: "second" in service.texts())
            await world.one.say(alice, room_id, "third")
            await service.until(lambda: "third" in service.texts())

        again = service.transactions[failed[0]]
        assert [e["event_id"] for e in again["events"]] == [
            e["event_id"] for e in failed[1]["events"]
        ]
        assert service.texts() == ["first", "second", "third"]
    finally:
        await service.server.close()


async def test_what_was_sent_while_the_server_did_not_know_the_service_is_not_told(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        await one.say(alice, room_id, "before")

    names = {"rooms": [{"exclusive": False, "regex": "!"}]}
    async with bridged(database, tmp_path, changes={"namespaces": names}) as world:
        await world.one.say(alice, room_id, "after")

        await world.service.until(lambda: "after" in world.service.texts())

        assert world.service.texts() == ["after"]


async def test_a_retry_tells_nothing_that_was_redacted_meanwhile(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        alice, _, room_id = await portal(world)
        service = world.service
        await service.until(lambda: len(service.told()) == 2)
        service.status = 500
        sent = await world.one.say(alice, room_id, "secret")
        await service.until(lambda: service.attempts[-1][0] not in service.transactions)
        path = f"/rooms/{room_id}/redact/{sent['event_id']}/1"
        await world.one.call("PUT", path, {}, token=alice)
        service.status = 200

        await service.until(lambda: "m.room.redaction" in [e["type"] for e in service.told()])

        assert service.texts() == []
        assert [e["event_id"] for e in service.told()][2] == sent["event_id"]


async def test_what_policy_withholds_never_reaches_a_service(
    database: Database, tmp_path: Path
) -> None:
    rules = [
        {"name": "soft", "match": {"keywords": ["softly"]}, "action": "soft_fail"},
        {"name": "held", "match": {"keywords": ["held"]}, "action": "hold"},
        {"name": "no", "match": {"keywords": ["casino"]}, "action": "reject"},
    ]
    names = {"rooms": [{"exclusive": False, "regex": "!"}]}
    async with bridged(
        database, tmp_path, changes={"namespaces": names}, policy={"rules": rules}
    ) as world:
        alice = await world.one.register("alice")
        room_id = await world.one.room(alice)
        await world.one.say(alice, room_id, "softly")
        held = await world.one.say(alice, room_id, "held for a moderator")
        await world.one.say(alice, room_id, "casino", status=403)
        await world.one.say(alice, room_id, "plain")
        await world.service.until(lambda: "plain" in world.service.texts())
        before = world.service.texts()

        await release(world, held["event_id"])
        await world.service.until(lambda: len(world.service.texts()) == 2)

        assert before == ["plain"]
        assert world.service.texts() == ["plain", "held for a moderator"]


async def release(world: Bridged, event_id: str) -> None:
    admin = await world.one.register("root")
    await world.one.wiring.accounts.set_admin("@root:one.test", True)
    items = await world.one.call("GET", "/_comity/admin/v1/moderation/queue", token=admin)
    (item,) = [each for each in items["items"] if each.get("event_id") == event_id]
    path = f"/_comity/admin/v1/moderation/queue/{item['item_id']}/release"
    await world.one.call("POST", path, {}, token=admin)


async def test_typing_receipts_and_presence_are_told_if_wanted(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path) as world:
        alice, ghost, room_id = await portal(world)
        mine = "/rooms/{}/typing/@alice:one.test"
        elsewhere = await world.one.room(alice)
        sent = await world.say(ghost, room_id, "read this")
        await world.one.call(
            "PUT", mine.format(elsewhere), {"typing": True, "timeout": 9_000}, token=alice
        )
        await world.one.call(
            "PUT", mine.format(room_id), {"typing": True, "timeout": 9_000}, token=alice
        )
        for kind in ("m.read", "m.read.private"):
            path = f"/rooms/{room_id}/receipt/{kind}/{sent}"
            await world.one.call("POST", path, {}, token=alice)
        path = "/presence/@alice:one.test/status"
        await world.one.call("PUT", path, {"presence": "unavailable"}, token=alice)

        def told() -> dict[str, Any]:
            return {e["type"]: e for e in world.service.told("ephemeral")}

        await world.service.until(lambda: {"m.typing", "m.receipt", "m.presence"} <= set(told()))

        found = told()
        assert found["m.typing"]["room_id"] == room_id
        assert found["m.typing"]["content"] == {"user_ids": ["@alice:one.test"]}
        assert found["m.receipt"]["room_id"] == room_id
        assert list(found["m.receipt"]["content"][sent]) == ["m.read"]
        assert found["m.presence"]["sender"] == "@alice:one.test"
        rooms = {e.get("room_id") for e in world.service.told("ephemeral")}
        assert elsewhere not in rooms


async def test_nothing_that_goes_by_is_told_to_a_service_that_does_not_ask(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path, changes={"receive_ephemeral": False}) as world:
        alice, _, room_id = await portal(world)
        path = f"/rooms/{room_id}/typing/@alice:one.test"
        await world.one.call("PUT", path, {"typing": True, "timeout": 9_000}, token=alice)
        await world.one.say(alice, room_id, "done")

        await world.service.until(lambda: "done" in world.service.texts())

        assert all("ephemeral" not in body for _, body in world.service.attempts)


async def test_what_encryption_needs_is_told(database: Database, tmp_path: Path) -> None:
    changes = {"org.matrix.msc3202": True}
    async with bridged(database, tmp_path, changes=changes) as world:
        alice, ghost, room_id = await portal(world)
        await world.call("PUT", "/devices/BRIDGE", {}, user=ghost, status=201)
        key = {"signed_curve25519:AAAA": {"key": "x" * 43, "signatures": {}}}
        await world.call(
            "POST", "/keys/upload", {"one_time_keys": key}, user=ghost, device_id="BRIDGE"
        )
        body = {"messages": {ghost: {"BRIDGE": {"algorithm": "m.olm"}}}}
        await world.one.call("PUT", "/sendToDevice/m.room.encrypted/1", body, token=alice)
        unstable = "de.sorunome.msc2409.to_device"

        await world.service.until(lambda: world.service.told(unstable))

        (message,) = world.service.told(unstable)
        assert message["to_user_id"] == ghost
        assert message["to_device_id"] == "BRIDGE"
        assert message["sender"] == "@alice:one.test"
        assert message["content"] == {"algorithm": "m.olm"}
        counts = [
            body["org.matrix.msc3202.device_one_time_keys_count"]
            for body in world.service.transactions.values()
            if "org.matrix.msc3202.device_one_time_keys_count" in body
        ]
        assert counts[-1][ghost]["BRIDGE"]["signed_curve25519"] == 1
        changed = [
            user
            for body in world.service.transactions.values()
            for user in body["org.matrix.msc3202.device_lists"]["changed"]
        ]
        assert ghost in changed
        claim = {"one_time_keys": {ghost: {"BRIDGE": "signed_curve25519"}}}
        await world.one.call("POST", "/keys/claim", claim, token=alice)
        await world.service.until(
            lambda: any(
                not counted[ghost]["BRIDGE"].get("signed_curve25519")
                for body in world.service.transactions.values()
                if (counted := body.get("org.matrix.msc3202.device_one_time_keys_count"))
            )
        )
        await world.one.say(alice, room_id, "last")
        await world.service.until(lambda: "last" in world.service.texts())
        assert await database.fetch("SELECT 1 FROM to_device_messages") == []


async def test_messages_for_devices_of_people_never_reach_a_service(
    database: Database, tmp_path: Path
) -> None:
    everybody = {"users": [{"exclusive": False, "regex": "@.*"}]}
    changes = {"org.matrix.msc3202": True, "namespaces": everybody}
    async with bridged(database, tmp_path, changes=changes) as world:
        alice, bob = await world.one.register("alice"), await world.one.register("bob")
        body = {"messages": {"@bob:one.test": {"*": {"algorithm": "m.olm"}}}}
        await world.one.call("PUT", "/sendToDevice/m.room.encrypted/1", body, token=alice)
        await world.one.say(alice, await world.one.room(alice), "after it")
        await world.service.until(lambda: "after it" in world.service.texts())

        synced = await world.one.call("GET", "/sync", token=bob)

        assert world.service.told("de.sorunome.msc2409.to_device") == []
        assert len(synced["to_device"]["events"]) == 1


async def test_a_service_without_an_address_is_told_nothing_and_acts_all_the_same(
    database: Database, tmp_path: Path
) -> None:
    async with bridged(database, tmp_path, changes={"url": None}) as world:
        alice, ghost, room_id = await portal(world)
        await world.say(ghost, room_id, "hello")

        assert await world.one.texts(alice, room_id) == ["hello"]
        assert not world.one.wiring.app_services.workers.any


async def test_a_commit_whose_answer_was_lost_does_not_stop_the_queue(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bridged(database, tmp_path) as world:
        alice, _, room_id = await portal(world)
        await world.service.until(lambda: len(world.service.told()) == 2)
        put, lost = storage.put_transaction, []

        async def put_and_lose(_: Connection, *values: Any) -> None:
            async with database.transaction() as connection:
                await put(connection, *values)
            if not lost:
                lost.append(values)
                raise ConnectionError("the answer to COMMIT did not arrive")

        monkeypatch.setattr(delivering, "AFTER_FAILURE_SECONDS", 0)
        monkeypatch.setattr(storage, "put_transaction", put_and_lose)
        await world.one.say(alice, room_id, "first")
        await world.service.until(lambda: "first" in world.service.texts())
        await world.one.say(alice, room_id, "second")
        await world.service.until(lambda: "second" in world.service.texts())

        assert world.service.texts() == ["first", "second"]
