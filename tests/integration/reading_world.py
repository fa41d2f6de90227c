"""A room of which some reader may not have all, and another instance that lies about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeserver.protocol.canonical import event_id_of as id_of
from homeserver.protocol.room_versions import V12
from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance, running
from tests.integration.test_lying_peer import DAY_MS, KEY, PEER, LyingPeer
from tests.integration.test_message_ends import eventually

SECRET, END = "xylophone", "the end"
QUEUE = "/_comity/admin/v1/moderation/queue"
OURS = "/_comity/client/v1"
SETTINGS: dict[str, Any] = {
    "federation": {
        "allow_private_networks": True,
        "private_zones": {"*.test": "127.0.0.1"},
        "timeout_seconds": 1,
    },
    "consent": {"cross_instance": "implied"},
    "policy": {
        "rules": [
            {"name": "r-strip", "match": {"keywords": ["stripme"]}, "action": "strip"},
            {"name": "r-hold", "match": {"keywords": ["holdme"]}, "action": "hold"},
            {
                "name": "r-fail",
                "match": {"keywords": ["failme"], "direction": "in"},
                "action": "soft_fail",
            },
        ]
    },
}
SOON = {"dev.comity.expires": {"after_ms": 1000}}
ONCE = {"dev.comity.view_once": True}


@dataclass
class World:
    """A room with somebody who speaks, somebody who reads, and the peer."""

    one: Instance
    peer: LyingPeer
    tokens: dict[str, str]
    room_id: str
    root: str
    since: str = ""
    pos: str = ""
    around: str = ""
    secrets: list[str] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.one.wiring.database

    async def call(self, who: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return await self.one.call(method, path, body, token=self.tokens[who])

    async def join(self, who: str) -> None:
        if who not in self.tokens:
            self.tokens[who] = await self.one.register(who)
        await self.call(who, "POST", f"/rooms/{self.room_id}/join", {})

    async def say(self, who: str, text: str, **content: Any) -> str:
        """A message of a user, or of the peer's; its ID, once it is on disk."""
        if who != "mallory":
            sent = await self.one.say(self.tokens[who], self.room_id, text, **content)
            return str(sent["event_id"])
        body = {"msgtype": "m.text", "body": text, **content}
        return await self.deliver(self.peer.message(text, content=body))

    async def deliver(self, pdu: dict[str, Any]) -> str:
        event_id = id_of(pdu, V12)
        status, answer = await self.peer.send(pdu)
        assert (status, answer["pdus"][event_id]) == (200, {})
        await eventually(lambda: self.stored(event_id))
        self.peer.tip = [event_id]
        return event_id

    async def stored(self, event_id: str) -> bool:
        query = "SELECT count(*) FROM events WHERE event_id = $1"
        return bool(await self.database.fetchval(query, event_id))

    async def speak(self, who: str, mark: str = "", **content: Any) -> None:
        """The secret in its four shapes."""
        original = await self.say(who, "an original")
        relations: list[dict[str, Any]] = [
            {},
            {"rel_type": "m.thread", "event_id": self.root},
            {"rel_type": "m.replace", "event_id": original},
            {"rel_type": "m.reference", "event_id": self.root},
        ]
        for relation in relations:
            extra: dict[str, Any] = {"m.relates_to": relation} if relation else {}
            if relation.get("rel_type") == "m.replace":
                extra["m.new_content"] = {"msgtype": "m.text", "body": SECRET}
            text = f"{mark} {SECRET}".strip()
            self.secrets.append(await self.say(who, text, **extra, **content))

    async def settle(self, condition: str) -> None:
        """Wait until all that is secret fulfils a condition in the database."""
        query = f"SELECT count(*) FROM events WHERE event_id = ANY($1) AND {condition}"

        async def all_are() -> bool:
            return bool(await self.database.fetchval(query, self.secrets) == len(self.secrets))

        await eventually(all_are)

    async def decide(self, action: str) -> None:
        body = {"rule": "r-hold", "note": "no"}
        done = await self.call("moderator", "POST", f"{QUEUE}/{action}", body)
        assert len(done["items"]) == len(self.secrets)


@asynccontextmanager
async def instance(database: Database, tmp_path: Path, **settings: Any) -> AsyncIterator[Instance]:
    settings = {**SETTINGS, "data_dir": str(tmp_path / "data"), **settings}
    async with running(database, tmp_path, **settings) as one:
        now = await database.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
        await save_keys(database, [key], None, direct=True)
        yield one


async def begin(one: Instance) -> World:
    names = ("dora", "alice", "bob", "moderator")
    tokens = {name: await one.register(name) for name in names}
    await one.wiring.accounts.set_admin("@moderator:one.test", True)
    room_id = await one.room(tokens["dora"], power_level_content_override={"redact": 0})
    root = (await one.say(tokens["dora"], room_id, "a root"))["event_id"]
    world = World(one, LyingPeer(one), tokens, room_id, root)
    for who in ("alice", "bob"):
        await world.join(who)
    return world


def named(name: str) -> dict[str, str]:
    return {"displayname": name}


async def history(world: World, *pdus: dict[str, Any]) -> None:
    """Have the instance fetch history, which the peer makes up."""
    backfill = world.one.wiring.backfill

    class Client:
        async def get(self, server: str, path: str, **_: Any) -> dict[str, Any]:
            return {"pdus": list(pdus)} if "/backfill/" in path else {}

    backfill._client = Client()  # type: ignore[assignment]
    await world.database.execute(
        "INSERT INTO backward_extremities (room_id, event_id, successor_id) VALUES ($1, $2, $3) "
        "ON CONFLICT DO NOTHING",
        world.room_id,
        "$" + "x" * 43,
        world.root,
    )
    await world.call("bob", "GET", f"/rooms/{world.room_id}/messages?dir=b&limit=100")
