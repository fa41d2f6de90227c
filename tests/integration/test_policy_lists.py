"""Policy lists on a whole instance: followed, drafted, applied, retracted; and files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.services.policy_lists import following
from homeserver.storage.database import Database
from homeserver.storage.policy import get_verdicts
from tests.integration.lists_world import API, NAME, Lists, set_up, settings, until
from tests.integration.single import running
from tests.integration.test_lying_peer import MALLORY, PEER, World


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_RETRY_SECONDS", 0.05)


@pytest.fixture
async def both(database: Database, tmp_path: Path) -> AsyncIterator[tuple[Lists, World]]:
    async with running(database, tmp_path, **settings()) as one:
        yield await set_up(one, database)


async def test_a_rule_is_a_draft_until_it_is_applied_and_then_cuts(
    both: tuple[Lists, World],
) -> None:
    lists, world = both
    await lists.ban("user", MALLORY)
    await lists.drafted(1)
    before = await world.seen(until="before")

    preview = await lists.preview()
    await lists.apply(draft_id=preview["draft_id"])
    await world.peer.send(world.peer.message("more spam"))
    await world.one.say(world.alice, world.peer.room_id, "peace")

    async def judged() -> bool:
        verdicts = await get_verdicts(lists.database)
        return any(v.rule == f"list:{NAME}" and v.action == "soft_fail" for v in verdicts)

    await lists.until(judged)
    texts = await world.one.texts(world.alice, world.peer.room_id)
    summary = await lists.summary()
    (entry,) = preview["entries"]
    assert (before, texts) == ([], ["before", "peace"])
    assert (entry["change"], entry["kind"], entry["entity"]) == ("add", "user", MALLORY)
    assert (entry["users"], entry["rooms"]) == (1, 1)
    assert preview["total"]["users"] == 1
    assert (summary["title"], summary["room_id"]) == ("Bans of one", lists.room_id)
    assert (summary["in_effect"], summary["problem"]) == (1, None)


async def test_after_the_first_time_changes_come_into_effect_by_themselves(
    both: tuple[Lists, World],
) -> None:
    lists, world = both
    await lists.ban("server", "first.example")
    await lists.drafted(1)
    await lists.apply()

    await lists.ban("server", PEER, "floods")
    await lists.in_effect(2)
    status, _ = await world.peer.send(world.peer.message("spam"))
    seen = await world.one.call("GET", f"/_comity/client/v1/servers/{PEER}", token=world.alice)
    await lists.rule("m.policy.rule.server", f"rule:{PEER}", {})
    await lists.in_effect(1)
    again, _ = await world.peer.send(world.peer.message("sorry"))

    assert (status, again) == (403, 200)
    assert (seen["reason"], seen["source"]) == ("floods", f"list:{lists.room_id}")
    assert seen["list"] == {"room_id": lists.room_id, "name": "Bans of one"}


async def test_a_redacted_rule_is_retracted(both: tuple[Lists, World]) -> None:
    lists, world = both
    event_id = await lists.ban("server", "evil.example")
    await lists.drafted(1)
    await lists.apply()

    path = f"/rooms/{lists.room_id}/redact/{quote(event_id, safe='')}/1"
    await world.one.call("PUT", path, {}, token=lists.root)

    await lists.in_effect(0)


async def test_old_spellings_count_and_one_entity_twice_is_one_entry(
    both: tuple[Lists, World],
) -> None:
    lists, _ = both
    old = {"entity": "evil.example", "recommendation": "org.matrix.mjolnir.ban", "reason": "old"}
    await lists.rule("org.matrix.mjolnir.rule.server", "x", old)
    await lists.rule("m.room.rule.user", "y", {**old, "entity": "@a:b.example"})
    await lists.ban("server", "evil.example", "new")
    await lists.drafted(2)
    await lists.apply()

    await lists.rule("m.policy.rule.server", "rule:evil.example", {})
    await lists.ban("user", "@last:b.example")
    await lists.in_effect(3)

    block = world_block(lists, "evil.example")
    assert block is not None


def world_block(lists: Lists, server: str) -> Any:
    return lists.one.wiring.server_blocks.is_blocked(server)


async def test_what_is_discarded_stays_away(both: tuple[Lists, World]) -> None:
    lists, _ = both
    await lists.ban("server", "a.example")
    await lists.ban("server", "b.example")
    await lists.drafted(2)

    discarded = await lists.ask("POST", "/discard", {"list": NAME, "entities": ["a.example"]})
    await lists.apply()
    shown = await lists.ask("GET", f"/entries?list={quote(NAME)}&state=declined")

    assert discarded == {"discarded": 1}
    assert (world_block(lists, "a.example"), world_block(lists, "b.example") is None) == (
        None,
        False,
    )
    assert [entry["entity"] for entry in shown["entries"]] == ["a.example"]


async def test_a_draft_that_changed_meanwhile_is_not_applied(both: tuple[Lists, World]) -> None:
    lists, _ = both
    await lists.ban("server", "a.example")
    await lists.drafted(1)
    seen = await lists.preview()
    await lists.ban("server", "b.example")
    await lists.drafted(2)

    body = {"list": NAME, "draft_id": seen["draft_id"]}
    refused = await lists.ask("POST", "/apply", body, status=409)

    assert "look at it again" in refused["error"]
    assert (await lists.summary())["in_effect"] == 0


async def test_a_blocked_room_is_not_joined_and_not_invited_to(both: tuple[Lists, World]) -> None:
    lists, world = both
    trap = await world.one.room(world.alice, invite=["@root:one.test"])
    await lists.ban("room", trap, "a trap")
    await lists.ban("room", "!remote:far.example", "a trap")
    await lists.ban("room", "#trap*:far.example", "a trap")
    await lists.drafted(3)
    await lists.apply()

    join = await world.one.call("POST", f"/join/{trap}", {}, token=lists.root, status=403)
    remote = await world.one.call(
        "POST", "/join/!remote:far.example", {}, token=lists.root, status=403
    )
    alias = await world.one.call(
        "POST", f"/join/{quote('#trap1:far.example')}", {}, token=lists.root, status=403
    )
    for invitee in ("@bob:one.test", "@bob:far.example"):
        body = {"user_id": invitee}
        await world.one.call("POST", f"/rooms/{trap}/invite", body, token=world.alice, status=403)
    await world.one.call("POST", f"/rooms/{trap}/leave", {}, token=lists.root)

    for refused in (join, remote, alias):
        assert refused["errcode"] == "M_FORBIDDEN"
        assert "a trap" in refused["error"]


async def test_who_is_listed_is_not_invited_and_may_only_leave(both: tuple[Lists, World]) -> None:
    lists, world = both
    await lists.ban("user", "@mal*:*")
    await lists.drafted(1)
    await lists.apply()
    room_id = await world.one.room(world.alice)

    body = {"user_id": MALLORY}
    refused = await world.one.call(
        "POST", f"/rooms/{room_id}/invite", body, token=world.alice, status=403
    )
    leave = world.peer.message(
        "", type="m.room.member", state_key=MALLORY, content={"membership": "leave"}
    )
    await world.peer.send(leave)

    async def gone() -> bool:
        room = await world.one.wiring.rooms.get(world.peer.room_id)
        return not room.is_joined(MALLORY)

    await lists.until(gone)
    assert "spam" in refused["error"]


async def test_device_messages_of_who_is_listed_are_not_taken(both: tuple[Lists, World]) -> None:
    lists, world = both
    await lists.ban("user", "@mal*:*")
    await lists.drafted(1)
    await lists.apply()
    edus = [
        {
            "edu_type": "m.direct_to_device",
            "content": {
                "sender": sender,
                "type": "m.test",
                "message_id": sender,
                "messages": {"@alice:one.test": {"*": {"from": sender}}},
            },
        }
        for sender in (MALLORY, f"@honest:{PEER}")
    ]

    await world.peer.ask(
        "PUT",
        "/_matrix/federation/v1/send/edus",
        {"origin": PEER, "origin_server_ts": 1, "pdus": [], "edus": edus},
    )
    answer = await world.one.call("GET", "/sync", token=world.alice)

    senders = [event["sender"] for event in answer["to_device"]["events"]]
    assert senders == [f"@honest:{PEER}"]


async def test_flags_are_noted_and_cut_nobody(database: Database, tmp_path: Path) -> None:
    policy = settings(action="flag", approve="never")
    async with running(database, tmp_path, **policy) as one:
        lists, world = await set_up(one, database)
        await lists.ban("user", MALLORY)
        await lists.ban("server", PEER)
        await lists.in_effect(2)

        await world.peer.send(world.peer.message("one"), world.peer.message("two"))
        seen = await world.seen(until="three")

        verdicts = [v for v in await get_verdicts(database) if v.stage == "list"]
        assert seen == ["one", "two"]
        assert [(v.action, v.sender) for v in verdicts] == [("flag", MALLORY)]
        queued = await database.fetch("SELECT rule, sender FROM moderation_queue")
        assert [tuple(row) for row in queued] == [(f"list:{NAME}", MALLORY)]


async def test_every_change_waits_where_every_change_must_be_approved(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **settings(approve="every")) as one:
        lists, _ = await set_up(one, database)
        await lists.ban("server", "a.example")
        await lists.drafted(1)
        await lists.apply()

        await lists.rule("m.policy.rule.server", "rule:a.example", {})
        await lists.ban("server", "b.example")
        await lists.drafted(2)

        assert world_block(lists, "a.example") is not None
        assert world_block(lists, "b.example") is None


async def test_a_list_is_in_effect_again_after_a_restart(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, **settings()) as one:
        lists, _ = await set_up(one, database)
        await lists.ban("server", "a.example")
        await lists.drafted(1)
        await lists.apply()
    async with running(database, tmp_path, **settings()) as one:
        block = one.wiring.server_blocks.is_blocked("a.example")
        found = one.wiring.list_gates.lists.all()
    async with running(database, tmp_path) as one:
        none = one.wiring.server_blocks.is_blocked("a.example")

    assert block is not None
    assert [(item.row.name, len(item.entries)) for item in found] == [(NAME, 1)]
    assert none is None


async def test_a_list_whose_account_is_somebodys_says_so(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        await one.register("policy")
    async with running(database, tmp_path, **settings()) as one:

        async def told() -> bool:
            (found,) = one.wiring.list_gates.lists.all()
            return "policy.list_account" in (found.row.problem or "")

        await until(told)


async def test_a_private_list_is_followed_once_the_account_is_invited(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FIRST_RETRY_SECONDS", 3600)
    async with running(database, tmp_path) as one:
        root = await one.register("root")
        room_id = await one.room(root, preset="private_chat")
    policy = {"lists": [{"room": room_id}]}
    async with running(
        database,
        tmp_path,
        policy=policy,
        consent={"defaults": {"message": "closed", "group": "closed"}},
    ) as one:
        (found,) = one.wiring.list_gates.lists.all()

        async def refused() -> bool:
            return found.row.problem is not None

        async def followed() -> bool:
            return found.row.read_at is not None and found.row.problem is None

        await until(refused)
        body = {"user_id": "@policy:one.test"}
        token = (
            await one.call(
                "POST",
                "/login",
                {
                    "type": "m.login.password",
                    "identifier": {"type": "m.id.user", "user": "root"},
                    "password": "sesame",
                },
            )
        )["access_token"]
        await one.call("POST", f"/rooms/{room_id}/invite", body, token=token)
        await until(followed)


# ---------------------------------------------------------------- files


async def test_a_file_is_imported_as_a_draft_applied_exported_and_removed(
    both: tuple[Lists, World],
) -> None:
    lists, _ = both
    text = f"domain,severity,public_comment\n{PEER},suspend,floods\nloud.example,silence,\n"

    preview = await lists.ask("POST", "/import", {"name": "mastodon", "csv": text})
    before = world_block(lists, PEER)
    await lists.ask("POST", "/apply", {"list": "mastodon", "draft_id": preview["draft_id"]})
    during = world_block(lists, PEER)
    exported = await lists.ask("GET", "/export?list=mastodon")
    await lists.ask("DELETE", "?list=mastodon")

    assert (preview["added"], preview["total"]["users"]) == (2, 1)
    assert before is None
    assert (during.reason, during.source) == ("floods", "csv:mastodon")
    assert exported["csv"] == (
        "kind,entity,recommendation,reason\n"
        "server,loud.example,flag,\n"
        f"server,{PEER},m.ban,floods\n"
    )
    assert world_block(lists, PEER) is None


async def test_an_allow_list_admits_where_only_some_may_come_in(
    database: Database, tmp_path: Path
) -> None:
    closed = {"allow": ["friend.example"], "deny": ["bad.example"]}
    async with running(database, tmp_path, federation=closed) as one:
        lists = one.wiring.list_gates.lists
        root, rules = await one.register("root"), one.wiring.transport.rules
        await one.wiring.accounts.set_admin("@root:one.test", True)
        body = {"name": "friends", "csv": "server\n*.example\n", "allow": True}

        before = [rules.allows(name) for name in ("friend.example", "new.example", "x.test")]
        await one.call("POST", f"{API}/import", body, token=root)
        await lists.apply("friends", actor="root")
        after = [rules.allows(name) for name in ("new.example:1", "bad.example", "x.test")]
        seen = [
            await one.call("GET", f"/_comity/client/v1/servers/{name}", token=root)
            for name in ("new.example", "bad.example")
        ]

        assert (before, after) == ([True, False, False], [True, False, False])
        assert [found["blocked"] for found in seen] == [False, True]
        assert seen[1]["source"] == "configuration"


async def test_an_allow_list_exempts_from_lists(both: tuple[Lists, World]) -> None:
    lists, _ = both
    await lists.ban("server", "*.example")
    await lists.drafted(1)
    await lists.apply()

    body = {"name": "friends", "csv": "server\ngood.example\n", "allow": True}
    await lists.ask("POST", "/import", body)
    await lists.ask("POST", "/apply", {"list": "friends"})

    assert world_block(lists, "good.example") is None
    assert world_block(lists, "evil.example") is not None


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/preview", None, 400),
        ("GET", "/preview?list=none", None, 404),
        ("GET", f"/entries?list={quote(NAME)}&state=odd", None, 400),
        ("POST", "/apply", {}, 400),
        ("POST", "/apply", {"list": "none"}, 404),
        ("POST", "/apply", {"list": NAME, "entities": [1]}, 400),
        ("POST", "/import", {"name": "#room", "csv": "server\na.b\n"}, 400),
        ("POST", "/import", {"name": "x", "csv": ""}, 400),
        ("POST", "/import", {"name": "x"}, 400),
        ("DELETE", f"?list={quote(NAME)}", None, 400),
    ],
)
async def test_nonsense_is_refused(
    database: Database, tmp_path: Path, method: str, path: str, body: Any, status: int
) -> None:
    async with running(database, tmp_path, **settings()) as one:
        root = await one.register("root")
        await one.wiring.accounts.set_admin("@root:one.test", True)

        await one.call(method, API + path, body, token=root, status=status)
