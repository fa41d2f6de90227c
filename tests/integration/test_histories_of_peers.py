"""What must not be seen is not brought back by the history that another instance gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.storage.database import Database
from tests.integration.reading_checks import check_client, check_instance
from tests.integration.reading_world import END, QUEUE, SECRET, World, begin, history, instance
from tests.integration.ways_of_reading import raw
from tests.integration.withheld_events import Kind, redacted, rejected, soft_failed


async def test_fetched_history_is_found_by_a_search(database: Database, tmp_path: Path) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        await history(world, world.peer.message("a late arrival"))
        await one.wiring.conversations.finding.indexer.follower.caught_up()

        page = orjson.loads(await raw(world, "bob", "/api/v1/search/messages?query=late"))

        assert [item["message"]["text"] for item in page["items"]] == ["a late arrival"]


@pytest.mark.parametrize("make", [soft_failed, rejected])
async def test_fetched_history_brings_back_nothing_that_is_kept_unshown(
    database: Database, tmp_path: Path, make: Callable[[World, str], Awaitable[None]]
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        await world.peer.join(world.room_id)
        world.since = (await world.call("bob", "GET", "/sync"))["next_batch"]
        await make(world, "mallory")
        world.around = await world.say("dora", END)
        query = "SELECT pdu FROM events WHERE event_id = ANY($1)"
        rows = await database.fetch(query, world.secrets)

        await history(world, *(orjson.loads(row["pdu"]) for row in rows))

        wrong = await check_client(world, Kind(make, "mallory"), "bob", way_of="fetched")
        assert not wrong, "\n".join(wrong)


async def test_fetched_history_passes_the_same_rules(database: Database, tmp_path: Path) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        peer = world.peer
        await peer.join(world.room_id)
        world.around = await world.say("dora", END)
        held_back, failed, fine, redacted_later = (
            peer.message(text) for text in ("holdme", "failme", "fine", "take this back")
        )
        not_allowed = peer.message("without a join", auth_events=peer.auths[:-1])
        powerless = peer.message("", type="m.room.topic", state_key="", content={"topic": "mine"})
        back = id_of(redacted_later, V12)
        redaction = peer.message("", type="m.room.redaction", content={"redacts": back})
        await one.call(
            "PUT",
            f"/rooms/{world.room_id}/state/m.room.power_levels",
            {"users": {}, "redact": 50, "events": {}},
            token=world.tokens["dora"],
        )
        theirs = peer.message("", type="m.room.redaction", content={"redacts": world.root})

        await history(world, held_back, failed, fine, not_allowed, powerless, redaction, theirs)
        before = await one.texts(world.tokens["bob"], world.room_id)
        await history(world, redacted_later)
        after = await one.texts(world.tokens["bob"], world.room_id)

        assert sorted(before) == sorted(["fine", "a root", END])
        assert after == before
        state = await raw(world, "bob", f"/rooms/{world.room_id}/messages?dir=b&limit=100")
        assert "mine" not in state
        items = (await world.call("moderator", "GET", f"{QUEUE}?kind=held"))["items"]
        assert [item["event_id"] for item in items] == [id_of(held_back, V12)]
        event = await world.call("bob", "GET", f"/rooms/{world.room_id}/event/{back}")
        assert event["unsigned"]["redacted_because"]["event_id"] == id_of(redaction, V12)
        path = f"{QUEUE}/{items[0]['item_id']}/release"
        await world.call("moderator", "POST", path, {})
        released = await one.texts(world.tokens["bob"], world.room_id)
        assert sorted(released) == sorted([*before, "holdme"])


async def test_a_redaction_that_comes_first_redacts_what_comes_later(
    database: Database, tmp_path: Path
) -> None:
    async with instance(database, tmp_path) as one:
        world = await begin(one)
        peer = world.peer
        await peer.join(world.room_id)
        late = peer.message(SECRET)
        late_id = id_of(late, V12)
        content = {"redacts": late_id}
        redaction = await world.deliver(peer.message("", type="m.room.redaction", content=content))

        await world.deliver(late)
        world.around = await world.say("dora", END)

        world.secrets = [late_id]
        kind = Kind(redacted, "mallory", ids=True, elsewhere="redacted")
        wrong = await check_client(world, kind, "bob", way_of="late")
        wrong += await check_instance(world, kind)
        assert not wrong, "\n".join(wrong)
        event = await world.call("bob", "GET", f"/rooms/{world.room_id}/event/{late_id}")
        assert event["unsigned"]["redacted_because"]["event_id"] == redaction
