"""Who follows syncs has in the end the picture of who begins anew, whatever happens to them."""

from __future__ import annotations

import os
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from homeserver.errors import MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.services.rooms import Draft
from tests.services.reading_world import Client, ReadingWorld

STEPS = 50
SEEDS = int(os.environ.get("COMITY_SYNC_SEEDS", "6"))
StateKey = tuple[str, str]


class Picture:
    """What a client makes of the answers that it gets, as the specification has it do."""

    def __init__(self) -> None:
        self.state: dict[str, dict[StateKey, str]] = {}
        self.summary: dict[str, JsonObject] = {}
        self.counts: dict[str, Any] = {}
        self.account_data: dict[tuple[str, str], JsonObject] = {}
        self.invited: set[str] = set()
        self.knocked: set[str] = set()

    def take(self, answer: JsonObject) -> None:
        """One more answer."""
        rooms = answer.get("rooms", {})
        for event in answer.get("account_data", {}).get("events", ()):
            self.account_data[("", event["type"])] = event["content"]
        for room_id, part in rooms.get("join", {}).items():
            self._joined(room_id, part)
        for room_id in rooms.get("leave", ()):
            self._gone(room_id)
        for section, place in (("invite", self.invited), ("knock", self.knocked)):
            for room_id in rooms.get(section, ()):
                self._gone(room_id)
                place.add(room_id)

    def _joined(self, room_id: str, part: JsonObject) -> None:
        if room_id not in self.state:
            self._gone(room_id)
        state = self.state.setdefault(room_id, {})
        after = "state_after" in part
        lists = [part["state_after"]] if after else [part["state"], part["timeline"]]
        for event in (event for events in lists for event in events["events"]):
            if "state_key" in event:
                state[(event["type"], event["state_key"])] = event["event_id"]
        self.summary.setdefault(room_id, {}).update(part["summary"])
        self.counts[room_id] = part["unread_notifications"]
        for event in part["account_data"]["events"]:
            self.account_data[(room_id, event["type"])] = event["content"]

    def _gone(self, room_id: str) -> None:
        self.state.pop(room_id, None)
        self.summary.pop(room_id, None)
        self.counts.pop(room_id, None)
        self.invited.discard(room_id)
        self.knocked.discard(room_id)
        for key in [key for key in self.account_data if key[0] == room_id]:
            del self.account_data[key]


class Course:
    """Things that happen to a reader, by chance."""

    def __init__(self, world: ReadingWorld, random: Random, owner: Client, reader: Client) -> None:
        self.world, self.random, self.owner, self.reader = world, random, owner, reader
        self.rooms: list[str] = []
        self.third = world.user("third")

    async def step(self, number: int) -> None:
        """One of them; what cannot be just now does not happen."""
        room_id = self.random.choice(self.rooms)
        membership, owner = self.world.membership, self.owner
        who = self.random.choice([self.reader.user_id, self.reader.user_id, self.third])
        with suppress(MatrixError):
            match self.random.randrange(13):
                case 0 | 1 | 2:
                    await owner.say(room_id, f"message {number}")
                case 3:
                    await owner.set_state(room_id, "m.room.topic", {"topic": str(number)})
                case 4:
                    name = self.random.choice([{}, {"name": f"name {number}"}])
                    await owner.set_state(room_id, "m.room.name", name)
                case 5:
                    await membership.join(who, room_id)
                case 6:
                    await membership.leave(who, room_id)
                case 7:
                    await membership.invite(owner.user_id, room_id, who)
                case 8:
                    await membership.kick(owner.user_id, room_id, who, "")
                case 9:
                    standing = self.random.choice(["ban", "leave"])
                    content = {"membership": standing}
                    draft = Draft(owner.user_id, "m.room.member", content, who)
                    await self.world.rooms.send_state(room_id, draft)
                case 10:
                    await self.world.account_data.put_managed(
                        self.reader.user_id, "x", {"n": number}, room_id=room_id
                    )
                case 11:
                    await membership.forget(self.reader.user_id, room_id)
                case 12:
                    self.world.forget_memory()


def filter_of(random: Random, lazily: bool) -> JsonObject:
    """A filter of timelines that leaves out this or that."""
    timeline: JsonObject = {"limit": random.choice([0, 1, 3, 20])}
    if random.random() < 0.3:
        timeline["types"] = ["m.room.message"]
    return {"room": {"timeline": timeline, "state": {"lazy_load_members": lazily}}}


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_who_follows_syncs_sees_what_a_new_client_sees(
    world: ReadingWorld, seed: int, lazily: bool
) -> None:
    random = Random(seed)
    owner, reader = await world.client("owner"), await world.client("reader")
    anew = await world.client("reader", "NEW")
    course = Course(world, random, owner, reader)
    course.rooms = [await world.room(owner.user_id, preset="public_chat") for _ in range(3)]
    picture = Picture()

    for number in range(STEPS):
        await course.step(number)
        if random.random() < 0.4:
            reader.filter = reader.filter.parse(filter_of(random, lazily))
            reader.use_state_after = random.random() < 0.5
            picture.take(await reader.sync())
    picture.take(await reader.sync())
    whole = Picture()
    whole.take(await anew.sync())

    assert picture.invited == whole.invited
    assert picture.counts == whole.counts
    assert picture.state.keys() == whole.state.keys()
    for room_id, state in whole.state.items():
        known = picture.state[room_id]
        if lazily:  # some members are not there, but none is another than it is
            expected = {k: v for k, v in state.items() if k[0] != "m.room.member" or k in known}
        else:
            expected = state
        assert known == expected
        summary = picture.summary[room_id]
        assert summary.items() >= whole.summary[room_id].items()
    in_rooms = {k: v for k, v in picture.account_data.items() if k[0] in ("", *whole.state)}
    assert in_rooms == {k: v for k, v in whole.account_data.items() if k[0] in ("", *whole.state)}
