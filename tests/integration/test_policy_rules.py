"""The admin's rules on a whole instance: what local senders get, arrivals, reload, the trail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver.metrics import POLICY_MATCHES
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance, running
from tests.integration.test_lying_peer import DAY_MS, KEY, MALLORY, PEER, LyingPeer

ADMIN = "/_comity/admin/v1"


def rules(*documents: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [{"name": f"r{n}", "message": "No.", **d} for n, d in enumerate(documents)]}


CASINO = {"match": {"keywords": ["casino"]}}


async def moderator(one: Instance) -> str:
    token = await one.register("moderator")
    await one.wiring.accounts.set_admin("@moderator:one.test", True)
    return token


async def trail(one: Instance, admin: str, query: str = "") -> list[tuple[str, str, str]]:
    page = await one.call("GET", f"{ADMIN}/policy/verdicts{query}", token=admin)
    return [(row["rule"], row["action"], row["mode"]) for row in page["verdicts"]]


# ---------------------------------------------------------------- local senders


@pytest.mark.parametrize(
    ("action", "status", "shown"),
    [
        ("allow", 200, True),
        ("flag", 200, True),
        ("hold", 200, False),
        ("soft_fail", 200, False),
        ("reject", 403, False),
        ("strip", 200, True),
        ("throttle", 429, False),
        ("block_server", 403, False),
    ],
)
async def test_what_a_local_sender_gets(
    database: Database, tmp_path: Path, action: str, status: int, shown: bool
) -> None:
    policy = rules({**CASINO, "action": action}, {**CASINO, "action": "reject"})
    if action == "flag":
        policy["rules"].pop()
    async with running(database, tmp_path, policy=policy) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)

        answer = await one.say(alice, room_id, "the casino", status=status)
        await one.say(alice, room_id, "good night")

        expected = ["the casino", "good night"] if shown else ["good night"]
        assert await one.texts(bob, room_id) == expected
        if status == 403:
            assert (answer["errcode"], answer["error"]) == ("M_FORBIDDEN", "No.")
        if status == 429:
            assert (answer["errcode"], answer["error"]) == ("M_LIMIT_EXCEEDED", "No.")
            assert answer["retry_after_ms"] == 60_000


async def test_a_rule_on_trial_is_only_noted(database: Database, tmp_path: Path) -> None:
    policy = rules({**CASINO, "action": "reject", "mode": "observe"})
    async with running(database, tmp_path, policy=policy) as one:
        alice, admin = await one.register("alice"), await moderator(one)
        room_id = await one.room(alice)
        counter = POLICY_MATCHES.labels("r0", "reject", "observe")
        before = counter._value.get()

        await one.say(alice, room_id, "casino")

        assert await trail(one, admin) == [("r0", "reject", "observe")]
        assert counter._value.get() == before + 1


async def test_whoever_sends_too_much_is_told_when_to_go_on(
    database: Database, tmp_path: Path
) -> None:
    match = {
        "event_type": "m.room.message",
        "rate": {"per": "sender", "count": 3, "seconds": 3600},
    }
    async with running(
        database, tmp_path, policy=rules({"match": match, "action": "throttle"})
    ) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room_id = await one.room(alice)
        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)

        for number in range(3):
            await one.say(alice, room_id, str(number))
        refused = await one.say(alice, room_id, "3", status=429)
        await one.say(bob, room_id, "I may")

        assert 0 < refused["retry_after_ms"] <= 1_200_000
        assert await one.texts(bob, room_id) == ["0", "1", "2", "I may"]


async def test_new_accounts_and_strangers_are_told_apart(
    database: Database, tmp_path: Path
) -> None:
    policy = rules(
        {"match": {"account_younger_than": "1h", "links": {"min": 1}}, "action": "reject"},
        {"match": {"standing": "stranger", "keywords": ["hello"]}, "action": "reject"},
    )
    async with running(database, tmp_path, policy=policy) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        rooms = [await one.room(alice) for _ in range(2)]
        await one.call("POST", f"/rooms/{rooms[0]}/join", {}, token=bob)

        await one.say(bob, rooms[0], "hello", status=403)
        await one.say(bob, rooms[0], "https://a.example", status=403)
        await one.call("POST", f"/rooms/{rooms[1]}/join", {}, token=bob)
        await database.execute("UPDATE accounts SET created_at = created_at - 7200000")
        one.wiring.policy._ages._created_at.clear()

        await one.say(bob, rooms[0], "hello https://a.example")


async def test_invites_are_judged_as_they_are_sent(database: Database, tmp_path: Path) -> None:
    policy = rules(
        {"match": {"invites": {"min": 3}}, "action": "reject"},
        {"match": {"invites": {"min": 1}, "standing": "known"}, "action": "flag"},
    )
    async with running(database, tmp_path, policy=policy) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        admin = await moderator(one)
        shared, *others = [await one.room(alice) for _ in range(4)]
        await one.call("POST", f"/rooms/{shared}/join", {}, token=bob)
        invite = {"user_id": "@bob:one.test"}

        for room_id in others[:2]:
            await one.call("POST", f"/rooms/{room_id}/invite", invite, token=alice)
        refused = await one.call(
            "POST", f"/rooms/{others[2]}/invite", invite, token=alice, status=403
        )

        assert refused["error"] == "No."
        assert await trail(one, admin) == [
            ("r0", "reject", "enforce"),
            ("r1", "flag", "enforce"),
            ("r1", "flag", "enforce"),
        ]


async def test_an_invite_to_elsewhere_is_judged_before_it_leaves(
    database: Database, tmp_path: Path
) -> None:
    policy = rules(
        {"match": {"invites": {"min": 1}, "sender": "@alice:*"}, "action": "reject"},
        {"match": {"invites": {"min": 1}}, "action": "hold"},
    )
    federation = {"private_zones": {"*.test": "127.0.0.1"}, "timeout_seconds": 1}
    consent = {"cross_instance": "implied"}
    async with running(
        database, tmp_path, policy=policy, federation=federation, consent=consent
    ) as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        invite = {"user_id": "@carol:nowhere.test"}

        loud = await one.room(alice)
        await one.call("POST", f"/rooms/{loud}/invite", invite, token=alice, status=403)
        quiet = await one.room(bob)
        await one.call("POST", f"/rooms/{quiet}/invite", invite, token=bob)

        for room_id, token in ((loud, alice), (quiet, bob)):
            members = await one.call("GET", f"/rooms/{room_id}/members", token=token)
            assert len(members["chunk"]) == 1


# ---------------------------------------------------------------- other instances


@asynccontextmanager
async def met(
    database: Database, tmp_path: Path, **settings: Any
) -> AsyncIterator[tuple[Instance, LyingPeer, str]]:
    """An instance, an honest peer in Alice's room, and Alice's access token."""
    federation = {
        "allow_private_networks": True,
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 1,
    }
    consent = {"cross_instance": "implied"}
    async with running(
        database, tmp_path, federation=federation, consent=consent, **settings
    ) as one:
        now = time.time_ns() // 1_000_000
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        alice = await one.register("alice")
        peer = LyingPeer(one)
        await peer.join(await one.room(alice))
        yield one, peer, alice


async def eventually(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it has happened."""
    async with asyncio.timeout(20):
        while True:
            if await happened():
                return
            await asyncio.sleep(0.02)


