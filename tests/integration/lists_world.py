"""An instance that follows a policy room of its own, and a peer to be judged by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from homeserver.storage.database import Database
from homeserver.storage.server_keys import ServerKey, save_keys
from tests.integration.single import Instance
from tests.integration.test_lying_peer import DAY_MS, KEY, PEER, LyingPeer, World

API = "/_comity/admin/v1/policy/lists"
NAME = "#bans:one.test"


class Lists:
    """An instance that follows a room of its own, and what its admin does."""

    def __init__(self, one: Instance, database: Database, root: str, room_id: str) -> None:
        self.one, self.database, self.root, self.room_id = one, database, root, room_id

    async def rule(self, kind: str, key: str, content: dict[str, Any]) -> str:
        path = f"/rooms/{self.room_id}/state/{kind}/{quote(key, safe='')}"
        answer = await self.one.call("PUT", path, content, token=self.root)
        event_id: str = answer["event_id"]
        return event_id

    async def ban(self, kind: str, entity: str, reason: str = "spam") -> str:
        content = {"entity": entity, "recommendation": "m.ban", "reason": reason}
        return await self.rule(f"m.policy.rule.{kind}", f"rule:{entity}", content)

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.one.call(method, API + path, body, token=self.root, status=status)

    async def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.ask("GET", ""))["lists"][0]
        return found

    async def preview(self, name: str = NAME) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("GET", f"/preview?list={quote(name, safe='')}")
        return found

    async def apply(self, **more: Any) -> None:
        await self.ask("POST", "/apply", {"list": NAME, **more})

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> None:
        await until(condition)

    async def drafted(self, count: int) -> None:
        async def reached() -> bool:
            draft = (await self.summary())["draft"]
            return bool(draft["added"] + draft["removed"] == count)

        await self.until(reached)

    async def in_effect(self, count: int) -> None:
        async def reached() -> bool:
            return bool((await self.summary())["in_effect"] == count)

        await self.until(reached)


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait for something."""
    async with asyncio.timeout(20):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


def settings(**policy: Any) -> dict[str, Any]:
    return {
        "federation": {
            "allow_private_networks": True,
            "private_zones": {"*.test": "127.0.0.1"},
            "timeout_seconds": 1,
        },
        "consent": {"cross_instance": "implied"},
        "policy": {"lists": [{"room": NAME, **policy}]},
    }


async def set_up(one: Instance, database: Database) -> tuple[Lists, World]:
    """The list's room, and a room that the peer has joined."""
    now = time.time_ns() // 1_000_000
    key = ServerKey(PEER, KEY.key_id, KEY.verify_key.data, now + DAY_MS, None, now)
    await save_keys(database, [key], None, direct=True)
    root = await one.register("root")
    await one.wiring.accounts.set_admin("@root:one.test", True)
    alice = await one.register("alice")
    room_id = await one.room(root, room_alias_name="bans", name="Bans of one")
    peer = LyingPeer(one)
    await peer.join(await one.room(alice))
    lists = Lists(one, database, root, room_id)

    async def followed() -> bool:
        return (await lists.summary())["read_at"] is not None

    await lists.until(followed)
    return lists, World(one, peer, alice)
