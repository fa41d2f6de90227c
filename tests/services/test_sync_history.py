"""What a sync shows of a room and what lies before it are together the room's history.

Whoever takes the timelines of their syncs, and asks for history where they are limited, has all
that the history of the room shows them; whatever happened to their membership and the visibility.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import SyncFilter
from homeserver.services.sync_token import parse_timeline_token
from tests.services.reading_world import Client, ReadingWorld
from tests.services.test_sync_picture import Course
from tests.services.test_timeline import messages

STEPS = 60
SEEDS = int(os.environ.get("COMITY_SYNC_SEEDS", "8"))
VISIBILITIES = ("joined", "invited", "shared", "world_readable")


async def history(client: Client, room_id: str, start: int | None = None) -> list[str]:
    """All that a reader finds before a point of a room, or before its end, the oldest first."""
    found: list[str] = []
    while True:
        page = await messages(client, room_id, start=start, limit=100)
        found += [event["event_id"] for event in page["chunk"]]
        if "end" not in page:
            return found[::-1]
        start = parse_timeline_token(page["end"])


class Book:
    """What a client has of each room, as it says of itself."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pages: dict[str, set[str]] = {}

    async def take(self, answer: JsonObject) -> None:
        """One more answer, which has to go on where the last one ended."""
        rooms = answer.get("rooms", {})
        for section in ("leave", "invite", "knock"):
            for room_id in rooms.get(section, ()):
                self.pages.pop(room_id, None)
        for room_id, part in rooms.get("join", {}).items():
            await self._joined(room_id, part["timeline"])

    async def _joined(self, room_id: str, timeline: JsonObject) -> None:
        shown = [event["event_id"] for event in timeline["events"]]
        whole = await history(self.client, room_id)
        before = whole[: len(whole) - len(shown)]
        assert before + shown == whole
        earlier = await history(self.client, room_id, parse_timeline_token(timeline["prev_batch"]))
        if shown or timeline["limited"]:
            assert earlier == before
        if timeline["limited"]:
            self.pages[room_id] = set(before)
        known = self.pages.setdefault(room_id, set())
        assert set(before) <= known
        known.update(shown)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_timelines_and_the_history_before_them_leave_nothing_out(
    world: ReadingWorld, seed: int
) -> None:
    random = Random(seed)
    owner, reader = await world.client("owner"), await world.client("reader")
    course = Course(world, random, owner, reader)
    course.rooms = [await world.room(owner.user_id, preset="public_chat") for _ in range(2)]
    book = Book(reader)

    for number in range(STEPS):
        if random.random() < 0.1:
            content = {"history_visibility": random.choice(VISIBILITIES)}
            room_id = random.choice(course.rooms)
            await owner.set_state(room_id, "m.room.history_visibility", content)
        await course.step(number)
        if random.random() < 0.4:
            limit = {"limit": random.choice([0, 1, 3, 20])}
            reader.filter = SyncFilter.parse({"room": {"timeline": limit}})
            before = reader.token
            answer = await reader.sync(full_state=random.random() < 0.1)
            if random.random() < 0.1:
                reader.token = before  # it got lost on the way
            else:
                await book.take(answer)
