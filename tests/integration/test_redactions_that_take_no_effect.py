"""Redactions by who may not redact, and state that only the present state of a room forbids.

Spec: room version 3, handling redactions; server-server API, soft failure.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.storage.database import Database
from tests.integration.reading_checks import check_client
from tests.integration.reading_world import END, SECRET, World, begin, history, instance
from tests.integration.test_lying_peer import MALLORY, PEER
from tests.integration.ways_of_reading import ask, read_as_client
from tests.integration.withheld_events import Kind

MARY = f"@mary:{PEER}"
LEVELS = {"users": {}, "redact": 50, "events": {}}


async def set_levels(world: World, **changes: Any) -> None:
    path = f"/rooms/{world.room_id}/state/m.room.power_levels"
    await world.call("dora", "PUT", path, {**LEVELS, **changes})


def redaction(world: World, event_id: str) -> dict[str, Any]:
    content = {"redacts": event_id, "reason": SECRET}
    return world.peer.message("", type="m.room.redaction", content=content)


async def never(world: World, who: str) -> None:
    """Nothing: the kind is made beforehand."""


@pytest.mark.parametrize("fetched", [False, True])
async def test_a_redaction_without_power_is_shown_to_nobody(
    database: Database, tmp_path: Path, fetched: bool
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        await set_levels(world)
        world.since = (await world.call("bob", "GET", "/sync"))["next_batch"]
        said = await world.say("alice", "mine to take back")
        powerless = redaction(world, said)

        if fetched:
            await history(world, powerless)
        else:
            await world.deliver(powerless)
        world.around = await world.say("dora", END)

        world.secrets = [id_of(powerless, V12)]
        wrong = await check_client(world, Kind(never, "mallory", never=True), "bob", way_of="")
        assert not wrong, "\n".join(wrong)
        event = await world.call("bob", "GET", f"/rooms/{world.room_id}/event/{said}")
        assert event["content"]["body"] == "mine to take back"


async def test_a_redaction_with_power_is_shown(database: Database, tmp_path: Path) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        await set_levels(world, users={MALLORY: 50})
        world.since = (await world.call("bob", "GET", "/sync"))["next_batch"]
        said = await world.say("alice", "hers to take back")

        await world.deliver(redaction(world, said))
        world.around = await world.say("dora", END)

        answers = await read_as_client(world, "bob")
        assert SECRET in answers["sync, late"][1]
        assert not [way for way, (_, text) in answers.items() if "hers to take back" in text]


@pytest.mark.parametrize("stands", [True, False], ids=["set-then-left", "left-then-set"])
async def test_state_that_only_the_present_forbids_takes_part_in_resolution(
    database: Database, tmp_path: Path, stands: bool
) -> None:
    """Mallory sets the topic and leaves, side by side; her leave comes first.  The topic is no
    news to anybody, but once something is said on top of both, all instances come to the same
    state: the earlier of the two by `origin_server_ts` is applied first."""
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        peer = world.peer
        await set_levels(world, events={"m.room.topic": 0})
        await peer.join(world.room_id)
        power, mallory = peer.auths
        mary = await join_as(world, MARY)
        peer.auths = [power, mallory]
        now = time.time_ns() // 1_000_000
        topic = peer.message(
            "",
            type="m.room.topic",
            state_key="",
            content={"topic": "late"},
            origin_server_ts=now if stands else now + 2,
        )
        leave = peer.message(
            "",
            type="m.room.member",
            state_key=MALLORY,
            content={"membership": "leave"},
            origin_server_ts=now + 1,
        )
        topic_id, leave_id = id_of(topic, V12), id_of(leave, V12)

        await world.deliver(leave)
        await world.deliver(topic)
        before = await topic_of(world)
        peer.tip, peer.auths = [leave_id, topic_id], [power, mary]
        await world.deliver(peer.message("on top of both", sender=MARY))

        stored = "SELECT soft_failed FROM events WHERE event_id = $1"
        assert await database.fetchval(stored, topic_id)
        assert before is None
        assert await topic_of(world) == (topic_id if stands else None)
        status, shown = await ask(world, "bob", "GET", f"/rooms/{world.room_id}/state/m.room.topic")
        assert status == (200 if stands else 404)
        assert ("late" in shown) == stands


async def join_as(world: World, user_id: str) -> str:
    """Another user of the peer's joins; the join's ID."""
    base, peer = "/_matrix/federation", world.peer
    room = quote(world.room_id, safe="")
    path = f"{base}/v1/make_join/{room}/{quote(user_id, safe='')}?ver=12"
    status, answer = await peer.ask("GET", path)
    assert status == 200, answer
    join = peer.finished({**answer["event"], "origin_server_ts": time.time_ns() // 1_000_000})
    event_id = id_of(join, V12)
    path = f"{base}/v2/send_join/{room}/{quote(event_id, safe='')}"
    assert (await peer.ask("PUT", path, join))[0] == 200
    peer.tip, peer.depth = [event_id], join["depth"]
    return event_id


async def topic_of(world: World) -> str | None:
    room = await world.one.wiring.rooms.get(world.room_id)
    return room.state.get(("m.room.topic", ""))