async def verdict(database: Database, one: Instance) -> None:
    """Wait until something has been judged."""

    async def judged() -> bool:
        await one.wiring.policy.trail.flush()
        return bool(await database.fetchval("SELECT count(*) FROM policy_verdicts"))

    await eventually(judged)


async def test_an_instance_is_asked_to_slow_down(database: Database, tmp_path: Path) -> None:
    policy = rules({**CASINO, "action": "throttle", "for": "5m"})
    async with met(database, tmp_path, policy=policy) as (one, peer, alice):
        assert (await peer.send(peer.message("casino")))[0] == 200
        await verdict(database, one)

        answers = [await peer.send() for _ in range(15)]

        assert [status for status, _ in answers] == [200] * 10 + [429] * 5
        assert answers[-1][1]["errcode"] == "M_LIMIT_EXCEEDED"
        assert answers[-1][1]["retry_after_ms"] > 0
        assert await one.texts(alice, peer.room_id) == []


async def test_an_instance_is_blocked(database: Database, tmp_path: Path) -> None:
    policy = rules({**CASINO, "action": "block_server", "for": "1d"})
    async with met(database, tmp_path, policy=policy) as (one, peer, alice):
        await peer.send(peer.message("casino"))
        await verdict(database, one)

        async def refused() -> bool:
            return (await peer.send())[0] == 403

        await eventually(refused)
        (block,) = one.wiring.server_blocks.list()
        assert (block.server, block.source, block.reason) == (PEER, "policy:r0", "No.")
        assert block.expires_at is not None
        assert await one.texts(alice, peer.room_id) == []


