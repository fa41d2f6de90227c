"""Consent on one instance: what is local in the table of ``docs/consent-and-policy.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.consent_world import ALICE, BOB, CAROL, OURS, direct, invites, with_defaults
from tests.integration.single import running

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
