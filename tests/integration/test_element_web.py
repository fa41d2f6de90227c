"""What Element Web asks for, in the words that it uses."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.single import running

STATE_AFTER = "org.matrix.msc4222.use_state_after"


async def test_an_accepted_invite_to_a_direct_conversation_says_who_invited(
    database: Database, tmp_path: Path
) -> None:
    """Element files the room among the direct ones by what the join has replaced, and whose."""
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        invite = {"invite": ["@bob:one.test"], "is_direct": True}
        room_id = await one.room(alice, preset="trusted_private_chat", **invite)

        await one.call("POST", f"/join/{room_id}", {}, token=bob)

        answer = await one.call("GET", f"/sync?{STATE_AFTER}=true", token=bob)
        part = answer["rooms"]["join"][room_id]
        in_state = [
            event
            for event in part["org.matrix.msc4222.state_after"]["events"]
            if event["state_key"] == "@bob:one.test"
        ]
        for join in (part["timeline"]["events"][-1], *in_state):
            assert join["content"]["membership"] == "join"
            assert join["unsigned"]["prev_content"]["is_direct"] is True
            assert join["unsigned"]["prev_sender"] == "@alice:one.test"
        assert len(in_state) == 1


async def test_the_state_after_has_the_name_under_which_it_was_asked_for(
    database: Database, tmp_path: Path
) -> None:
    """Element asks by the name of MSC4222, and takes the state for missing under another."""
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice, name="Verona")

        answer = await one.call("GET", f"/sync?{STATE_AFTER}=true", token=alice)

        part = answer["rooms"]["join"][room_id]
        state = part["org.matrix.msc4222.state_after"]["events"]
        assert {"name": "Verona"} in [event["content"] for event in state]
        assert "state" not in part


async def test_who_does_not_name_the_version_may_give_the_creator_a_level(
    database: Database, tmp_path: Path
) -> None:
    """Element makes its video rooms so, whose creator has no level from version 12 on."""
    levels = {"users": {"@alice:one.test": 100, "@bob:one.test": 50}}
    request = {
        "preset": "private_chat",
        "creation_content": {"type": "org.matrix.msc3417.call"},
        "power_level_content_override": levels,
    }
    async with running(database, tmp_path, rooms={"default_version": "12"}) as one:
        alice = await one.register("alice")

        room_id = await one.room(alice, **request)
        named = await one.call(
            "POST", "/createRoom", {**request, "room_version": "12"}, token=alice, status=400
        )

        path = f"/rooms/{room_id}/state/m.room.power_levels"
        assert (await one.call("GET", path, token=alice))["users"] == {"@bob:one.test": 50}
        assert named["errcode"] == "M_INVALID_ROOM_STATE"
