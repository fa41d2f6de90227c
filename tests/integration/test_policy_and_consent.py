"""The admin's rules and the users' consent, on one instance; across instances: tests/interop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from homeserver.storage.policy import get_verdicts
from tests.integration.single import running


def rule(action: str, **match: Any) -> dict[str, Any]:
    return {"rules": [{"name": "r", "match": match, "action": action, "message": "No."}]}


async def test_a_rejected_message_is_refused_with_the_rules_words(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, policy=rule("reject", keywords=["casino"])) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)

        refused = await one.say(alice, room_id, "come to my CASINO!", status=403)
        await one.say(alice, room_id, "casinos are another word")

        assert (refused["errcode"], refused["error"]) == ("M_FORBIDDEN", "No.")
        assert await one.texts(alice, room_id) == ["casinos are another word"]


async def test_an_edit_is_read_too(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, policy=rule("reject", keywords=["casino"])) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        new = {"m.new_content": {"msgtype": "m.text", "body": "casino"}}

        await one.say(alice, room_id, "harmless", status=403, **new)


async def test_a_soft_failed_message_is_kept_and_never_shown(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, policy=rule("soft_fail", sender="@mallory:*")) as one:
        alice, mallory = await one.register("alice"), await one.register("mallory")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=alice)

        await one.say(alice, room_id, "before")
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=mallory)
        await one.say(alice, room_id, "after")

        members = await one.call("GET", f"/rooms/{room_id}/joined_members", token=alice)
        assert list(members["joined"]) == ["@alice:one.test"]
        assert await one.texts(alice, room_id) == ["before", "after"]


async def test_a_flagged_message_is_delivered_and_noted(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, policy=rule("flag", msgtype="m.text")) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)

        await one.say(alice, room_id, "hello")

        await one.wiring.policy.trail.flush()
        (verdict,) = await get_verdicts(database)
        assert (verdict.rule, verdict.action, verdict.direction) == ("r", "flag", "local")
        assert (verdict.sender, verdict.room_id) == ("@alice:one.test", room_id)
        assert "hello" not in str(verdict)
        assert await one.texts(alice, room_id) == ["hello"]


async def test_nobody_means_that_invites_are_refused(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, consent={"defaults": {"group": "closed"}}) as one:
        alice, _ = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        body = {"user_id": "bob@one.test"}

        refused = await one.call("POST", f"/rooms/{room_id}/invite", body, token=alice, status=403)

        await one.wiring.policy.trail.flush()
        assert refused["errcode"] == "M_INVITE_BLOCKED"
        assert [v.stage for v in await get_verdicts(database)] == ["consent"]


async def test_a_request_is_asked_once_and_accepting_it_grants(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, consent={"defaults": {"group": "ask"}}) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        rooms = [await one.room(alice) for _ in range(3)]
        for room_id in rooms:
            await one.call(
                "POST", f"/rooms/{room_id}/invite", {"user_id": "@bob:one.test"}, token=alice
            )
        states = await database.fetch(
            "SELECT state FROM consent WHERE owner = '@bob:one.test' ORDER BY position"
        )
        assert [row["state"] for row in states] == ["asked"]
        answer = await one.call("GET", "/sync", token=bob)
        assert list(answer["rooms"]["invite"]) == [rooms[0]]

        await one.call("POST", f"/rooms/{rooms[0]}/join", {}, token=bob)

        state = await one.wiring.consent.state("@bob:one.test", "@alice:one.test", "message")
        assert state == "granted"


async def test_the_clients_own_switches_work(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        data = "/user/@bob:one.test/account_data"
        invite = {"user_id": "@bob:one.test"}
        kind, content = "m.invite_permission_config", {"default_action": "block"}
        await one.call("PUT", f"{data}/{kind}", content, token=bob)
        refused = await one.call(
            "POST", f"/rooms/{room_id}/invite", invite, token=alice, status=403
        )
        assert refused["errcode"] == "M_INVITE_BLOCKED"
        await one.call("PUT", f"{data}/{kind}", {}, token=bob)

        await one.call("POST", f"/rooms/{room_id}/invite", invite, token=alice)


async def test_an_invite_by_somebody_ignored_is_taken_and_not_shown(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        path = "/user/@bob:one.test/account_data/m.ignored_user_list"
        ignored = {"ignored_users": {"@alice:one.test": {}}}
        await one.call("PUT", path, ignored, token=bob)
        before = await one.call("GET", "/sync", token=bob)

        room_id = await one.room(alice, invite=["@bob:one.test"])
        after = await one.call("GET", f"/sync?since={before['next_batch']}", token=bob)
        await one.call("PUT", path, {"ignored_users": {}}, token=bob)
        resumed = await one.call("GET", f"/sync?since={after['next_batch']}", token=bob)
        fresh = await one.call("GET", "/sync", token=bob)

        assert "invite" not in after.get("rooms", {})
        assert "invite" not in resumed.get("rooms", {})
        assert list(fresh["rooms"]["invite"]) == [room_id]


async def test_who_is_blocked_is_refused_though_they_are_ignored_too(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        path = "/user/@bob:one.test/account_data"
        ignored = {"ignored_users": {"@alice:one.test": {}}}
        await one.call("PUT", f"{path}/m.ignored_user_list", ignored, token=bob)
        blocked = {"blocked_users": ["@alice:one.test"]}
        await one.call("PUT", f"{path}/m.invite_permission_config", blocked, token=bob)

        made = {"invite": ["@bob:one.test"]}
        refused = await one.call("POST", "/createRoom", made, token=alice, status=403)

        assert refused["errcode"] == "M_INVITE_BLOCKED"


async def test_invites_from_before_are_hidden_while_invites_are_blocked(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice, invite=["@bob:one.test"])
        path = "/user/@bob:one.test/account_data/m.invite_permission_config"

        await one.call("PUT", path, {"default_action": "block"}, token=bob)
        hidden = await one.call("GET", "/sync", token=bob)
        await one.call("PUT", path, {}, token=bob)
        shown = await one.call("GET", "/sync", token=bob)

        assert room_id not in hidden.get("rooms", {}).get("invite", {})
        assert room_id in shown["rooms"]["invite"]


async def test_who_is_blocked_is_not_heard(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        await one.wiring.consent.set(
            "@bob:one.test", "@alice:one.test", "message", "revoked", how="page"
        )

        await one.say(alice, room_id, "can you hear me?")

        assert await one.texts(alice, room_id) == ["can you hear me?"]
        assert await one.texts(bob, room_id) == []


async def test_what_stays_here_needs_no_consent_and_what_leaves_does(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        await one.say(alice, room_id, "to myself")

        body = {"user_id": "bob@two.test"}
        refused = await one.call("POST", f"/rooms/{room_id}/invite", body, token=alice, status=403)

        assert refused["errcode"] == "M_CONSENT_NOT_GIVEN"
        path = refused["consent_uri"].partition("/_comity")[2]
        async with one.client.get(f"/_comity{path}") as page:
            assert page.status == 200
            assert "one.test" in await page.text()
        async with one.client.get(f"/_comity{path}0") as forged:
            assert forged.status == 403