async def test_somebody_seen_for_the_first_time_is_new(database: Database, tmp_path: Path) -> None:
    policy = rules({"match": {"account_younger_than": "1h", **CASINO["match"]}, "action": "hold"})
    async with met(database, tmp_path, policy=policy) as (one, peer, alice):
        await peer.send(peer.message("casino"))
        await verdict(database, one)
        await database.execute("UPDATE first_seen SET seen_at = seen_at - 7200000")
        one.wiring.policy._ages._created_at.clear()
        await peer.send(peer.message("casino again"))

        async def shown() -> bool:
            return await one.texts(alice, peer.room_id) == ["casino again"]

        await eventually(shown)
        seen = await database.fetch("SELECT user_id FROM first_seen")
        assert [row["user_id"] for row in seen] == [MALLORY]


async def test_who_was_in_a_room_before_us_is_not_new(database: Database, tmp_path: Path) -> None:
    async with met(database, tmp_path) as (one, _, _):
        ages = one.wiring.policy._ages
        await ages._sightings.flush()
        await database.execute("DELETE FROM first_seen")
        await database.execute(
            "UPDATE events SET origin_server_ts = 1000 WHERE sender = $1", MALLORY
        )
        ages._noted.clear()

        ages.note(MALLORY, 5_000, comes=False)
        ages.note("@eve:peer.test", 5_000, comes=True)

        assert await ages.created_at(MALLORY) == 1_000
        assert await ages.created_at("@eve:peer.test") == 5_000
        assert await ages.created_at("@nobody:peer.test") is None
        assert await ages.created_at("@nobody:one.test") is None


async def test_members_from_before_the_migration_are_not_new(
    database: Database, tmp_path: Path
) -> None:
    migration = (Path(__file__).parents[2] / "migrations" / "0004_policy_engine.sql").read_text()
    fill = migration[migration.index("INSERT INTO first_seen") :]
    async with met(database, tmp_path) as (one, _, _):
        await one.wiring.policy._ages._sightings.flush()
        await database.execute("DELETE FROM first_seen")

        await database.execute(fill)

        (row,) = await database.fetch("SELECT user_id, seen_at FROM first_seen")
        joined = await database.fetchval(
            "SELECT origin_server_ts FROM events WHERE sender = $1", MALLORY
        )
        assert (row["user_id"], row["seen_at"]) == (MALLORY, joined)


# ---------------------------------------------------------------- reload


def rewrite(tmp_path: Path, policy: dict[str, Any]) -> None:
    path = tmp_path / "comity.yaml"
    document = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**document, "policy": policy}))


