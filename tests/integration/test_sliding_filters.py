"""Which rooms the lists of sliding sync are of.  Spec: MSC4186, ``SlidingRoomFilter``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.single import running
from tests.integration.sliding import SlidingClient

ENCRYPTION = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


async def test_filters_choose_rooms_by_what_they_are(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        plain = await one.room(alice)
        secret = await one.room(alice, initial_state=[ENCRYPTION])
        space = await one.room(alice, creation_content={"type": "m.space"})
        invite = await one.room(
            bob,
            preset="private_chat",
            initial_state=[ENCRYPTION],
            invite=["@alice:one.test"],
        )
        path = f"/rooms/{space}/state/m.space.child/"
        await one.call("PUT", path + plain, {"via": ["one.test"]}, token=alice)
        await one.call("PUT", path + secret, {}, token=alice)
        me = "/user/@alice:one.test"
        direct = {"@bob:one.test": [secret]}
        await one.call("PUT", f"{me}/account_data/m.direct", direct, token=alice)
        await one.call("PUT", f"{me}/rooms/{plain}/tags/u.a", {}, token=alice)
        await one.call("PUT", f"{me}/rooms/{secret}/tags/u.b", {}, token=alice)

        async def listed(**filters: Any) -> set[str]:
            client = SlidingClient(one, alice, conn_id="x")
            client.list("some", 99, **filters)
            answer = await client.sync()
            assert answer["lists"]["some"]["count"] == len(answer["rooms"])
            return set(answer["rooms"])

        everything = {plain, secret, space, invite}
        assert await listed() == everything
        assert await listed(is_dm=True) == {secret}
        assert await listed(is_dm=False) == everything - {secret}
        assert await listed(is_encrypted=True) == {secret, invite}
        assert await listed(is_encrypted=False) == {plain, space}
        assert await listed(is_invite=True) == await listed(is_invited=True) == {invite}
        assert await listed(is_invited=False) == everything - {invite}
        assert await listed(room_types=["m.space"]) == {space}
        assert await listed(room_types=[None]) == everything - {space}
        assert await listed(not_room_types=["m.space"]) == everything - {space}
        assert await listed(room_types=["m.space"], not_room_types=["m.space"]) == set()
        assert await listed(tags=["u.a", "u.c"]) == {plain}
        assert await listed(not_tags=["u.a"]) == everything - {plain}
        assert await listed(spaces=[space, "!other:one.test"]) == {plain}
        assert await listed(spaces=[]) == set()


async def test_rooms_come_into_lists_and_go_as_they_change(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room, space = (
            await one.room(alice),
            await one.room(alice, creation_content={"type": "m.space"}),
        )
        client = SlidingClient(one, alice)
        for name, filters in (
            ("dms", {"is_dm": True}),
            ("secret", {"is_encrypted": True}),
            ("tagged", {"tags": ["u.x"]}),
            ("space", {"spaces": [space]}),
        ):
            client.list(name, 99, **filters)
        before = await client.sync()
        me = "/user/@alice:one.test"
        await one.call("PUT", f"{me}/account_data/m.direct", {"@b:one.test": [room]}, token=alice)
        dm = await client.sync()
        await one.call(
            "PUT", f"/rooms/{room}/state/m.room.encryption", ENCRYPTION["content"], token=alice
        )
        await one.call("PUT", f"{me}/rooms/{room}/tags/u.x", {}, token=alice)
        await one.call(
            "PUT", f"/rooms/{space}/state/m.space.child/{room}", {"via": ["one.test"]}, token=alice
        )
        all_of_them = await client.sync()
        await one.call("PUT", f"{me}/account_data/m.direct", {}, token=alice)
        await one.call("DELETE", f"{me}/rooms/{room}/tags/u.x", token=alice)
        await one.call("PUT", f"/rooms/{space}/state/m.space.child/{room}", {}, token=alice)

        after = await client.sync()

        def counts(answer: dict[str, Any]) -> list[int]:
            return [answer["lists"][name]["count"] for name in ("dms", "secret", "tagged", "space")]

        assert counts(before) == [0, 0, 0, 0]
        assert counts(dm) == [1, 0, 0, 0] and dm["rooms"][room]["is_dm"] is True
        assert counts(all_of_them) == [1, 1, 1, 1]
        assert counts(after) == [0, 1, 0, 0] and after["rooms"][room]["is_dm"] is False


async def test_lists_of_one_room_add_up(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room = await one.room(alice, topic="t")
        for text in "abc":
            await one.say(alice, room, text)
        client = SlidingClient(one, alice, legacy=False)
        client.list("few", 99, limit=1, state={"include": [{"type": "m.room.topic"}]})
        client.list("many", 99, limit=3)
        client.list("none", 99, is_invited=True)
        client.subscribe(
            room, limit=2, state={"include": [{}], "exclude": [{"type": "m.room.topic"}]}
        )

        part = (await client.sync())["rooms"][room]

        assert len(part["timeline"]) == 3 and part["lists"] == ["few", "many"]
        types = [event["type"] for event in part["required_state"]]
        assert {"m.room.topic", "m.room.create", "m.room.member"} <= set(types)
        assert len(types) == len(set(types))
