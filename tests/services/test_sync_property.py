"""Whoever follows syncs and fills the gaps with history misses nothing and sees nothing twice."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import SyncFilter
from homeserver.services.sync_token import parse_timeline_token
from tests.services.reading_world import Client, ReadingWorld
from tests.services.test_timeline import messages

STEPS = 60
StateKey = tuple[str, str]


class Follower:
    """A client that keeps a timeline and a state for each room, as the spec has it do."""

    def __init__(self, client: Client, random: Random) -> None:
        self.client = client
        self.random = random
        self.timelines: dict[str, list[str]] = {}
        self.state: dict[str, dict[StateKey, str]] = {}

    async def sync(self) -> None:
        """One sync with a limit of its own; whatever is missing is fetched."""
        before = self.client.token
        self.client.filter = SyncFilter.parse(
            {"room": {"timeline": {"limit": self.random.randint(1, 8)}}}
        )
        self.client.use_state_after = self.random.random() < 0.5
        answer = await self.client.sync()
        for room_id, part in answer.get("rooms", {}).get("join", {}).items():
            await self._take(room_id, part, before)

    async def _take(self, room_id: str, part: JsonObject, before: str | None) -> None:
        timeline = part["timeline"]
        events = timeline["events"]
        if timeline["limited"]:
            stop = None
            if room_id in self.timelines and before is not None:
                stop = parse_timeline_token(before)
            events = await self._gap(room_id, timeline["prev_batch"], stop) + events
        self.timelines.setdefault(room_id, []).extend(event["event_id"] for event in events)
        state = self.state.setdefault(room_id, {})
        apply(state, part.get("state", part.get("state_after"))["events"])
        if "state" in part:
            apply(state, timeline["events"])

    async def _gap(self, room_id: str, token: str, stop: int | None) -> list[JsonObject]:
        found: list[JsonObject] = []
        point: int | None = parse_timeline_token(token)
        while point is not None:
            page = await messages(
                self.client, room_id, start=point, stop=stop, limit=self.random.randint(1, 9)
            )
            found += page["chunk"]
            point = parse_timeline_token(page["end"]) if "end" in page else None
        return found[::-1]


def apply(state: dict[StateKey, str], events: list[JsonObject]) -> None:
    """Put state events in their places."""
    for event in events:
        if "state_key" in event:
            state[(event["type"], event["state_key"])] = event["event_id"]


@pytest.mark.parametrize("seed", range(10))
async def test_following_syncs_gives_every_event_once_and_in_order(
    world: ReadingWorld, seed: int
) -> None:
    random = Random(seed)
    sender = await world.client("sender")
    followers = [Follower(await world.client(f"reader{n}"), random) for n in range(2)]
    rooms = [await world.room(sender.user_id, preset="public_chat") for _ in range(2)]
    for room_id in rooms:
        for follower in followers:
            await world.membership.join(follower.client.user_id, room_id)

    async def act(step: int) -> None:
        room_id = random.choice(rooms)
        match random.choice(("say", "say", "burst", "state", "sync", "sync", "restart")):
            case "say":
                await sender.say(room_id, str(step))
            case "burst":
                count = random.randint(2, 15)
                await asyncio.gather(*(sender.say(room_id, f"{step} {n}") for n in range(count)))
            case "state":
                key = str(random.randint(1, 3))
                await sender.set_state(room_id, "org.example", {"step": step}, key)
            case "sync":
                await random.choice(followers).sync()
            case "restart":
                world.forget_memory()

    for step in range(STEPS):
        if random.random() < 0.3:
            await asyncio.gather(act(step), sender.say(random.choice(rooms), f"beside {step}"))
        else:
            await act(step)
    for follower in followers:
        await follower.sync()
        for room_id in rooms:
            rows = await world.database.fetch(
                "SELECT event_id FROM events WHERE room_id = $1 ORDER BY timeline_order", room_id
            )
            room = await world.rooms.get(room_id)
            assert follower.timelines[room_id] == [row["event_id"] for row in rows]
            assert follower.state[room_id] == room.state
