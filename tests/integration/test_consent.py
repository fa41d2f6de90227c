"""Consent on one instance: what is local in the table of ``docs/consent-and-policy.md``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

ALICE, BOB, CAROL = "@alice:one.test", "@bob:one.test", "@carol:one.test"
OURS = "/_comity/client/v1"


def with_defaults(
    database: Database, directory: Path, **defaults: Any
) -> AbstractAsyncContextManager[Instance]:
    """An instance with these answers for everybody."""
    return running(database, directory, consent={"defaults": defaults})


async def direct(one: Instance, token: str, *invite: str, status: int = 200) -> dict[str, Any]:
    """Somebody opens a direct chat."""
    body = {"is_direct": True, "preset": "trusted_private_chat", "invite": list(invite)}
    return await one.call("POST", "/createRoom", body, token=token, status=status)


async def invites(one: Instance, token: str, since: str = "") -> dict[str, Any]:
    """The invites that a client is shown."""
    path = "/sync" + (f"?since={since}" if since else "")
    answer = await one.call("GET", path, token=token)
    shown: dict[str, Any] = answer.get("rooms", {}).get("invite", {})
    return shown


async def settle(one: Instance, path: str, token: str, wanted: int) -> list[dict[str, Any]]:
    """The requests of a state, once there are so many; what changes them runs by itself."""
    for _ in range(200):
        found: list[dict[str, Any]] = (await one.call("GET", OURS + path, token=token))["requests"]
        if len(found) == wanted:
            return found
        await one.call("GET", "/sync", token=token)
    raise AssertionError(f"{path}: {found}")


# ---------------------------------------------------------------- presets and tiers


@pytest.mark.parametrize(
    ("preset", "stranger", "known"),
    [("open", 200, 200), ("known", "ask", 200), ("ask", "ask", "ask"), ("closed", 403, 403)],
)
async def test_each_preset_answers_strangers_and_people_in_the_same_room(
    database: Database, tmp_path: Path, preset: str, stranger: int | str, known: int | str
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await one.call("PUT", f"{OURS}/consent", {"preset": preset}, token=bob)

        for answer in (stranger, known):
            status = answer if isinstance(answer, int) else 200
            made = await direct(one, alice, BOB, status=status)
            if status == 403:
                assert made["errcode"] == "M_INVITE_BLOCKED"
            requests = await one.call("GET", f"{OURS}/requests", token=bob)
            assert len(requests["requests"]) == (answer == "ask")
            shared = await one.room(bob)
            await one.call("POST", f"/rooms/{shared}/join", {}, token=alice)


async def test_each_tier_has_its_own_answer(database: Database, tmp_path: Path) -> None:
    answers = {
        "contact": "allow",
        "shared_room": "allow",
        "contact_of_contact": "ask",
        "known_server": "block",
        "stranger": "block",
    }
    async with with_defaults(database, tmp_path, message=answers) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        carol = await one.register("carol")
        consent = one.wiring.consent
        await direct(one, alice, BOB, status=403)  # known_server: somebody of this instance

        await consent.set(BOB, CAROL, "message", "granted", how="page")
        await consent.set(CAROL, ALICE, "message", "granted", how="page")
        assert await consent.tier(BOB, ALICE) == "contact_of_contact"
        await direct(one, alice, BOB)
        (asked,) = (await one.call("GET", f"{OURS}/requests", token=bob))["requests"]
        assert asked["tier"] == "contact_of_contact"

        shared = await one.room(carol)
        for token in (alice, bob):
            await one.call("POST", f"/rooms/{shared}/join", {}, token=token)
        assert await consent.tier(BOB, ALICE) == "shared_room"


async def test_many_are_told_apart_as_each_is(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        consent, dora = one.wiring.consent, "@dora:two.test"
        room_id = await one.room(bob)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=alice)
        await database.execute(
            """INSERT INTO memberships (room_id, user_id, membership, event_id, sender, position,
                local) VALUES ($1, '@one:three.test', 'join', '$x', '@one:three.test', 1, false)""",
            room_id,
        )
        await consent.set(BOB, CAROL, "message", "granted", how="page")
        await consent.set(CAROL, dora, "message", "granted", how="page")
        peers = [ALICE, CAROL, dora, "@eve:one.test", "@two:three.test", "@fay:four.test"]

        tiers = await consent.tiers(BOB, peers)

        assert list(tiers.values()) == [
            "shared_room",
            "contact",
            "contact_of_contact",
            "known_server",
            "known_server",
            "stranger",
        ]
        assert tiers == {peer: await consent.tier(BOB, peer) for peer in peers}


async def test_the_most_specific_row_wins(database: Database, tmp_path: Path) -> None:
    async with with_defaults(database, tmp_path, message="closed") as one:
        alice, bob = await one.register("alice"), await one.register("bob")

        async def put(peer: str, state: str, **more: Any) -> None:
            body = {"state": state, **more}
            await one.call("PUT", f"{OURS}/consent/message/{peer}", body, token=bob)

        await direct(one, alice, BOB, status=403)
        await put("*", "granted")
        await direct(one, alice, BOB)
        await put("one.test", "denied")
        await direct(one, alice, BOB, status=403)
        await put("alice@one.test", "granted")
        await direct(one, alice, BOB)
        await put("@alice:one.test", "cleared")
        await direct(one, alice, BOB, status=403)


async def test_a_row_holds_until_it_expires(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        consent = one.wiring.consent
        until = consent.now_ms() + 300
        body = {"state": "denied", "expires_at": until}
        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", body, token=bob)
        await direct(one, alice, BOB, status=403)

        while consent.now_ms() <= until:
            await one.call("GET", "/sync", token=bob)

        await direct(one, alice, BOB)


async def test_what_the_admin_keeps_users_may_not_change(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, consent={"user_may_change": ["message"]}) as one:
        bob = await one.register("bob")

        for path, body in (
            ("", {"preset": "open"}),
            ("/media", {"preset": "ask"}),
            (f"/call/{ALICE}", {"state": "denied"}),
        ):
            refused = await one.call("PUT", f"{OURS}/consent{path}", body, token=bob, status=403)
            assert refused["errcode"] == "M_FORBIDDEN"
        await one.call("PUT", f"{OURS}/consent/message", {"preset": "ask"}, token=bob)


# ---------------------------------------------------------------- message requests


async def test_a_stranger_is_one_request_however_often_they_try(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask", group="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        first = (await direct(one, alice, BOB))["room_id"]
        for _ in range(3):
            await direct(one, alice, BOB)

        (asked,) = (await one.call("GET", f"{OURS}/requests", token=bob))["requests"]

        assert (asked["sender"], asked["attempts"], asked["room_id"]) == (ALICE, 4, first)
        assert list(await invites(one, bob)) == [first]


async def test_a_request_shows_nothing_of_the_strangers_choosing(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask", group="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        picture = {"avatar_url": "mxc://one.test/shocking"}
        await one.call("PUT", f"/profile/{ALICE}/avatar_url", picture, token=alice)
        state = [{"type": "m.room.avatar", "content": {"url": "mxc://one.test/worse"}}]
        await one.room(alice, name="Buy!", topic="Now!", initial_state=state, invite=[BOB])

        (hidden,) = (await invites(one, bob)).values()
        profile = await one.call("GET", f"/profile/{ALICE}", token=bob)

        assert "avatar_url" not in profile
        text = str(hidden)
        assert "mxc://" not in text and "Buy!" not in text and "Now!" not in text
        await one.call(
            "POST", f"{OURS}/requests/answer", {"answer": "accept", "sender": ALICE}, token=bob
        )
        (shown,) = (await invites(one, bob)).values()
        assert "mxc://one.test/worse" in str(shown) and "Buy!" in str(shown)
        assert await one.call("GET", f"/profile/{ALICE}", token=bob) == {**profile, **picture}


async def test_an_accepted_request_reaches_a_client_that_is_syncing(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        rooms = [(await direct(one, alice, BOB))["room_id"] for _ in range(2)]
        since = (await one.call("GET", "/sync", token=bob))["next_batch"]

        body = {"answer": "accept", "all": True}
        answered = await one.call("POST", f"{OURS}/requests/answer", body, token=bob)

        assert answered == {"answered": 1}
        assert set(await invites(one, bob, since)) == set(rooms)


@pytest.mark.parametrize("answer", ["decline", "block", "report"])
@pytest.mark.parametrize("whom", [{"sender": ALICE}, {"server": "one.test"}, {"all": True}])
async def test_who_is_declined_is_gone_and_may_not_ask_again_soon(
    database: Database, tmp_path: Path, answer: str, whom: dict[str, Any]
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await direct(one, alice, BOB)

        body = {"answer": answer, "reason": "spam", **whom}
        assert await one.call("POST", f"{OURS}/requests/answer", body, token=bob) == {"answered": 1}

        assert await invites(one, bob) == {}
        assert (await direct(one, alice, BOB, status=403))["errcode"] == "M_INVITE_BLOCKED"
        state = "declined" if answer == "decline" else "blocked"
        (request,) = await settle(one, f"/requests?state={state}", bob, 1)
        assert (request["sender"], request["reported"]) == (ALICE, answer == "report")
        reports = await database.fetch("SELECT sender, note FROM moderation_queue")
        assert [tuple(row) for row in reports] == ([(ALICE, "spam")] if answer == "report" else [])


async def test_a_stock_client_answers_by_joining_or_leaving(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        tokens = {name: await one.register(name) for name in ("alice", "bob", "carol")}
        joined = (await direct(one, tokens["alice"], BOB))["room_id"]
        left = (await direct(one, tokens["carol"], BOB))["room_id"]

        await one.call("POST", f"/rooms/{joined}/join", {}, token=tokens["bob"])
        await one.call("POST", f"/rooms/{left}/leave", {}, token=tokens["bob"])

        consent = one.wiring.consent
        assert await consent.state(BOB, ALICE, "message") == "granted"
        assert await consent.state(BOB, CAROL, "message") == "denied"


async def test_changed_rules_sweep_over_what_is_pending(database: Database, tmp_path: Path) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        tokens = {name: await one.register(name) for name in ("alice", "bob", "carol")}
        opened = (await direct(one, tokens["alice"], BOB))["room_id"]
        await direct(one, tokens["carol"], BOB)
        body = {"ignored_users": {CAROL: {}}}
        path = f"/user/{BOB}/account_data/m.ignored_user_list"

        await one.call("PUT", path, body, token=tokens["bob"])
        await settle(one, "/requests?state=blocked", tokens["bob"], 1)
        await one.call("PUT", f"{OURS}/consent", {"preset": "open"}, token=tokens["bob"])
        await settle(one, "/requests?state=accepted", tokens["bob"], 1)

        assert list(await invites(one, tokens["bob"])) == [opened]


async def test_requests_expire(database: Database, tmp_path: Path) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await direct(one, alice, BOB)
        requests = one.wiring.consent_parts.requests

        await database.execute("UPDATE message_requests SET expires_at = 1")
        await requests.expire_due()

        assert await invites(one, bob) == {}
        await settle(one, "/requests?state=expired", bob, 1)


async def test_limits_hold_for_a_sender_and_for_a_recipient(
    database: Database, tmp_path: Path
) -> None:
    limits = {"max_pending": 2, "per_sender": {"burst": 2, "per_second": 0.001}}
    async with running(
        database,
        tmp_path,
        consent={"defaults": {"message": "ask"}, "requests": limits},
        rate_limits={"enabled": True, "registration": {"burst": 100, "per_second": 100}},
    ) as one:
        names = ("alice", "bob", "carol", "dave", "erin")
        tokens = {name: await one.register(name) for name in names}
        for name in ("carol", "dave"):
            await direct(one, tokens["alice"], f"@{name}:one.test")

        third = await direct(one, tokens["alice"], "@erin:one.test", status=429)

        assert third["errcode"] == "M_LIMIT_EXCEEDED"
        abuse = await database.fetch("SELECT kind, sender FROM moderation_queue")
        assert [tuple(row) for row in abuse] == [("request_abuse", ALICE)]
        for name in ("carol", "dave"):
            await direct(one, tokens[name], BOB)
        full = await direct(one, tokens["erin"], BOB, status=429)
        assert full["errcode"] == "M_LIMIT_EXCEEDED"


# ---------------------------------------------------------------- spellings


@pytest.mark.parametrize(
    ("config", "answer"),
    [
        ({"default_action": "block"}, 403),
        ({"blocked_users": ["@al*:one.test"]}, 403),
        ({"blocked_servers": ["*"], "allowed_users": [ALICE]}, 200),
        ({"ignored_servers": ["one.*"]}, "hidden"),
        ({"enabled": False, "blocked_users": ["*"]}, 200),
        ({"blocked_users": "nonsense", "default_action": 5}, 200),
    ],
)
async def test_msc4155_is_another_spelling(
    database: Database, tmp_path: Path, config: dict[str, Any], answer: int | str
) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        path = f"/user/{BOB}/account_data/m.invite_permission_config"
        await one.call("PUT", path, config, token=bob)

        await direct(one, alice, BOB, status=answer if isinstance(answer, int) else 200)

        assert len(await invites(one, bob)) == (answer == 200)


# ---------------------------------------------------------------- enforcement


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


# ---------------------------------------------------------------- history


async def test_every_change_is_kept_and_can_be_read(database: Database, tmp_path: Path) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = (await direct(one, alice, BOB))["room_id"]
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        await one.call("PUT", f"{OURS}/consent/media", {"preset": "closed"}, token=bob)
        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", {"state": "revoked"}, token=bob)

        changes: list[dict[str, Any]] = []
        start = ""
        while True:
            page = await one.call("GET", f"{OURS}/consent/history?limit=3{start}", token=bob)
            changes += page["changes"]
            if page["next"] is None:
                break
            start = f"&from={page['next']}"

        told = [(c["peer"], c["scope"], c["state"], c["how"]) for c in reversed(changes)]
        assert told[:2] == [
            (ALICE, "message", "asked", "invite"),
            (ALICE, "message", "granted", "accepted invite"),
        ]
        assert [(scope, state) for _, scope, state, _ in told[2:6]] == [("media", "denied")] * 4
        assert told[-1] == (ALICE, "message", "revoked", "client")
        assert {c["actor"] for c in changes} == {BOB}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/consent", {"preset": "wide"}),
        ("PUT", "/consent", {}),
        ("PUT", "/consent/smell", {"preset": "open"}),
        ("PUT", "/consent/message", {"answers": {"aunt": "allow"}}),
        ("PUT", "/consent/message", {"answers": {"stranger": "maybe"}}),
        ("PUT", "/consent/message/nobody@", {"state": "granted"}),
        ("PUT", "/consent/message/!x", {"state": "granted"}),
        ("PUT", f"/consent/message/{ALICE}", {"state": "perhaps"}),
        ("PUT", f"/consent/message/{ALICE}", {"state": "granted", "expires_at": 5}),
        ("PUT", f"/consent/message/{ALICE}", {"state": "granted", "expires_at": 2**70}),
        ("PUT", f"/consent/message/{BOB}", {"state": "granted"}),
        ("GET", "/requests?state=angry", None),
        ("POST", "/requests/answer", {"answer": "accept"}),
        ("POST", "/requests/answer", {"answer": "eat", "all": True}),
        ("POST", "/requests/answer", {"answer": "accept", "all": True, "server": "x"}),
        ("POST", "/requests/answer", {"answer": "accept", "sender": "x"}),
        ("POST", "/requests/answer", {"answer": "report", "all": True, "reason": "\0"}),
    ],
)
async def test_nonsense_is_refused_in_words(
    database: Database, tmp_path: Path, method: str, path: str, body: Any
) -> None:
    async with running(database, tmp_path) as one:
        bob = await one.register("bob")

        refused = await one.call(method, OURS + path, body, token=bob, status=400)

        assert refused["errcode"].startswith("M_") and len(refused["error"]) > 10


async def test_an_admin_acts_for_a_user_and_is_named(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        path = f"/_comity/admin/v1/users/{BOB}/consent"
        body = {"state": "denied"}
        await one.call("PUT", f"{path}/message/{ALICE}", body, token=alice, status=403)
        await one.wiring.accounts.set_admin(ALICE, True)

        await one.call("PUT", f"{path}/message/{CAROL}", body, token=alice)

        shown = await one.call("GET", path, token=alice)
        assert [(row["peer"], row["how"]) for row in shown["rows"]] == [(CAROL, "admin")]
        history = await one.call("GET", f"{OURS}/consent/history", token=bob)
        assert history["changes"][0]["actor"] == ALICE
        nobody = "/_comity/admin/v1/users/@nobody:one.test/consent"
        await one.call("GET", nobody, token=alice, status=404)


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


async def test_who_was_declined_and_is_welcome_later_is_shown_again(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        await direct(one, alice, BOB)
        body = {"answer": "decline", "all": True}
        await one.call("POST", f"{OURS}/requests/answer", body, token=bob)

        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", {"state": "granted"}, token=bob)
        room_id = (await direct(one, alice, BOB))["room_id"]

        assert room_id in await invites(one, bob)


async def test_who_was_blocked_and_is_welcome_later_is_shown_again(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = (await direct(one, alice, BOB))["room_id"]
        body = {"answer": "block", "all": True}
        await one.call("POST", f"{OURS}/requests/answer", body, token=bob)
        assert await invites(one, bob) == {}

        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", {"state": "granted"}, token=bob)
        await settle(one, "/requests?state=accepted", bob, 1)

        assert list(await invites(one, bob)) == [room_id]
