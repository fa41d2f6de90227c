"""Whoever follows sliding sync, whatever gets lost on the way, has what a new connection shows."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running
from tests.integration.sliding import SlidingClient

STEPS = 70
WHAT = ("act", "act", "act", "look", "sync", "sync", "lose", "forget")
READER = "@reader:one.test"
STATES: dict[str, tuple[list[list[str]], dict[str, Any]]] = {
    "none": ([], {}),
    "topic": ([["m.room.topic", ""]], {"include": [{"type": "m.room.topic"}]}),
    "own": ([["dev.test", "*"]], {"include": [{"type": "dev.test"}]}),
    "lazy": (
        [["*", "*"], ["m.room.member", "$LAZY"]],
        {"include": [{}], "lazy_members": True},
    ),
    "all": ([["*", "*"]], {"include": [{}]}),
}
SCALARS = ("name", "avatar", "joined_count", "invited_count", "bump_stamp", "membership", "is_dm")


class Follower:
    """A client that keeps a picture of its rooms."""

    def __init__(self, client: SlidingClient, random: Random) -> None:
        self.client = client
        self.random = random
        self.rooms: dict[str, dict[str, Any]] = {}
        self.account_data: dict[tuple[str, str], Any] = {}
        self.receipts: dict[tuple[str, str], str] = {}

    def look(self, last: int, limit: int, state: str, *, subscribed: str | None = None) -> None:
        """Say what is wanted."""
        pairs, patterns = STATES[state]
        wanted: Any = pairs if self.client.legacy else patterns
        self.client.list("all", last, limit=limit, state=wanted)
        self.client.body.pop("room_subscriptions", None)
        if subscribed is not None:
            self.client.subscribe(subscribed, limit=self.random.randint(1, 12), state=wanted)

    async def sync(self, *, lose: bool = False) -> None:
        """One request, whose answer may not come."""
        answer = await self.client.sync(lose=lose)
        if lose:
            return
        for room_id, part in answer["rooms"].items():
            self._take(room_id, part)
        data = answer["extensions"].get("account_data", {})
        for room_id, events in {"": data.get("global", []), **data.get("rooms", {})}.items():
            for event in events:
                self.account_data[(room_id, event["type"])] = event["content"]
        for room_id, event in answer["extensions"].get("receipts", {}).get("rooms", {}).items():
            for event_id, kinds in event["content"].items():
                for user_id in kinds.get("m.read", {}):
                    self.receipts[(room_id, user_id)] = event_id

    def _take(self, room_id: str, part: dict[str, Any]) -> None:
        if part.get("initial"):
            self.rooms.pop(room_id, None)
        room = self.rooms.setdefault(room_id, {"state": {}, "timeline": []})
        for key in SCALARS:
            if key in part:
                room[key] = part[key]
        if part.get("name"):
            room.pop("heroes", None)
        if "heroes" in part:
            room["heroes"] = part["heroes"]
        for event in part.get("required_state", ()):
            room["state"][(event["type"], event["state_key"])] = event["event_id"]
        events = [event["event_id"] for event in part.get("timeline", ())]
        expanded = part.get("expanded_timeline") or part.get("unstable_expanded_timeline")
        if part.get("limited") or expanded:
            room["timeline"] = []
        assert not set(events) & set(room["timeline"])  # nothing comes twice
        room["timeline"] += events


class Hubbub:
    """People who do things in rooms."""

    def __init__(self, one: Instance, random: Random, tokens: dict[str, str]) -> None:
        self.one = one
        self.random = random
        self.sender, self.reader = tokens["sender"], tokens["reader"]
        self.rooms: list[str] = []

    async def act(self) -> None:
        """Something happens."""
        room = self.random.choice(self.rooms)
        deeds: list[Callable[[str, int], Awaitable[object]]] = [
            self.say,
            self.say,
            self.burst,
            self.set_state,
            self.set_state,
            self.rename,
            self.mark,
            self.come,
            self.go,
            self.kick,
            self.found,
            self.read,
        ]
        await self.random.choice(deeds)(room, self.random.randint(0, 99))

    async def say(self, room: str, number: int) -> None:
        await self.one.say(self.sender, room, str(number))

    async def burst(self, room: str, number: int) -> None:
        for _ in range(2 + number % 8):
            await self.say(room, number)

    async def set_state(self, room: str, number: int) -> None:
        kind, key, content = self.random.choice(
            [
                ("m.room.topic", "", {"topic": str(number)}),
                ("m.room.name", "", {"name": str(number)} if number % 3 else {}),
                ("dev.test", str(number % 3), {"n": number}),
            ]
        )
        path = f"/rooms/{room}/state/{kind}/{key}"
        await self.one.call("PUT", path, content, token=self.sender)

    async def rename(self, _room: str, number: int) -> None:
        path = "/profile/@sender:one.test/displayname"
        await self.one.call("PUT", path, {"displayname": str(number)}, token=self.sender)

    async def mark(self, room: str, number: int) -> None:
        path, me = f"rooms/{room}/tags/u.{number}", f"/user/{READER}"
        content: dict[str, Any] = {}
        if number % 2:
            path = "account_data/m.direct"
            content = {"@sender:one.test": self.random.sample(self.rooms, 2)}
        await self.one.call("PUT", f"{me}/{path}", content, token=self.reader)

    async def come(self, room: str, _number: int) -> None:
        await self.one.call("POST", f"/join/{room}", {}, token=self.reader)

    async def go(self, room: str, _number: int) -> None:
        await self.ask(f"/rooms/{room}/leave", self.reader)

    async def kick(self, room: str, number: int) -> None:
        await self.ask(f"/rooms/{room}/kick", self.sender, user_id=READER)
        if number % 2:
            await self.ask(f"/rooms/{room}/invite", self.sender, user_id=READER)

    async def found(self, _room: str, _number: int) -> None:
        self.rooms.append(await self.one.room(self.sender, invite=[READER]))

    async def read(self, room: str, _number: int) -> None:
        sent = await self.one.say(self.sender, room, "read")
        path = f"/rooms/{room}/receipt/m.read/{sent['event_id']}"
        await self.one.call("POST", path, {}, token=self.sender)

    async def ask(self, path: str, token: str, **body: str) -> None:
        """A request that may be refused, as when somebody has left already."""
        headers = {"Authorization": f"Bearer {token}"}
        url = f"/_matrix/client/v3{path}"
        async with self.one.client.post(url, json=body, headers=headers) as response:
            assert response.status in (200, 400, 403)


async def forget(one: Instance, random: Random) -> None:
    """As if the server had been stopped in order, or only what is hot were in memory."""
    connections = one.wiring.sliding.connections
    await connections.put_away(list(connections._kept))
    if random.random() < 0.5:
        one.wiring.sliding.sync._rooms._users.clear()


@pytest.mark.parametrize("seed", range(4))
async def test_who_follows_has_what_a_new_connection_shows(
    database: Database, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    async with running(database, tmp_path) as one:
        tokens = {name: await one.register(name) for name in ("sender", "reader")}
        hubbub = Hubbub(one, random, tokens)
        for _ in range(5):
            hubbub.rooms.append(await one.room(tokens["sender"]))
            await one.call("POST", f"/join/{hubbub.rooms[-1]}", {}, token=tokens["reader"])
        client = SlidingClient(one, tokens["reader"], legacy=seed % 2 == 0)
        client.extend("account_data")
        client.extend("receipts")
        follower = Follower(client, random)
        follower.look(2, 2, "topic")

        for _ in range(STEPS):
            match random.choice(WHAT):
                case "act":
                    await hubbub.act()
                case "look":
                    subscribed = random.choice(hubbub.rooms) if random.random() < 0.3 else None
                    follower.look(
                        random.randint(0, 6),
                        random.randint(1, 8),
                        random.choice(list(STATES)),
                        subscribed=subscribed,
                    )
                case "sync":
                    await follower.sync()
                case "lose":
                    await follower.sync(lose=True)
                case "forget":
                    await forget(one, random)
        follower.look(99, 15, "all")
        await follower.sync()
        fresh = Follower(
            SlidingClient(
                one, tokens["reader"], legacy=client.legacy, conn_id=secrets.token_hex(4)
            ),
            random,
        )
        fresh.client.extend("account_data")
        fresh.client.extend("receipts")
        fresh.look(99, 15, "all")
        await fresh.sync()

        assert fresh.rooms.keys() <= follower.rooms.keys()
        for room_id, shown in fresh.rooms.items():
            known = follower.rooms[room_id]
            assert known["timeline"][-len(shown["timeline"]) :] == shown["timeline"]
            assert shown["state"].items() <= known["state"].items()
            keys = (*SCALARS, "heroes")
            if shown["membership"] in ("leave", "ban"):  # who is in it is not told any more
                keys = ("name", "avatar", "bump_stamp", "membership")
            for key in keys:
                assert (known.get(key) or None) == (shown.get(key) or None), (key, room_id)
        for room_id in follower.rooms.keys() - fresh.rooms.keys():
            assert follower.rooms[room_id]["membership"] in ("leave", "ban")
        shown_data = {k: v for k, v in fresh.account_data.items() if k[1] != "m.push_rules"}
        assert shown_data.items() <= follower.account_data.items()
        assert fresh.receipts.items() <= follower.receipts.items()
        await follower.sync()
