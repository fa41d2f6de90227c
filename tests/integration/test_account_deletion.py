"""The end of an account: what was theirs is gone, and newcomers do not read what they wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.storage.database import Database
from tests.integration.single import Instance, running
from tests.integration.test_exports import finished, upload

ALICE, BOB, CAROL = "@alice:one.test", "@bob:one.test", "@carol:one.test"
API = "/_comity/client/v1"
SECRET = "xylophone"
# Where an erased user's ID stays, and why: docs/accounts.md.
KEPT = {
    ("accounts", "user_id"),  # nobody else may take it
    # The rooms' graph, which is everybody's.
    ("events", "sender"),
    ("events", "state_key"),
    ("events", "pdu"),
    ("state_entries", "state_key"),
    ("memberships", "user_id"),
    ("memberships", "sender"),
    ("membership_changes", "user_id"),
    ("media_references", "sender"),
    ("notifications", "sender"),
    # What others have said of them.
    ("consent", "peer"),
    ("consent_current", "peer"),
    ("account_data", "content"),
    ("message_requests", "sender"),
    # So that others learn that the devices are gone.
    ("device_list_changes", "user_id"),
    # What moderators decide, for a time.
    ("moderation_queue", "sender"),
    ("moderation_queue", "subject"),
}


async def deactivate(one: Instance, token: str, name: str = "alice", **body: Any) -> None:
    identifier = {"type": "m.id.user", "user": name}
    auth = {"type": "m.login.password", "identifier": identifier, "password": "sesame"}
    await one.call("POST", "/account/deactivate", {"auth": auth, **body}, token=token)
    await one.wiring.account_deletion.settle()


async def places(database: Database, text: str) -> set[tuple[str, str]]:
    """``(table, column)`` wherever a text stands in the database."""
    columns = await database.fetch(
        "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c "
        "JOIN information_schema.tables t USING (table_schema, table_name) "
        "WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
    )
    found = set()
    for table, column, kind in columns:
        value = f"encode({column}, 'escape')" if kind == "bytea" else f"{column}::text"
        query = f"SELECT EXISTS (SELECT 1 FROM {table} WHERE strpos({value}, $1) > 0)"
        if await database.fetchval(query, text):
            found.add((table, column))
    return found


async def live_a_little(one: Instance, alice: str, bob: str) -> str:
    """Leave something in as many tables as a user can; the room with Bob."""
    room_id = await one.room(bob)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=alice)
    alone = await one.room(alice, name=f"diary {SECRET}")
    await one.say(alice, alone, f"dear {SECRET}")
    for room in (room_id, alone):
        said = (await one.say(alice, room, "hello"))["event_id"]
        await one.call("POST", f"/rooms/{room}/receipt/m.read/{said}", {}, token=alice)
    data = f"/user/{ALICE}/account_data"
    await one.call("PUT", f"{data}/dev.example", {"text": SECRET}, token=alice)
    rule = {"actions": ["notify"], "pattern": SECRET}
    await one.call("PUT", f"/pushrules/global/content/{SECRET}", rule, token=alice)
    await one.call(
        "POST", f"/user/{ALICE}/filter", {"room": {"rooms": [f"!{SECRET}"]}}, token=alice
    )
    await one.call("PUT", f"/profile/{ALICE}/displayname", {"displayname": SECRET}, token=alice)
    status = {"presence": "online", "status_msg": SECRET}
    await one.call("PUT", f"/presence/{ALICE}/status", status, token=alice)
    for number in range(3):
        await one.wiring.consent.set(ALICE, f"@p{number}:x.test", "message", "granted", how=SECRET)
    await one.call("POST", f"{API}/invitations", {"note": SECRET}, token=alice)
    await one.call("POST", f"{API}/export", {}, token=alice)
    await finished(one, alice)
    reported = (await one.say(bob, room_id, "rude"))["event_id"]
    await one.call("POST", f"/rooms/{room_id}/report/{reported}", {"reason": "rude"}, token=alice)
    key = {"algorithms": [], "device_id": "", "user_id": ALICE, "keys": {}, "signatures": {}}
    device = (await one.call("GET", "/account/whoami", token=alice))["device_id"]
    keys = {"device_keys": {**key, "device_id": device}}
    await one.call("POST", "/keys/upload", keys, token=alice)
    await one.call("POST", "/keys/claim", {"one_time_keys": {}}, token=alice)
    message = {"messages": {ALICE: {"*": {"text": SECRET}}}}
    await one.call("PUT", "/sendToDevice/dev.example/1", message, token=bob)
    await one.call("POST", "/_matrix/media/v1/create", {}, token=alice)
    await one.call("POST", "/pushers/set", PUSHER, token=alice)
    for path, what in (
        ("/tokens", {"name": SECRET, "scopes": ["messages:read"]}),
        ("/webhooks", {"url": f"https://{SECRET}.test/", "events": ["message.*"]}),
        (f"/conversations/{alone}/incoming-webhooks", {"label": SECRET}),
        (f"/conversations/{alone}/messages", {"text": SECRET}),
    ):
        headers = {"Authorization": f"Bearer {alice}", "Idempotency-Key": SECRET}
        async with one.client.post(f"/api/v1{path}", json=what, headers=headers) as response:
            assert response.status == 201, await response.text()
    await one.call("POST", "/createRoom", {"invite": [ALICE]}, token=await one.register("dan"))
    return room_id


PUSHER = {
    "kind": "http",
    "app_id": SECRET,
    "pushkey": SECRET,
    "app_display_name": SECRET,
    "device_display_name": SECRET,
    "lang": "en",
    "data": {"url": f"https://{SECRET}.test/_matrix/push/v1/notify"},
}
ASKING = {"defaults": {"message": "ask", "group": "ask"}}
SPAM = {"rules": [{"name": "r", "match": {"keywords": ["spam"]}, "action": "flag"}]}


async def test_nothing_of_theirs_stays(database: Database, tmp_path: Path) -> None:
    settings = {"data_dir": str(tmp_path), "consent": ASKING, "policy": SPAM}
    async with running(database, tmp_path, **settings) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await live_a_little(one, alice, bob)
        await one.say(alice, room, "spam")
        await one.call("POST", "/createRoom", {"invite": [BOB]}, token=alice)
        requests = "SELECT owner, state FROM message_requests ORDER BY owner"
        assert [tuple(row) for row in await database.fetch(requests)] == [
            (ALICE, "pending"),
            (BOB, "pending"),
        ]
        assert len(await places(database, ALICE)) > len(KEPT)
        assert len(await places(database, SECRET)) >= 7

        await deactivate(one, alice, erase=True)

        assert await places(database, ALICE) <= KEPT
        assert await places(database, SECRET) <= {("events", "pdu")}  # of the room with Bob: a name
        assert await database.fetchval(
            "SELECT count(*) FROM events WHERE erased = 'erasure' AND sender = $1", ALICE
        )
        assert not list((tmp_path / "exports").iterdir())
        assert [tuple(row) for row in await database.fetch(requests)] == [(BOB, "expired")]
        assert not (await one.call("GET", "/sync", token=bob))["rooms"].get("invite")
        query = "SELECT reporter, note FROM moderation_queue WHERE kind = 'report'"
        assert tuple(await database.fetchrow(query)) == (None, "rude")
        account = await database.fetchrow("SELECT * FROM accounts WHERE user_id = $1", ALICE)
        assert account["password_hash"] is None and account["deletion_since"] is None


async def test_without_erasure_what_they_wrote_and_uploaded_stays(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await live_a_little(one, alice, bob)
        picture = await upload(one, alice, b"a picture")

        await deactivate(one, alice)
        await one.wiring.ends.work_off()

        carol = await one.register("carol")
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=carol)
        assert await one.texts(carol, room_id) == ["hello", "rude"]
        assert await database.fetchval("SELECT count(*) FROM consent WHERE owner = $1", ALICE) == 0
        media = "SELECT count(*) FROM media WHERE 'mxc://one.test/' || media_id = $1"
        assert await database.fetchval(media, picture) == 1


async def test_who_was_there_reads_on_and_who_comes_later_does_not(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, carol = [await one.register(name) for name in ("alice", "bob", "carol")]
        room_id = await one.room(alice, name="The Orchard", invite=[BOB])
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        await one.say(bob, room_id, "hello Alice")
        said = (await one.say(alice, room_id, "hello Bob"))["event_id"]
        edit = {"rel_type": "m.replace", "event_id": said}
        new = {"m.new_content": {"msgtype": "m.text", "body": "edited"}, "m.relates_to": edit}
        await one.say(alice, room_id, "* edited", **new)
        answer = {"m.relates_to": {"rel_type": "m.thread", "event_id": said}}
        await one.say(bob, room_id, "in the thread", **answer)

        await deactivate(one, alice, erase=True)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=carol)

        assert await one.texts(bob, room_id) == [
            "hello Alice",
            "hello Bob",
            "* edited",
            "in the thread",
        ]
        assert await one.texts(carol, room_id) == ["hello Alice", "in the thread"]
        event = f"/rooms/{room_id}/event/{said}"
        assert (await one.call("GET", event, token=bob))["content"]["body"] == "hello Bob"
        hidden = await one.call("GET", event, token=carol)
        assert hidden["content"] == {} and "redacted_because" in hidden["unsigned"]
        assert "m.replace" not in hidden["unsigned"].get("m.relations", {})
        context = await one.call("GET", f"/rooms/{room_id}/context/{said}", token=carol)
        assert context["event"]["content"] == {}
        room = (await one.call("GET", "/sync", token=carol))["rooms"]["join"][room_id]
        synced = [*room["timeline"]["events"], *room["state"]["events"]]
        assert "hello Alice" in str(synced) and "hello Bob" not in str(synced)
        assert "edited" not in str(synced)
        assert "The Orchard" in str(synced)
        members = [e["content"] for e in synced if e.get("state_key") == ALICE]
        assert all("displayname" not in content for content in members)
        synced = (await one.call("GET", "/sync", token=bob))["rooms"]["join"][room_id]
        assert "hello Bob" in str(synced)


async def test_it_holds_after_a_restart_and_for_a_sync_that_goes_on(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob, carol = [await one.register(name) for name in ("alice", "bob", "carol")]
        room_id = await one.room(bob)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=alice)
        since = (await one.call("GET", "/sync", token=carol))["next_batch"]
        await one.say(alice, room_id, "hello Bob")
        await deactivate(one, alice, erase=True)

    async with running(database, tmp_path) as one:
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=carol)

        answer = await one.call("GET", f"/sync?since={since}", token=carol)
        room = answer["rooms"]["join"][room_id]
        assert "hello Bob" not in str(room)
        assert await one.texts(carol, room_id) == []
        assert await one.texts(bob, room_id) == ["hello Bob"]


async def test_an_instance_that_was_there_is_served_whole_events(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        await one.say(alice, room_id, "hello")
        # two.test had a member before the erasure, three.test has had none
        await database.execute(
            "INSERT INTO events (event_id, position, room_id, type, state_key, sender, depth, "
            "origin_server_ts, auth_event_ids, prev_event_ids, pdu) SELECT '$theirs', "
            "take_positions(1), $1, 'm.room.member', '@dan:two.test', '@dan:two.test', 9, 9, "
            "'{}', '{}', $2",
            room_id,
            b'{"content":{"membership":"join"}}',  # as events are stored
        )
        await one.room(alice)  # the log moves on
        await deactivate(one, alice, erase=True)

        hidden_from = one.wiring.erased.hidden_from_server

        assert await hidden_from(room_id, "two.test") == set()
        assert await hidden_from(room_id, "three.test") == {"@alice:one.test"}
        assert await hidden_from(room_id, "wo.test") == {"@alice:one.test"}


async def test_files_go_unless_others_use_them(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(bob)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=alice)
        mine, ours, unsent, avatar, roomy = [
            await upload(one, alice, content)
            for content in (b"mine", b"ours", b"unsent", b"avatar", b"room's")
        ]
        bobs = await upload(one, bob, b"bob's")
        for uri in (mine, ours):
            await one.say(alice, room_id, "look", msgtype="m.image", url=uri)
        await one.say(bob, room_id, "look again", msgtype="m.image", url=ours)
        await one.call("PUT", f"/profile/{ALICE}/avatar_url", {"avatar_url": avatar}, token=alice)
        path = f"/rooms/{room_id}/state/m.room.avatar"
        await one.call("PUT", path, {"url": roomy}, token=bob)

        await deactivate(one, alice, erase=True)
        await one.wiring.ends.work_off()

        left = await database.fetch("SELECT media_id FROM media")
        assert {f"mxc://one.test/{row['media_id']}" for row in left} == {ours, roomy, bobs}
        headers = {"Authorization": f"Bearer {bob}"}
        for uri, status in ((mine, 404), (unsent, 404), (avatar, 404), (ours, 200)):
            url = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
            async with one.client.get(url, headers=headers) as response:
                assert response.status == status


@pytest.mark.parametrize("dies_at", ["leave_all", "delete_event_content", "give_up"])
async def test_what_a_crash_interrupts_is_finished_at_the_next_start(
    database: Database, tmp_path: Path, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        """Stands for the end of the process."""

    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await live_a_little(one, alice, bob)
        await upload(one, alice, b"mine")

        async def die(*_: Any, **__: Any) -> None:
            raise Died

        for part in (
            one.wiring.membership,
            one.wiring.ends.deletion,
            one.wiring.ends.media_deletion,
        ):
            if hasattr(part, dies_at):
                monkeypatch.setattr(part, dies_at, die)
        accounts, deletion = one.wiring.accounts, one.wiring.account_deletion
        try:
            await accounts.deactivate(UserId(ALICE), erase=True)
            await deletion.settle()
        except Died:
            pass
        assert await database.fetchval("SELECT count(*) FROM accounts WHERE deletion_since > 0")

    async with running(database, tmp_path, data_dir=str(tmp_path)) as one:
        for _ in range(2000):
            if not await database.fetchval(
                "SELECT count(*) FROM accounts WHERE deletion_since IS NOT NULL"
            ):
                break
            await asyncio.sleep(0.01)
        await one.wiring.ends.work_off()

        assert await places(database, ALICE) <= KEPT
        assert await places(database, SECRET) <= {("events", "pdu")}
        assert await database.fetchval("SELECT count(*) FROM media") == 0