async def test_rules_are_read_again(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path, policy=rules({**CASINO, "action": "reject"})) as one:
        alice, admin = await one.register("alice"), await moderator(one)
        room_id = await one.room(alice)
        await one.say(alice, room_id, "casino", status=403)
        rewrite(
            tmp_path,
            rules({**CASINO, "action": "flag"}, {"match": {"regex": "pok"}, "action": "reject"}),
        )

        answer = await one.call("POST", f"{ADMIN}/policy/reload", token=admin)

        assert answer == {"rules": 2}
        await one.say(alice, room_id, "casino")
        await one.say(alice, room_id, "poker", status=403)
        shown = (await one.call("GET", f"{ADMIN}/policy/rules", token=admin))["rules"]
        assert [(rule["name"], rule["action"], rule["matched"]) for rule in shown] == [
            ("r0", "flag", 2),
            ("r1", "reject", 1),
        ]
        assert shown[1]["looks_at"] == ["regex"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "server_name: a\npolicy: {rules: [{name: x, match: {regex: '('}, action: flag}]}",
            "match.regex",
        ),
        ("server_name: one.test\npolicy: [", "not YAML"),
        ("server_name: one.test\npolicy: {ruls: []}", "policy.ruls"),
        (None, "No such file"),
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing(
    database: Database, tmp_path: Path, text: str | None, reason: str
) -> None:
    async with running(database, tmp_path, policy=rules({**CASINO, "action": "reject"})) as one:
        alice, admin = await one.register("alice"), await moderator(one)
        room_id = await one.room(alice)
        path = tmp_path / "comity.yaml"
        path.unlink() if text is None else path.write_text(text)

        refused = await one.call("POST", f"{ADMIN}/policy/reload", token=admin, status=400)

        assert reason in refused["problems"][0]
        assert reason in refused["error"]
        await one.say(alice, room_id, "casino", status=403)


async def test_rules_and_trail_are_for_admins(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")

        for method, path in (("POST", "reload"), ("GET", "rules"), ("GET", "verdicts")):
            await one.call(method, f"{ADMIN}/policy/{path}", token=alice, status=403)
            await one.call(method, f"{ADMIN}/policy/{path}", status=401)


# ---------------------------------------------------------------- the trail


async def test_the_trail_is_read_a_page_at_a_time(database: Database, tmp_path: Path) -> None:
    policy = rules(
        {"match": {"keywords": ["odd"]}, "action": "flag"},
        {"match": {"keywords": ["even"]}, "action": "flag"},
    )
    async with running(database, tmp_path, policy=policy) as one:
        alice, admin = await one.register("alice"), await moderator(one)
        room_id = await one.room(alice)
        for number in range(7):
            await one.say(alice, room_id, "odd" if number % 2 else "even")
        path = f"{ADMIN}/policy/verdicts"

        found, query = [], "?limit=3"
        while True:
            page = await one.call("GET", path + query, token=admin)
            found += page["verdicts"]
            if "next_batch" not in page:
                break
            query = f"?limit=3&from={page['next_batch']}"

        assert [row["rule"] for row in found] == ["r1", "r0", "r1", "r0", "r1", "r0", "r1"]
        assert {row["origin"] for row in found} == {"one.test"}
        assert await trail(one, admin, "?rule=r0") == [("r0", "flag", "enforce")] * 3
        assert len(await trail(one, admin, "?origin=one.test")) == 7
        assert await trail(one, admin, "?origin=two.test") == []
        assert len(await trail(one, admin, "?rule=r1&origin=one.test")) == 4
        assert len(await trail(one, admin, f"?since={found[0]['created_at']}")) >= 1
        assert await trail(one, admin, f"?since={found[0]['created_at'] + 1}") == []


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=-1", "since=x", "from=x", "from=1_x", "from=9" * 30, "rule=%00"]
)
async def test_a_wrong_question_is_refused(database: Database, tmp_path: Path, query: str) -> None:
    async with running(database, tmp_path) as one:
        admin = await moderator(one)

        await one.call("GET", f"{ADMIN}/policy/verdicts?{query}", token=admin, status=400)


async def test_what_was_noted_is_on_disk_when_the_server_has_stopped(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, policy=rules({**CASINO, "action": "flag"})) as one:
        alice = await one.register("alice")
        room_id = await one.room(alice)
        await asyncio.gather(*(one.say(alice, room_id, f"casino {n}") for n in range(30)))

    assert await database.fetchval("SELECT count(*) FROM policy_verdicts") == 30
