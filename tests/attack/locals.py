"""People of the instance under attack: plain clients that go on syncing and talking."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.harness import Homeserver, RawClient

PAUSE_SECONDS = 0.06  # within the default rate of messages
LONG_POLL_MS = 10_000


@dataclass
class Local:
    """One user: what their client was told, in the order in which it came."""

    client: RawClient
    texts: list[str] = field(default_factory=list)
    invites: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def user_id(self) -> str:
        """Their user ID."""
        return self.client.user_id

    @classmethod
    async def arrive(cls, name: str, server: Homeserver, session: aiohttp.ClientSession) -> Self:
        """A new account."""
        client = RawClient(session, server.client_url)
        await client.register(name)
        return cls(client)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Sync until the block ends."""
        first = await self.sync(None, 0)
        task = asyncio.create_task(self._listen(first["next_batch"]))
        try:
            yield self
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self, since: str) -> None:
        while True:
            answer = await self.sync(since, LONG_POLL_MS)
            since = answer["next_batch"]
            self._take(answer.get("rooms", {}))

    def _take(self, rooms: dict[str, Any]) -> None:
        for room_id, room in rooms.get("invite", {}).items():
            self.invites[room_id] = room["invite_state"]["events"]
        for room_id, room in rooms.get("join", {}).items():
            counts = room.get("unread_notifications", {})
            self.unread[room_id] = counts.get("notification_count", 0)
            for event in room.get("timeline", {}).get("events", ()):
                if event["type"] == "m.room.message" and "body" in event["content"]:
                    self.texts.append(event["content"]["body"])

    async def sync(self, since: str | None, timeout_ms: int) -> dict[str, Any]:
        """One sync."""
        filters = {"room": {"timeline": {"limit": 500}}}
        query: dict[str, Any] = {"timeout": timeout_ms, "filter": json.dumps(filters)}
        if since is not None:
            query["since"] = since
        return await self.client.call("GET", "sync", query=query)

    async def talk(self, room_id: str, over: asyncio.Event, least: int = 50) -> None:
        """Say one thing after another until the attack is over."""
        while not over.is_set() or len(self.said) < least:
            text = f"{self.user_id} {len(self.said)}"
            await self.client.send(room_id, text)
            self.said.append(text)
            await asyncio.sleep(PAUSE_SECONDS)

    def heard_from(self, speaker: str) -> list[str]:
        """What they heard of somebody, in the order in which it came."""
        return [text for text in self.texts if text.startswith(f"{speaker} ")]

    async def hears(self, text: str) -> None:
        """Wait until something has come; whatever else came is judged by the test."""
        async with asyncio.timeout(60):
            while text not in self.texts:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def shown(self) -> tuple[set[str], int]:
        """The rooms to which a new client would see them invited, and how many requests wait."""
        first = await self.sync(None, 0)
        url = f"{self.client.base_url}/_comity/client/v1/requests"
        headers = {"Authorization": f"Bearer {self.client.access_token}"}
        async with self.client.session.get(url, headers=headers) as response:
            requests = (await response.json())["requests"]
        return set(first.get("rooms", {}).get("invite", {})), len(requests)
