"""Members of a room who write and read without pause, whatever happens to their server."""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.harness import Homeserver, MatrixRefused, RawClient

PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.05
REQUEST_SECONDS = 30.0
SYNC_SECONDS = 5
OUTAGES = (aiohttp.ClientError, OSError, TimeoutError)
FILTER = json.dumps({"room": {"timeline": {"limit": 500}, "state": {"lazy_load_members": True}}})

Event = Mapping[str, Any]


def is_message(event: Event) -> bool:
    """Whether an event is one of the load's messages."""
    return str(event["type"]) == "m.room.message"


@dataclass
class Member:
    """One member: what was answered with 200, and what their client was told.

    A send that fails is repeated with its transaction ID until it is answered, as clients do.
    """

    server: Homeserver
    client: RawClient
    room_id: str = ""
    acknowledged: dict[str, str] = field(default_factory=dict)
    received: list[Event] = field(default_factory=list)
    failures: int = 0
    _since: str | None = None

    async def write(self, stop: asyncio.Event, rng: random.Random) -> None:
        """Send numbered messages, one after another, until told to stop."""
        number = 0
        while not stop.is_set():
            text = f"{self.client.user_id} {number}"
            event_id = await self._send_until_answered(text, f"crash{number}")
            self.acknowledged[event_id] = text
            number += 1
            await asyncio.sleep(rng.random() * 2 * PAUSE_SECONDS)

    async def read(self) -> None:
        """Sync for ever, and keep the messages in the order in which they came."""
        while True:
            try:
                await self._sync()
            except OUTAGES:
                await asyncio.sleep(RETRY_SECONDS)
            except MatrixRefused as refused:
                if refused.status < 500:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    def received_ids(self) -> list[str]:
        """The event IDs that came through sync, in that order."""
        return [event["event_id"] for event in self.received]

    async def _send_until_answered(self, text: str, transaction_id: str) -> str:
        while True:
            try:
                return await self.client.send(self.room_id, text, transaction_id)
            except OUTAGES:
                self.failures += 1
            except MatrixRefused as refused:
                if refused.status < 500:
                    raise
                self.failures += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def _sync(self) -> None:
        query: dict[str, Any] = {"filter": FILTER, "timeout": SYNC_SECONDS * 1000}
        if self._since:
            query["since"] = self._since
        answer = await self.client.call("GET", "sync", query=query, seconds=REQUEST_SECONDS)
        room = answer.get("rooms", {}).get("join", {}).get(self.room_id)
        if room:
            timeline = room["timeline"]
            missed = []
            if timeline.get("limited") and self._since:
                missed = await self._gap(timeline["prev_batch"], self._since)
            self.received += [e for e in [*missed, *timeline["events"]] if is_message(e)]
        self._since = answer["next_batch"]

    async def _gap(self, newest: str, oldest: str) -> list[Event]:
        """What a limited timeline left out, oldest first."""
        events: list[Event] = []
        query: dict[str, Any] = {"dir": "b", "from": newest, "to": oldest, "limit": 500}
        while True:
            page = await self.client.call("GET", "rooms", self.room_id, "messages", query=query)
            events += page["chunk"]
            if not page["chunk"] or not page.get("end"):
                return events[::-1]
            query["from"] = page["end"]


async def writer_and_reader(
    server: Homeserver, session: aiohttp.ClientSession
) -> tuple[Member, RawClient]:
    """A member who can write, and somebody else in the same room."""
    writer = Member(server, RawClient(session, server.client_url))
    reader = RawClient(session, server.client_url)
    await writer.client.register("writer")
    await reader.register("reader")
    writer.room_id = await writer.client.create_room(preset="public_chat")
    await reader.join(writer.room_id)
    return writer, reader
