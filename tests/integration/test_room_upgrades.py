"""Room upgrades through a whole instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import Forbidden
from homeserver.protocol.events import Event
from homeserver.services.live_room import LiveRoom
from homeserver.storage import timed_mutes
from homeserver.storage.database import Database
from tests.integration.single import Instance, running

ADA, BOB, CAT = "@ada:one.test", "@bob:one.test", "@cat:one.test"


async def upgrade(
    one: Instance, token: str, room_id: str, version: str, status: int = 200, **more: Any
) -> dict[str, Any]:
    """Upgrade a room."""
    body = {"new_version": version, **more}
    return await one.call("POST", f"/rooms/{room_id}/upgrade", body, token=token, status=status)


async def state(one: Instance, token: str, room_id: str) -> dict[tuple[str, str], Any]:
    """A room's state as contents."""
    events = await one.call("GET", f"/rooms/{room_id}/state", token=token)
    return {(e["type"], e["state_key"]): e["content"] for e in events}  # type: ignore[index]


def plain(kind: str, content: Any, state_key: str = "") -> dict[str, Any]:
    """An entry of ``initial_state``."""
    return {"type": kind, "state_key": state_key, "content": content}


@pytest.mark.parametrize(("before", "after"), [("6", "10"), ("11", "12"), ("12", "12")])
async def test_the_new_room_is_as_the_old_one_was_and_the_old_one_leads_there(
    database: Database, tmp_path: Path, before: str, after: str
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        await one.register("cat")
        carried = {
            "m.room.topic": {"topic": "T"},
            "m.room.name": {"name": "N"},
            "m.room.avatar": {"url": "mxc://one.test/a"},
            "m.room.server_acl": {"allow": ["*"], "deny": ["bad.test"]},
            "m.room.guest_access": {"guest_access": "can_join"},
            "m.room.history_visibility": {"history_visibility": "joined"},
            "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        old_id = await one.room(
            ada,
            room_version=before,
            visibility="public",
            room_alias_name="pub",
            creation_content={"type": "m.space", "m.federate": False, "x": 1},
            power_level_content_override={"events": {"m.room.tombstone": 100}, "kick": 60},
            initial_state=[
                *(plain(kind, content) for kind, content in carried.items()),
                plain("m.space.child", {"via": ["one.test"]}, "!kept:one.test"),
                plain("m.space.child", {}, "!removed:one.test"),
                plain("org.example.app", {"x": 1}),
            ],
        )
        await one.call("POST", f"/rooms/{old_id}/join", {}, token=bob)
        ban = {"user_id": CAT, "reason": "spam"}
        await one.call("POST", f"/rooms/{old_id}/ban", ban, token=ada)

        new_id = (await upgrade(one, ada, old_id, after))["replacement_room"]

        new, old = await state(one, ada, new_id), await state(one, ada, old_id)
        create = new[("m.room.create", "")]
        assert (create["room_version"], create["type"], create["m.federate"]) == (
            after,
            "m.space",
            False,
        )
        assert create["predecessor"]["room_id"] == old_id
        assert ("event_id" in create["predecessor"]) is (after != "12")
        assert {kind: new[(kind, "")] for kind in carried} == carried
        assert new[("m.room.join_rules", "")] == {"join_rule": "public"}
        assert new[("m.room.canonical_alias", "")] == {"alias": "#pub:one.test"}
        assert ("m.space.child", "!kept:one.test") in new
        assert ("m.space.child", "!removed:one.test") not in new
        assert ("org.example.app", "") not in new
        assert new[("m.room.member", CAT)] == {"membership": "ban", "reason": "spam"}
        assert ("m.room.member", BOB) not in new
        levels = new[("m.room.power_levels", "")]
        assert levels["kick"] == 60
        assert levels["users"] == ({} if after == "12" else {ADA: 100})
        assert levels["events"]["m.room.tombstone"] == (150 if after == "12" else 100)

        assert old[("m.room.tombstone", "")]["replacement_room"] == new_id
        assert old[("m.room.canonical_alias", "")] == {}
        silent = old[("m.room.power_levels", "")]
        assert (silent["events_default"], silent["invite"]) == (50, 50)
        await one.say(bob, old_id, "still here", status=403)
        found = await one.call("GET", "/directory/room/%23pub:one.test")
        assert found["room_id"] == new_id
        listed = await one.call("GET", "/publicRooms")
        assert [room["room_id"] for room in listed["chunk"]] == [new_id]


async def test_only_who_may_end_a_room_upgrades_it_and_only_to_a_known_version(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        room_id = await one.room(ada)

        unknown = await upgrade(one, ada, room_id, "org.example.9000", status=400)
        stranger = await upgrade(one, bob, room_id, "12", status=403)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        member = await upgrade(one, bob, room_id, "12", status=403)
        nowhere = await upgrade(one, bob, "!nowhere:one.test", "12", status=403)
        unnamed = await one.call("POST", f"/rooms/{room_id}/upgrade", {}, token=ada, status=400)

        assert unknown["errcode"] == "M_UNSUPPORTED_ROOM_VERSION"
        assert {e["errcode"] for e in (stranger, member, nowhere)} == {"M_FORBIDDEN"}
        assert unnamed["errcode"] == "M_MISSING_PARAM"
        assert ("m.room.tombstone", "") not in await state(one, ada, room_id)


async def test_additional_creators_are_those_of_the_request_where_the_version_has_them(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, _ = await one.register("ada"), await one.register("bob")
        levels = {"users": {ADA: 100, BOB: 90}}
        old_id = await one.room(ada, room_version="11", power_level_content_override=levels)

        eleven = (await upgrade(one, ada, old_id, "11", additional_creators=[BOB]))[
            "replacement_room"
        ]
        twelve = (await upgrade(one, ada, eleven, "12", additional_creators=[BOB, ADA]))[
            "replacement_room"
        ]
        wrong = await upgrade(one, ada, twelve, "12", status=400, additional_creators=["bob"])
        back = (await upgrade(one, ada, twelve, "10"))["replacement_room"]

        before, after = await state(one, ada, eleven), await state(one, ada, twelve)
        assert "additional_creators" not in before[("m.room.create", "")]
        assert before[("m.room.power_levels", "")]["users"] == {ADA: 100, BOB: 90}
        assert after[("m.room.create", "")]["additional_creators"] == [BOB, ADA]
        assert after[("m.room.power_levels", "")]["users"] == {}
        assert wrong["errcode"] == "M_INVALID_PARAM"
        users = (await state(one, ada, back))[("m.room.power_levels", "")]["users"]
        assert users[ADA] == users[BOB] >= 150


async def test_a_moderator_upgrades_without_gaining_power(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        levels = {"users": {ADA: 100, BOB: 50}, "events": {"m.room.tombstone": 50}}
        encryption = plain("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
        old_id = await one.room(
            ada,
            room_version="9",
            power_level_content_override={**levels, "state_default": 80},
            initial_state=[encryption],
        )
        await one.call("POST", f"/rooms/{old_id}/join", {}, token=bob)

        new_id = (await upgrade(one, bob, old_id, "11"))["replacement_room"]

        new = await state(one, bob, new_id)
        assert new[("m.room.power_levels", "")]["users"] == {ADA: 100, BOB: 50}
        assert ("m.room.encryption", "") in new
        # What the moderator may not change in the old room stays as it was.
        old = await state(one, bob, old_id)
        assert old[("m.room.power_levels", "")].get("events_default", 0) == 0


async def test_an_upgrade_that_fails_leaves_everything_as_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        room_id = await one.room(ada, visibility="public", room_alias_name="pub")
        before = await state(one, ada, room_id)

        async def refuse(*_: object) -> None:
            raise Forbidden("not today")

        monkeypatch.setattr(one.wiring.send_gate, "check_send", refuse)
        answer = await upgrade(one, ada, room_id, "12", status=403)
        monkeypatch.undo()

        assert answer["error"] == "not today"
        assert await state(one, ada, room_id) == before
        assert await database.fetchval("SELECT count(*) FROM rooms") == 1
        joined = await one.call("GET", "/joined_rooms", token=ada)
        assert joined["joined_rooms"] == [room_id]
        found = await one.call("GET", "/directory/room/%23pub:one.test")
        assert found["room_id"] == room_id
        await one.say(ada, room_id, "it goes on")


async def test_what_members_said_of_the_old_room_holds_for_the_new_one_when_they_join(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        old_id = await one.room(ada)
        await one.call("POST", f"/rooms/{old_id}/join", {}, token=bob)
        tags = f"/user/{BOB}/rooms/%s/tags"
        favourite = {"order": 0.5}
        path = f"{tags % old_id}/m.favourite"
        await one.call("PUT", path, favourite, token=bob)
        direct = f"/user/{BOB}/account_data/m.direct"
        await one.call("PUT", direct, {ADA: [old_id]}, token=bob)
        await one.call("PUT", f"/pushrules/global/room/{old_id}", {"actions": []}, token=bob)
        mute = {
            "conditions": [{"kind": "event_match", "key": "room_id", "pattern": old_id}],
            "actions": [],
        }
        await one.call("PUT", f"/pushrules/global/override/{old_id}", mute, token=bob)
        await timed_mutes.set_mute(database, BOB, old_id, 2_000_000_000_000)
        impostor = await one.room(ada, creation_content={"predecessor": {"room_id": old_id}})

        new_id = (await upgrade(one, ada, old_id, "12"))["replacement_room"]
        for room_id in (new_id, impostor):
            await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)

        assert await one.call("GET", tags % new_id, token=bob) == {
            "tags": {"m.favourite": favourite}
        }
        assert (await one.call("GET", direct, token=bob))[ADA] == [old_id, new_id]
        rules = (await one.call("GET", "/pushrules/", token=bob))["global"]
        assert {old_id, new_id} <= {rule["rule_id"] for rule in rules["room"]}
        muted = next(rule for rule in rules["override"] if rule["rule_id"] == new_id)
        assert muted["conditions"][0]["pattern"] == new_id
        until = await timed_mutes.get_mutes(database, BOB)
        assert until == dict.fromkeys((old_id, new_id), 2_000_000_000_000)
        assert await one.call("GET", tags % impostor, token=bob) == {"tags": {}}
        assert impostor not in str(rules)


async def test_a_room_that_cannot_be_made_takes_no_alias(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        body = {
            "room_alias_name": "pub",
            "power_level_content_override": {"users": {"nobody": 100}},
        }

        answer = await one.call("POST", "/createRoom", body, token=ada, status=400)
        await one.room(ada, room_alias_name="pub")
        taken = await one.call(
            "POST", "/createRoom", {"room_alias_name": "pub"}, token=ada, status=400
        )

        assert answer["errcode"] == "M_INVALID_ROOM_STATE"
        assert taken["errcode"] == "M_ROOM_IN_USE"
        assert await database.fetchval("SELECT count(*) FROM rooms") == 1


async def test_a_room_is_made_as_its_maker_asks(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        ada, _ = await one.register("ada"), await one.register("bob")
        room_id = await one.room(
            ada,
            preset="trusted_private_chat",
            invite=[BOB],
            is_direct=True,
            name="Given",
            creation_content={"creator": BOB, "room_version": "1", "additional_creators": [CAT]},
            power_level_content_override={"state_default": 200},
            initial_state=[
                plain("m.room.name", {"name": "Overridden"}),
                plain("m.room.topic", {"topic": "Kept"}),
                plain("m.room.join_rules", {"join_rule": "knock"}),
            ],
        )
        refused = await one.call(
            "POST",
            "/createRoom",
            {"creation_content": {"additional_creators": ["nobody"]}},
            token=ada,
            status=400,
        )
        unknown = await one.call(
            "POST", "/createRoom", {"room_version": "0"}, token=ada, status=400
        )

        found = await state(one, ada, room_id)
        create = found[("m.room.create", "")]
        assert create == {"room_version": "12", "additional_creators": [CAT, BOB]}
        levels = found[("m.room.power_levels", "")]
        assert (levels["users"], levels["events"]["m.room.tombstone"]) == ({}, 201)
        assert found[("m.room.name", "")] == {"name": "Given"}
        assert found[("m.room.topic", "")] == {"topic": "Kept"}
        assert found[("m.room.join_rules", "")] == {"join_rule": "knock"}
        assert found[("m.room.guest_access", "")] == {"guest_access": "can_join"}
        assert found[("m.room.member", BOB)]["is_direct"] is True
        timeline = await one.call("GET", f"/rooms/{room_id}/messages?dir=f&limit=50", token=ada)
        kinds = [event["type"] for event in timeline["chunk"]]
        assert kinds.count("m.room.name") == 1
        assert kinds[:3] == ["m.room.create", "m.room.member", "m.room.power_levels"]
        assert refused["errcode"] == "M_INVALID_ROOM_STATE"
        assert unknown["errcode"] == "M_UNSUPPORTED_ROOM_VERSION"


async def test_names_that_were_redacted_stay_away_and_encryption_does_not(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        encryption = {"algorithm": "m.megolm.v1.aes-sha2"}
        old_id = await one.room(
            ada,
            name="Shame",
            room_version="10",
            initial_state=[plain("m.room.encryption", encryption)],
        )
        timeline = await one.call("GET", f"/rooms/{old_id}/messages?dir=f&limit=50", token=ada)
        for event in timeline["chunk"]:
            if event["type"] in ("m.room.name", "m.room.encryption"):
                path = f"/rooms/{old_id}/redact/{event['event_id']}/{event['type']}"
                await one.call("PUT", path, {}, token=ada)

        new_id = (await upgrade(one, ada, old_id, "11"))["replacement_room"]

        found = await state(one, ada, new_id)
        assert ("m.room.name", "") not in found
        assert ("m.room.encryption", "") in found


async def test_what_changes_while_an_upgrade_is_planned_is_carried_too(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        room_id = await one.room(ada)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        upgrades = one.wiring.upgrade_parts.upgrades
        bans, planned = upgrades._bans, []

        async def then_banned(old: LiveRoom) -> list[Event]:
            found = await bans(old)
            planned.append(found)
            if len(planned) == 1:
                await one.call("POST", f"/rooms/{room_id}/ban", {"user_id": BOB}, token=ada)
            return found

        monkeypatch.setattr(upgrades, "_bans", then_banned)
        new_id = (await upgrade(one, ada, room_id, "12"))["replacement_room"]

        new = await state(one, ada, new_id)
        assert new[("m.room.member", BOB)] == {"membership": "ban"}
        assert await database.fetchval("SELECT count(*) FROM rooms") == 2
