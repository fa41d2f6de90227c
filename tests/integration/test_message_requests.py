"""Message requests: what a stranger's first message becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.consent_world import (
    ALICE,
    BOB,
    CAROL,
    OURS,
    direct,
    invites,
    settle,
    with_defaults,
)
from tests.integration.single import running


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
