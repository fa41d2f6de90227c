"""Spaces, room summaries, mutual rooms, through a whole instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

V1 = "/_matrix/client/v1"


async def space(instance: Instance, token: str, **request: object) -> str:
    """A new space."""
    content = {"type": "m.space"}
    return await instance.room(token, creation_content=content, **request)


async def add(instance: Instance, token: str, parent: str, child: str, **content: object) -> None:
    """Put a room into a space."""
    body = {"via": ["one.test"], **content}
    await instance.call("PUT", f"/rooms/{parent}/state/m.space.child/{child}", body, token=token)


async def tree(instance: Instance, token: str, room_id: str, query: str = "") -> list[str]:
    """The rooms of a space, in their order."""
    path = f"{V1}/rooms/{room_id}/hierarchy?{query}"
    return [r["room_id"] for r in (await instance.call("GET", path, token=token))["rooms"]]


async def test_a_space_is_walked_depth_first_in_the_order_of_its_children(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        root, inner = await space(one, ada, name="Root"), await space(one, ada)
        first, second, below = [await one.room(ada, name=n) for n in ("1", "2", "3")]
        await add(one, ada, root, second)
        await add(one, ada, root, first, order="b", suggested=True)
        await add(one, ada, root, inner, order="a")
        await add(one, ada, inner, below)
        await add(one, ada, inner, root)  # a loop
        await one.call("PUT", f"/rooms/{root}/state/m.space.child/{ROOM_GONE}", {}, token=ada)

        assert await tree(one, ada, root) == [root, inner, below, first, second]
        assert await tree(one, ada, root, "max_depth=1") == [root, inner, first, second]
        assert await tree(one, ada, root, "max_depth=0") == [root]
        assert await tree(one, ada, root, "suggested_only=true") == [root, first]
        assert await tree(one, ada, first) == [first]


ROOM_GONE = "!gone:one.test"


async def test_pages_of_a_space_make_the_whole_and_may_be_asked_for_again(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        root = await space(one, ada)
        rooms = [await one.room(ada) for _ in range(4)]
        for number, room_id in enumerate(rooms):
            await add(one, ada, root, room_id, order=str(number))
        path = f"{V1}/rooms/{root}/hierarchy?limit=2"

        page = await one.call("GET", path, token=ada)
        token = page["next_batch"]
        found = [r["room_id"] for r in page["rooms"]]
        again = await one.call("GET", f"{path}&from={token}", token=ada)
        page = await one.call("GET", f"{path}&from={token}", token=ada)
        found += [r["room_id"] for r in page["rooms"]]
        last = await one.call("GET", f"{path}&from={page['next_batch']}", token=ada)
        found += [r["room_id"] for r in last["rooms"]]

        assert found == [root, *rooms]
        assert [r["room_id"] for r in again["rooms"]] == rooms[1:3]
        assert "next_batch" not in last
        for wrong in (f"from={token}&max_depth=1", f"from={token}&suggested_only=true", "from=x"):
            answer = await one.call("GET", f"{path}&{wrong}", token=ada, status=400)
            assert answer["errcode"] == "M_INVALID_PARAM"
        bob = await one.register("bob")
        await one.call("GET", f"{path}&from={token}", token=bob, status=400)


async def test_a_space_shows_the_rooms_that_a_reader_may_join_knock_at_or_read(
    database: Database, tmp_path: Path
) -> None:
    def state(kind: str, **content: object) -> list[dict[str, object]]:
        return [{"type": kind, "content": content}]

    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        root = await space(one, ada, name="Root", topic="All")
        allow = [{"type": "m.room_membership", "room_id": root}]
        rule = "m.room.join_rules"
        kinds: dict[str, dict[str, object]] = {
            "public": {},
            "private": {"preset": "private_chat"},
            "invited": {"preset": "private_chat", "invite": ["@bob:one.test"]},
            "knock": {"initial_state": state(rule, join_rule="knock")},
            "knock in version 6": {
                "preset": "private_chat",
                "room_version": "6",
                "initial_state": state(rule, join_rule="knock"),
            },
            "readable": {
                "preset": "private_chat",
                "initial_state": state(
                    "m.room.history_visibility", history_visibility="world_readable"
                ),
            },
            "restricted": {"initial_state": state(rule, join_rule="restricted", allow=allow)},
            "banned": {},
        }
        rooms = {}
        for number, (kind, request) in enumerate(kinds.items()):
            rooms[kind] = await one.room(ada, **request)
            await add(one, ada, root, rooms[kind], order=str(number))
        ban = {"user_id": "@bob:one.test"}
        await one.call("POST", f"/rooms/{rooms['banned']}/ban", ban, token=ada)
        names = {room_id: kind for kind, room_id in rooms.items()}

        before = [names[room_id] for room_id in (await tree(one, bob, root))[1:]]
        await one.call("POST", f"/rooms/{root}/join", {}, token=bob)
        after = [names[room_id] for room_id in (await tree(one, bob, root))[1:]]

        assert before == ["public", "invited", "knock", "readable"]
        assert after == ["public", "invited", "knock", "readable", "restricted"]
        path = f"{V1}/rooms/{rooms['private']}/hierarchy"
        assert (await one.call("GET", path, token=bob, status=403))["errcode"] == "M_FORBIDDEN"
        path = f"{V1}/rooms/!unknown:one.test/hierarchy"
        assert (await one.call("GET", path, token=bob, status=403))["errcode"] == "M_FORBIDDEN"


async def test_a_room_summary_says_what_the_room_is_like(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        encryption = {"algorithm": "m.megolm.v1.aes-sha2"}
        state = [{"type": "m.room.encryption", "content": encryption}]
        room_id = await one.room(ada, name="Pub", room_alias_name="pub", initial_state=state)
        private = await one.room(ada, preset="private_chat")

        summary = await one.call("GET", f"{V1}/room_summary/{room_id}", token=bob)
        by_alias = await one.call("GET", f"{V1}/room_summary/%23pub:one.test")
        older = await one.call(
            "GET", f"/_matrix/client/unstable/im.nheko.summary/summary/{room_id}", token=ada
        )

        assert summary == {
            "room_id": room_id,
            "name": "Pub",
            "canonical_alias": "#pub:one.test",
            "num_joined_members": 1,
            "join_rule": "public",
            "world_readable": False,
            "guest_can_join": False,
            "room_version": "12",
            "encryption": "m.megolm.v1.aes-sha2",
            "membership": "leave",
        }
        assert {**by_alias, "membership": "leave"} == summary
        assert older["membership"] == "join"
        assert older["im.nheko.summary.version"] == "12"
        for token in (bob, ""):
            for hidden in (private, "!nowhere:one.test", "%23nothing:one.test"):
                path = f"{V1}/room_summary/{hidden}"
                answer = await one.call("GET", path, token=token, status=404)
                assert answer["errcode"] == "M_NOT_FOUND"


async def test_mutual_rooms_are_those_that_both_are_joined_to(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.spaces.mutual.PAGE", 2)
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        rooms = sorted([await one.room(ada) for _ in range(3)])
        await one.room(ada, invite=["@bob:one.test"])
        for room_id in rooms:
            await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        path = f"{V1}/mutual_rooms?user_id=@bob:one.test"

        page = await one.call("GET", path, token=ada)
        rest = await one.call("GET", f"{path}&from={page['next_batch']}", token=ada)

        assert page["joined"] == rooms[:2]
        assert rest == {"joined": rooms[2:], "count": 3}
        assert page["count"] == 3
        stranger = await one.call("GET", f"{V1}/mutual_rooms?user_id=@no:one.test", token=ada)
        assert stranger == {"joined": [], "count": 0}
        for wrong in (
            "user_id=@ada:one.test",
            "user_id=bob",
            "user_id=@bob:one.test&from=x",
            "user_id=@:one.test",
            "user_id=@%C3%BC:one.test",
            "",
        ):
            await one.call("GET", f"{V1}/mutual_rooms?{wrong}", token=ada, status=400)


async def test_an_invite_that_waits_for_consent_shows_nothing_of_the_room(
    database: Database, tmp_path: Path
) -> None:
    consent = {"defaults": {"group": "ask"}}
    async with running(database, tmp_path, consent=consent) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        private = await one.room(ada, preset="private_chat", name="A text of hers")
        public = await one.room(ada, preset="public_chat")
        invite = {"user_id": "@bob:one.test"}
        for room_id in (private, public):
            await one.call("POST", f"/rooms/{room_id}/invite", invite, token=ada)
        summary = f"{V1}/room_summary/{private}"

        await one.call("GET", summary, token=bob, status=404)
        await one.call("GET", f"{V1}/rooms/{private}/hierarchy", token=bob, status=403)
        of_public = await one.call("GET", f"{V1}/room_summary/{public}", token=bob)
        accept = {"answer": "accept", "sender": "@ada:one.test"}
        await one.call("POST", "/_comity/client/v1/requests/answer", accept, token=bob)

        assert of_public["membership"] == "leave"
        assert (await one.call("GET", summary, token=bob))["name"] == "A text of hers"
