"""What consent governs on one instance: rooms, messages, files, calls, presence, profiles."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.consent_world import ALICE, BOB, OURS, direct, with_defaults
from tests.integration.single import running


async def test_creating_a_room_asks_all_whom_it_invites_first(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, group="closed") as one:
        alice, _ = await one.register("alice"), await one.register("bob")

        refused = await one.call("POST", "/createRoom", {"invite": [BOB]}, token=alice, status=403)

        assert refused["errcode"] == "M_INVITE_BLOCKED"
        rooms = await one.call("GET", "/joined_rooms", token=alice)
        assert rooms == {"joined_rooms": []}


async def test_an_invite_by_put_state_is_asked_too(database: Database, tmp_path: Path) -> None:
    async with with_defaults(database, tmp_path, group="closed") as one:
        alice, _ = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        path = f"/rooms/{room_id}/state/m.room.member/{BOB}"

        refused = await one.call("PUT", path, {"membership": "invite"}, token=alice, status=403)

        assert refused["errcode"] == "M_INVITE_BLOCKED"


async def test_a_knock_that_nobody_wants_is_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        rules = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
        room_id = await one.room(bob, initial_state=rules)
        consent = one.wiring.consent
        await consent.set(BOB, ALICE, "message", "denied", how="page")

        await one.call("POST", f"/knock/{room_id}", {}, token=alice, status=403)
        await consent.clear(BOB, ALICE, "message", how="page")
        await one.call("POST", f"/knock/{room_id}", {}, token=alice)


async def test_after_a_revocation_a_direct_chat_is_silent(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = (await direct(one, alice, BOB))["room_id"]
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        await one.say(alice, room_id, "before")
        body = {"state": "revoked"}
        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", body, token=bob)

        await one.say(alice, room_id, "after")

        room = (await one.call("GET", "/sync", token=bob))["rooms"]["join"][room_id]
        texts = [e["content"].get("body") for e in room["timeline"]["events"]]
        assert "after" not in texts and "before" not in texts
        assert room["unread_notifications"]["notification_count"] == 0
        assert await one.texts(alice, room_id) == ["before", "after"]


async def test_files_of_strangers_wait_until_they_are_accepted(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, media="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(bob)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=alice)
        headers = {"Authorization": f"Bearer {alice}", "Content-Type": "image/png"}
        async with one.client.post(
            "/_matrix/media/v3/upload", data=b"picture", headers=headers
        ) as response:
            uri = (await response.json())["content_uri"]
        await one.say(alice, room_id, "look", msgtype="m.image", url=uri)
        path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")

        refused = await one.call("GET", path, token=bob, status=403)
        async with one.client.get(path, headers={"Authorization": f"Bearer {alice}"}) as own:
            assert own.status == 200
        body = {"state": "granted"}
        await one.call("PUT", f"{OURS}/consent/media/{ALICE}", body, token=bob)
        async with one.client.get(path, headers={"Authorization": f"Bearer {bob}"}) as granted:
            assert await granted.read() == b"picture"

        assert refused["errcode"] == "M_CONSENT_NOT_GIVEN"
        assert "scope=media" in refused["consent_uri"] and "alice" in refused["consent_uri"]


async def test_calls_of_who_may_not_call_do_not_ring(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = (await direct(one, alice, BOB))["room_id"]
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        await one.call("PUT", f"{OURS}/consent/call/{ALICE}", {"state": "denied"}, token=bob)
        call = {"call_id": "1", "lifetime": 60000, "version": "1", "offer": {}, "party_id": "a"}
        since = (await one.call("GET", "/sync", token=bob))["next_batch"]

        for kind, content in (("m.call.invite", call), ("m.room.message", {"body": "hi"})):
            await one.call("PUT", f"/rooms/{room_id}/send/{kind}/{kind}", content, token=alice)

        room = (await one.call("GET", f"/sync?since={since}", token=bob))["rooms"]["join"][room_id]
        assert [event["type"] for event in room["timeline"]["events"]] == ["m.room.message"]


async def test_presence_typing_and_receipts_are_shown_by_each_scope(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        sent = await one.say(alice, room_id, "read this")
        for scope in ("presence", "typing", "receipts"):
            path = f"{OURS}/consent/{scope}"
            await one.call("PUT", path, {"answers": {"shared_room": "block"}}, token=bob)

        async def appear() -> str:
            status = {"presence": "online", "status_msg": "here"}
            await one.call("PUT", f"/presence/{BOB}/status", status, token=bob)
            body = {"typing": True, "timeout": 30000}
            await one.call("PUT", f"/rooms/{room_id}/typing/{BOB}", body, token=bob)
            path = f"/rooms/{room_id}/receipt/m.read/{sent['event_id']}"
            await one.call("POST", path, {}, token=bob)
            answer = await one.call("GET", "/sync", token=alice)
            kinds = [
                e["type"]
                for e in answer.get("presence", {}).get("events", [])
                if e["sender"] == BOB
            ]
            ephemeral = answer["rooms"]["join"][room_id]["ephemeral"]["events"]
            return str((kinds, [e for e in ephemeral if BOB in str(e)]))

        hidden = await appear()
        status = await one.call("GET", f"/presence/{BOB}/status", token=alice)
        for scope in ("presence", "typing", "receipts"):
            body = {"state": "granted"}
            await one.call("PUT", f"{OURS}/consent/{scope}/{ALICE}", body, token=bob)
        shown = await appear()

        assert hidden == "([], [])" and status == {"presence": "offline"}
        assert "m.presence" in shown and "m.typing" in shown and "m.receipt" in shown


async def test_who_is_blocked_finds_no_profile(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", {"state": "denied"}, token=bob)

        blocked = await one.call("GET", f"/profile/{BOB}", token=alice, status=404)
        unknown = await one.call("GET", "/profile/@nobody:one.test", token=alice, status=404)

        assert blocked == unknown
        await one.call("GET", f"/profile/{BOB}", token=bob)


async def test_a_friend_of_a_blocked_instance_is_heard(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        carol = await one.register("carol")
        room_id = await one.room(bob)
        for token in (alice, carol):
            await one.call("POST", f"/rooms/{room_id}/join", {}, token=token)
        path = f"{OURS}/consent/message"
        await one.call("PUT", f"{path}/one.test", {"state": "denied"}, token=bob)
        await one.call("PUT", f"{path}/{ALICE}", {"state": "granted"}, token=bob)

        for token, text in ((alice, "friend"), (carol, "other")):
            root = (await one.say(token, room_id, text))["event_id"]
            thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
            await one.say(alice, room_id, f"reply to {text}", **thread)
            await one.say(carol, room_id, "more", **thread)

        assert await one.texts(bob, room_id) == ["friend", "reply to friend", "reply to other"]
        room = (await one.call("GET", "/sync", token=bob))["rooms"]["join"][room_id]
        assert room["unread_notifications"]["notification_count"] == 3
        threads = await one.call("GET", f"/_matrix/client/v1/rooms/{room_id}/threads", token=bob)
        other, friend = threads["chunk"]
        assert (other["content"], friend["content"]["body"]) == ({}, "friend")
        for root in (other, friend):
            assert root["unsigned"]["m.relations"]["m.thread"]["count"] == 1
