"""What must not be seen, or must be gone, on every way of reading.

Each kind of event that some reader may not have is made in four shapes (a message, a reply in a
thread, an edit, a reference), all of which bear one secret word; then every way of reading is
tried, before and after a restart.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from homeserver.storage.database import Database
from tests.integration.reading_checks import check_client, check_instance, check_unread, seen
from tests.integration.reading_world import END, SECRET, World, begin, instance, named
from tests.integration.sliding import LEGACY
from tests.integration.test_account_deletion import places
from tests.integration.test_exports import export
from tests.integration.test_lying_peer import DAY_MS
from tests.integration.ways_of_reading import raw, sliding_body
from tests.integration.withheld_events import KINDS, Kind, redacted


@pytest.mark.parametrize("name", list(KINDS))
async def test_what_is_not_for_a_reader_is_on_no_way_of_reading(
    database: Database, tmp_path: Path, name: str
) -> None:
    kind = KINDS[name]
    wrong: list[str] = []
    with capture_logs() as lines:
        async with instance(database, tmp_path) as one:
            world = await begin(one)
            newcomer_kind = kind.reader == "carol"
            if not newcomer_kind:
                await world.peer.join(world.room_id)
                synced = await world.call(kind.reader, "GET", "/sync")
                world.since = synced["next_batch"]
                begun = sliding_body("early", 100)
                world.pos = (await world.call(kind.reader, "POST", LEGACY, begun))["pos"]
            waiting = None
            if kind.never:
                path = f"/sync?timeout=30000&since={world.since}"
                waiting = asyncio.create_task(follow(world, kind.reader, path))
            await kind.make(world, kind.who)
            if newcomer_kind:
                await world.peer.join(world.room_id)
                await world.join("carol")
            world.around = await world.say("dora", END)
            if waiting is not None:
                wrong += [f"sync, waiting: {found}" for found in seen(kind, world, await waiting)]
            wrong += await check_client(world, kind, kind.reader, way_of="first")
            wrong += await check_unread(world, kind, kind.reader)
            archive = await export(one, world.tokens[kind.reader])
            files = [n for n in archive.zip.namelist() if n.startswith("rooms/")]
            text = "".join(archive.text(n) for n in files)
            wrong += [f"export: {found}" for found in seen(kind, world, text)]
            assert END in text
            if kind.for_all:
                await world.join("newcomer")
                world.since, since = "", world.since
                wrong += await check_client(world, kind, "newcomer", way_of="newcomer")
                world.since = since
            wrong += await check_instance(world, kind)
            if kind.deleted:
                await one.wiring.ends.work_off()
                wrong += [f"database: {place}" for place in await places(database, SECRET)]
                wrong += [f"memory: {place}" for place in remembered(world)]
        async with instance(database, tmp_path) as one:
            world.one = world.peer.one = one
            wrong += await check_client(world, kind, kind.reader, way_of="restarted")
            wrong += await check_unread(world, kind, kind.reader)
            wrong += await check_instance(world, kind)
    for entry in lines:
        if SECRET in str(entry) or any(token in str(entry) for token in world.tokens.values()):
            wrong.append(f"logged: {entry}")
        if entry["log_level"] in ("error", "critical"):
            wrong.append(f"error: {entry}")

    assert not wrong, "\n".join(wrong)


async def follow(world: World, who: str, path: str) -> str:
    """All that a waiting client gets, up to the end."""
    got = ""
    while END not in got:
        answer = await world.call(who, "GET", path)
        got += str(answer)
        path = re.sub(r"since=[^&]*", f"since={answer['next_batch']}", path)
    return got


def remembered(world: World) -> list[str]:
    """Caches that keep what was deleted."""
    wiring = world.one.wiring
    found = []
    for event_id in world.secrets:
        stored = wiring.store._cache.get(event_id)
        if stored is not None and SECRET in str(stored.event.pdu):
            found.append("event store")
    if any(SECRET.encode() in shared for shared in wiring.reading.client_events._shared.values()):
        found.append("client events")
    room = wiring.reading.recent.room(world.room_id)
    if room is not None and any(SECRET in str(r.stored.event.pdu) for r in room.events):
        found.append("recent timeline")
    live = wiring.live_rooms.cached(world.room_id)
    if live is not None and any(SECRET in str(e.pdu) for e in live.extremities.values()):
        found.append("extremities")
    return found


async def test_state_that_was_redacted_is_redacted_for_all(
    database: Database, tmp_path: Path
) -> None:
    states = {"m.room.name": "name", "m.room.topic": "topic", "m.room.avatar": "url"}
    wrong: list[str] = []
    kind = Kind(redacted, ids=True, elsewhere="redacted")
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        for event_type, field_name in states.items():
            path = f"/rooms/{world.room_id}/state/{event_type}"
            answer = await world.call("dora", "PUT", path, {field_name: SECRET})
            event_id = answer["event_id"]
            undo = f"/rooms/{world.room_id}/redact/{event_id}/{field_name}"
            await world.call("dora", "PUT", undo, {})
        await world.call("alice", "PUT", "/profile/@alice:one.test/displayname", named(SECRET))
        member = f"/rooms/{world.room_id}/state/m.room.member/@alice:one.test"
        found = await world.call("alice", "GET", f"{member}?format=event")
        path = f"/rooms/{world.room_id}/redact/{found['event_id']}/member"
        await world.call("alice", "PUT", path, {})
        await world.call("alice", "PUT", "/profile/@alice:one.test/displayname", named("alice"))
        await world.peer.join(world.room_id)
        world.around = await world.say("dora", END)
        invited = await one.register("invited")
        path = f"/rooms/{world.room_id}/invite"
        await world.call("dora", "POST", path, {"user_id": "@invited:one.test"})

        for restarted in (False, True):
            wrong += await check_client(world, kind, "bob", way_of=f"restarted {restarted}")
            wrong += await check_instance(world, kind)
            world.tokens["invited"] = invited
            wrong += [w for w in (await raw(world, "invited", "/sync"),) if SECRET in w]
            wrong += [w for w in (await raw(world, "bob", "/publicRooms"),) if SECRET in w]
            live = await one.wiring.rooms.get(world.room_id)
            wrong += [f"live: {key}" for key, e in live._events.items() if SECRET in str(e.pdu)]
            one.wiring.live_rooms.drop(world.room_id)

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("refused", [{}, {"auth_events": []}])
async def test_what_is_kept_unshown_is_purged_as_well(
    database: Database, tmp_path: Path, refused: dict[str, Any]
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        now = await database.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        text = f"failme {SECRET}"
        old = world.peer.message(text, origin_server_ts=now - 2 * DAY_MS, **refused)
        event_id = await world.deliver(old)
        kept = await database.fetchval(
            "SELECT soft_failed OR rejected IS NOT NULL FROM events WHERE event_id = $1", event_id
        )

        path = f"/rooms/{world.room_id}/state/m.room.retention"
        await world.call("dora", "PUT", path, {"max_lifetime": DAY_MS})
        await one.wiring.ends.work_off()

        assert kept
        assert await places(database, SECRET) == set()
