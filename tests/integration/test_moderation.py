"""Moderators on one instance: the queue, held messages, reports, and media that is not served."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import LimitExceeded
from homeserver.metrics import REGISTRY
from homeserver.protocol.signing import format_signing_key
from homeserver.services.moderation_queue import DAY_MS, MOST_OF_REPORTER
from homeserver.storage.database import Database
from tests.integration.moderation_world import (
    PICTURE,
    QUEUE,
    STRIPPED,
    decisions,
    download,
    items,
    picture,
    upload,
)
from tests.integration.single import Instance, running

RULES = [
    {"name": f"r-{action}", "match": {"keywords": [action]}, "action": action}
    for action in ("flag", "hold", "strip")
]


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """It flags, holds and strips what says so."""
    async with running(database, tmp_path, policy={"rules": RULES}) as one:
        yield one


@pytest.fixture
async def moderator(one: Instance) -> str:
    token = await one.register("moderator")
    await one.wiring.accounts.set_admin("@moderator:one.test", True)
    return token


@pytest.fixture
async def alice(one: Instance) -> str:
    return await one.register("alice")


@pytest.fixture
async def bob(one: Instance) -> str:
    return await one.register("bob")


@pytest.fixture
async def room_id(one: Instance, alice: str, bob: str) -> str:
    room_id = await one.room(alice)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
    return room_id


async def test_a_moderator_reads_and_releases_a_held_message(
    one: Instance, moderator: str, alice: str, bob: str, room_id: str
) -> None:
    since = (await one.call("GET", "/sync", token=bob))["next_batch"]
    sent = await one.say(alice, room_id, "hold this")
    await one.say(alice, room_id, "after")
    (item,) = await items(one, moderator)
    path = f"{QUEUE}/{item['item_id']}"
    shown = await one.call("GET", path, token=moderator)
    assert await one.texts(bob, room_id) == ["after"]

    released = await one.call("POST", f"{path}/release", {"note": "fine"}, token=moderator)

    assert "event" not in item
    assert (item["kind"], item["rule"], item["event_id"]) == ("held", "r-hold", sent["event_id"])
    assert shown["event"]["content"]["body"] == "hold this"
    assert (released["state"], released["resolved_by"]) == ("released", "@moderator:one.test")
    assert await one.texts(bob, room_id) == ["hold this", "after"]
    synced = await one.call("GET", f"/sync?since={since}", token=bob)
    timeline = synced["rooms"]["join"][room_id]["timeline"]["events"]
    assert [event["content"]["body"] for event in timeline] == ["hold this", "after"]
    assert await items(one, moderator, "?state=open") == []
    (verdict,) = await decisions(one)
    assert (verdict.rule, verdict.action) == ("r-hold", "release")
    assert verdict.reason == "@moderator:one.test: fine"


async def test_a_dropped_message_is_never_shown(
    one: Instance, moderator: str, alice: str, bob: str, room_id: str
) -> None:
    media_id = await upload(one, alice)
    sent = await one.say(alice, room_id, "hold this", **picture(media_id))
    (item,) = await items(one, moderator)
    path = f"{QUEUE}/{item['item_id']}"

    await one.call("POST", f"{path}/drop", {}, token=moderator)

    refused = await one.call("POST", f"{path}/release", {}, token=moderator, status=409)
    assert "dropped by @moderator:one.test" in refused["error"]
    assert await one.texts(bob, room_id) == []
    event = f"/rooms/{room_id}/event/{sent['event_id']}"
    await one.call("GET", event, token=bob, status=404)
    stored = await one.wiring.store.get(sent["event_id"])
    assert stored is not None and stored.event.content == {}
    await one.wiring.ends.work_off()
    download = f"/_matrix/client/v1/media/download/one.test/{media_id}"
    await one.call("GET", download, token=alice, status=404)


async def test_all_of_a_rule_or_a_sender_are_decided_at_once(
    one: Instance, moderator: str, alice: str, bob: str, room_id: str
) -> None:
    for number in range(3):
        await one.say(alice, room_id, f"hold {number}")
        await one.say(bob, room_id, f"flag {number}")
    await one.say(bob, room_id, "hold")

    for bad in ({}, {"rule": 7}, {"rule": "r\0"}, {"rule": "r-hold", "note": "x" * 9_999}):
        await one.call("POST", f"{QUEUE}/release", bad, token=moderator, status=400)
    by_sender = {"sender": "@alice:one.test", "note": "all fine"}
    released = await one.call("POST", f"{QUEUE}/release", by_sender, token=moderator)
    dropped = await one.call("POST", f"{QUEUE}/drop", {"rule": "r-hold"}, token=moderator)
    resolved = await one.call("POST", f"{QUEUE}/resolve", {"rule": "r-flag"}, token=moderator)

    counts = [len(answer["items"]) for answer in (released, dropped, resolved)]
    assert counts == [3, 1, 3]
    assert await one.texts(bob, room_id) == [
        text for n in range(3) for text in (f"hold {n}", f"flag {n}")
    ]


async def test_a_flagged_message_is_delivered_and_queued(
    one: Instance, moderator: str, alice: str, bob: str, room_id: str
) -> None:
    await one.say(alice, room_id, "flag this")

    (item,) = await items(one, moderator, "?kind=flagged&state=open")
    path = f"{QUEUE}/{item['item_id']}"
    await one.call("POST", f"{path}/drop", {}, token=moderator, status=400)
    await one.call("POST", f"{path}/resolve", {}, token=moderator)

    assert await one.texts(bob, room_id) == ["flag this"]
    assert (item["rule"], item["sender"]) == ("r-flag", "@alice:one.test")
    assert await items(one, moderator, "?state=open") == []


async def test_the_queue_is_read_in_pages(
    one: Instance, moderator: str, alice: str, room_id: str
) -> None:
    for number in range(5):
        await one.say(alice, room_id, f"flag {number}")

    first = await one.call("GET", f"{QUEUE}?limit=3", token=moderator)
    second = await one.call("GET", f"{QUEUE}?limit=3&from={first['next']}", token=moderator)

    assert len(first["items"]) == 3
    assert len(second["items"]) == 2
    assert "next" not in second
    await one.call("GET", f"{QUEUE}?kind=nonsense", token=moderator, status=400)


async def test_the_queue_is_for_admins(one: Instance, alice: str) -> None:
    for method, path in (
        ("GET", QUEUE),
        ("GET", f"{QUEUE}/1"),
        ("POST", f"{QUEUE}/1/release"),
        ("POST", f"{QUEUE}/drop"),
        ("GET", STRIPPED),
        ("DELETE", f"{STRIPPED}/one.test/x"),
    ):
        await one.call(method, path, token=alice, status=403)


async def test_an_item_that_is_not_there_is_not_found(one: Instance, moderator: str) -> None:
    for item_id in ("1", "9" * 30):
        await one.call("GET", f"{QUEUE}/{item_id}", token=moderator, status=404)
        await one.call("POST", f"{QUEUE}/{item_id}/drop", {}, token=moderator, status=404)
    await one.call("DELETE", f"{STRIPPED}/one.test/x", token=moderator, status=404)


async def test_very_many_are_decided_in_several_requests(
    one: Instance, moderator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.services.moderation.MOST_AT_ONCE", 2)
    for number in range(5):
        await one.wiring.moderation_queue.add("flagged", event_id=f"${number}", rule="r")
    decided: list[int] = []
    after: int | None = 0
    while after is not None:
        body = {"rule": "r", "from": after}
        answer = await one.call("POST", f"{QUEUE}/resolve", body, token=moderator)
        decided.append(len(answer["items"]))
        after = answer.get("next")

    assert decided == [2, 2, 1]
    assert await items(one, moderator, "?state=open") == []


# ---------------------------------------------------------------- reports


async def test_a_message_is_reported_by_those_who_are_in_the_room(
    one: Instance, moderator: str, alice: str, bob: str, room_id: str
) -> None:
    carol = await one.register("carol")
    event_id = (await one.say(alice, room_id, "bad"))["event_id"]
    path = f"/rooms/{room_id}/report/{event_id}"

    await one.call("POST", path, {"reason": "it is\0 bad"}, token=bob)
    await one.call("POST", path, {"reason": "very bad"}, token=bob)
    await one.call("POST", f"/_matrix/client/r0{path}", {"score": -100}, token=alice)
    refused = await one.call("POST", path, {"reason": "bad"}, token=carol, status=404)
    await one.call("POST", f"{path}x", {"reason": "bad"}, token=bob, status=404)
    await one.call("POST", path, {"reason": "x" * 9_999}, token=bob, status=400)
    await one.call("POST", path, {"reason": 7}, token=bob, status=400)

    assert refused["errcode"] == "M_NOT_FOUND"
    of_bob, of_alice = await items(one, moderator, "?kind=report")
    assert (of_bob["event_id"], of_bob["sender"]) == (event_id, "@alice:one.test")
    assert (of_bob["reporter"], of_bob["note"]) == ("@bob:one.test", "very bad")
    assert of_bob["times"] == 2
    assert of_alice["reporter"] == "@alice:one.test"
    shown = await one.call("GET", f"{QUEUE}/{of_bob['item_id']}", token=moderator)
    assert shown["event"]["content"]["body"] == "bad"


async def test_rooms_and_users_are_reported_by_anybody(
    one: Instance, moderator: str, alice: str, room_id: str
) -> None:
    carol = await one.register("carol")

    await one.call("POST", f"/rooms/{room_id}/report", {"reason": ""}, token=carol)
    await one.call("POST", "/users/@alice:one.test/report", {"reason": "spam"}, token=carol)
    await one.call("POST", "/users/@mallory:two.test/report", {"reason": "spam"}, token=carol)
    await one.call("POST", f"/rooms/{room_id}/report", {}, token=carol, status=400)
    await one.call("POST", "/rooms/!x:one.test/report", {"reason": ""}, token=carol, status=404)
    await one.call("POST", "/users/@x:one.test/report", {"reason": ""}, token=carol, status=404)
    await one.call("POST", "/users/x/report", {"reason": ""}, token=carol, status=400)

    found = await items(one, moderator)
    assert [(item.get("room_id"), item.get("sender")) for item in found] == [
        (room_id, None),
        (None, "@alice:one.test"),
        (None, "@mallory:two.test"),
    ]


async def test_only_reports_of_other_instances_users_are_passed_on(
    one: Instance, alice: str
) -> None:
    passed_on: list[tuple[Any, ...]] = []

    class Forwarder:
        async def forward(self, *report: Any) -> None:
            passed_on.append(report)

    one.wiring.moderation_parts.reports.forwarder = Forwarder()  # type: ignore[assignment]

    await one.call("POST", "/users/@mallory:two.test/report", {"reason": "spam"}, token=alice)
    await one.call("POST", "/users/@alice:one.test/report", {"reason": "me"}, token=alice)

    assert passed_on == [("@alice:one.test", "@mallory:two.test", None, None, "spam")]


async def test_reports_are_limited(database: Database, tmp_path: Path) -> None:
    limits = {"enabled": True, "report": {"per_second": 0.001, "burst": 2}}
    async with running(database, tmp_path, rate_limits=limits) as one:
        alice = await one.register("alice")
        path = "/users/@alice:one.test/report"

        answers = [
            await one.call("POST", path, {"reason": ""}, token=alice, status=status)
            for status in (200, 200, 429)
        ]

        assert answers[-1]["errcode"] == "M_LIMIT_EXCEEDED"


# ---------------------------------------------------------------- media


async def test_stripped_media_is_withheld_until_a_moderator_lifts_that(
    one: Instance, moderator: str, alice: str, bob: str, room_id: str
) -> None:
    media_id = await upload(one, alice)
    await one.say(alice, room_id, "strip", **picture(media_id))

    status, body = await download(one, bob, media_id)
    assert status == 403
    assert b"M_FORBIDDEN" in body
    assert b"content policy" in body
    thumbnail = f"/_matrix/client/v1/media/thumbnail/one.test/{media_id}?width=32&height=32"
    await one.call("GET", thumbnail, token=bob, status=403)
    assert await one.texts(bob, room_id) == ["strip"]
    (listed,) = (await one.call("GET", STRIPPED, token=moderator))["media"]
    assert (listed["origin"], listed["media_id"]) == ("one.test", media_id)
    assert listed["rule"] == "r-strip"

    await one.call("DELETE", f"{STRIPPED}/one.test/{media_id}", token=moderator)
    await one.say(alice, room_id, "strip it again", **picture(media_id))

    assert await download(one, bob, media_id) == (200, PICTURE)
    assert (await one.call("GET", STRIPPED, token=moderator))["media"] == []
    assert (await decisions(one))[0].action == "serve_media"


async def test_nobody_can_have_what_others_posted_stripped(
    one: Instance, alice: str, bob: str, room_id: str
) -> None:
    uploaded, posted = await upload(one, alice), "of-two"
    await one.say(alice, room_id, "mine", msgtype="m.image", url=f"mxc://two.test/{posted}")

    await one.say(bob, room_id, "strip", **picture(uploaded))
    await one.say(bob, room_id, "strip", msgtype="m.image", url=f"mxc://two.test/{posted}")
    await one.say(bob, room_id, "strip", msgtype="m.image", url="mxc://two.test/other")

    assert await download(one, alice, uploaded) == (200, PICTURE)
    rows = await one.wiring.database.fetch("SELECT media_id FROM stripped_media")
    assert [row["media_id"] for row in rows] == ["other"]


async def test_stripped_media_is_listed_in_pages(
    one: Instance, moderator: str, alice: str, room_id: str
) -> None:
    for number in range(3):
        url = f"mxc://two.test/{number}"
        await one.say(alice, room_id, "strip", msgtype="m.image", url=url)

    first = await one.call("GET", f"{STRIPPED}?limit=2", token=moderator)
    rest = await one.call("GET", f"{STRIPPED}?limit=2&from={first['next']}", token=moderator)

    listed = [media["media_id"] for media in (*first["media"], *rest["media"])]
    assert listed == ["0", "1", "2"]
    await one.call("GET", f"{STRIPPED}?from=x", token=moderator, status=400)


# ---------------------------------------------------------------- the queue itself


async def test_what_is_added_twice_is_counted_while_it_is_open(
    one: Instance, moderator: str
) -> None:
    queue = one.wiring.moderation_queue
    about = {"sender": "@mallory:two.test", "note": "200 requests in an hour"}

    first = await queue.add("request_abuse", **about)
    again = await queue.add("request_abuse", **about)
    await one.call("POST", f"{QUEUE}/{first}/resolve", {}, token=moderator)
    later = await queue.add("request_abuse", **about)

    assert first == again != later
    assert [item["times"] for item in await items(one, moderator)] == [2, 1]


async def test_old_flags_are_closed_and_old_decisions_forgotten(
    one: Instance, moderator: str, alice: str, room_id: str
) -> None:
    queue = one.wiring.moderation_queue
    await one.say(alice, room_id, "flag")
    await one.say(alice, room_id, "hold")
    await one.call("POST", f"{QUEUE}/drop", {"rule": "r-hold"}, token=moderator)
    await one.say(alice, room_id, "hold more")
    days, now = [0], queue._clock_ms
    queue._clock_ms = lambda: now() + days[0] * DAY_MS

    days[0] = 31
    await queue.tend()
    after_a_month = [item["state"] for item in await items(one, moderator)]
    days[0] = 300
    await queue.tend()
    after_a_year = [item["state"] for item in await items(one, moderator)]

    assert after_a_month == ["resolved", "dropped", "open"]
    assert after_a_year == ["dropped", "open"]


async def test_the_queue_has_figures(
    one: Instance, moderator: str, alice: str, room_id: str
) -> None:
    def figure(name: str, kind: str) -> float:
        return REGISTRY.get_sample_value(name, {"kind": kind}) or 0.0

    await one.wiring.moderation_queue.refresh_figures()
    before = figure("comity_moderation_items_total", "held")
    await one.say(alice, room_id, "hold")
    await one.say(alice, room_id, "hold")

    assert figure("comity_moderation_items_total", "held") == before + 2
    assert figure("comity_moderation_open_items", "held") == 2
    await one.call("POST", f"{QUEUE}/drop", {"rule": "r-hold"}, token=moderator)
    assert figure("comity_moderation_open_items", "held") == 0


# ---------------------------------------------------------------- the command line


async def test_the_command_line_does_all_of_it(
    one: Instance, alice: str, bob: str, room_id: str, tmp_path: Path
) -> None:
    config = tmp_path / "cli.yaml"
    address = f"127.0.0.1:{one.client.port}"
    config.write_text(
        f"server_name: one.test\nsigning_key_file: {tmp_path / 'cli.key'}\n"
        f"listen: {{client: '{address}'}}\n"
    )
    (tmp_path / "cli.key").write_text(format_signing_key(one.wiring.signing_key))

    async def comity(*arguments: str) -> tuple[int, str]:
        call = ["policy", *arguments, "--config", str(config)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from homeserver.cli import main; main()",
            *call,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    await one.say(alice, room_id, "hold \x1b[2J one")
    await one.say(alice, room_id, "hold two")
    await one.say(bob, room_id, "hold three")
    await one.say(bob, room_id, "strip", msgtype="m.image", url="mxc://two.test/file")
    first, second, third = [item.item_id for item in await one.wiring.moderation_queue.page()]

    listed = (await comity("queue", "list", "--kind", "held"))[1].splitlines()
    assert len(listed) == 3
    assert "r-hold  @alice:one.test" in listed[0]
    shown = (await comity("queue", "show", str(first)))[1]
    assert '"body": "hold \\u001b[2J one"' in shown
    assert "released by command line" in (await comity("queue", "release", str(first)))[1]
    assert (await comity("queue", "release", str(first)))[0] == 1
    dropped = await comity("queue", "drop", "--sender", "@alice:one.test", "--note", "spam")
    assert dropped == (0, "drop: 1 items\n")
    assert (await comity("queue", "drop"))[0] == 2
    assert (await comity("queue", "resolve", str(third)))[0] == 1
    moderation = one.wiring.moderation_parts.moderation
    states = [(await moderation.item(n))[0].state for n in (first, second, third)]
    assert states == ["released", "dropped", "open"]
    assert "mxc://two.test/file" in (await comity("stripped"))[1]
    assert await comity("serve", "mxc://two.test/file") == (
        0,
        "served again: mxc://two.test/file\n",
    )
    assert await comity("stripped") == (0, "")
    await one.say(alice, room_id, "flag")
    assert await comity("queue", "resolve", "--rule", "r-flag") == (0, "resolve: 1 items\n")
    assert (await comity("queue", "list", "--kind", "flagged"))[1] == (
        "There is nothing in the queue.\n"
    )


async def test_one_reporter_cannot_fill_the_queue(one: Instance) -> None:
    queue = one.wiring.moderation_queue
    await one.wiring.database.execute(
        "INSERT INTO moderation_queue (kind, subject, reporter, created_at)"
        " SELECT 'report', n::text, 'evil.test', 1 FROM generate_series(1, $1) n",
        MOST_OF_REPORTER,
    )

    with pytest.raises(LimitExceeded):
        await queue.add("report", sender="@alice:one.test", reporter="evil.test")

    await queue.add("report", sender="@alice:one.test", reporter="@bob:one.test")
