"""A sender with its outbox, and what its peers get of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from federation import health
from federation.outbox import Outbox
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.storage import outbox as storage
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log
from tests.federation.network import Clock, Net, Node, Peer
from tests.harness.client import eventually

ROOM = "!room:us.test"
VERSION = ROOM_VERSIONS["11"]


class RunningClock(Clock):
    """The wall clock, and what it was advanced by."""

    def __call__(self) -> int:
        return self.now_ms + round(time.monotonic() * 1000)


class Inbox:
    """What a peer got by /send, and how it answers."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.transactions: list[dict[str, Any]] = []
        self.txn_ids: list[str] = []
        self.refuse: Callable[[dict[str, Any]], int | None] = lambda body: None
        self.results: dict[str, Any] = {}
        self.pause = 0.0
        self.answers = asyncio.Event()  # cleared, it lets those wait who send
        self.answers.set()
        self.at_once = 0
        self.most_at_once = 0
        peer.answers["/_matrix/federation/v1/send/"] = self._receive

    async def _receive(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            body = self.peer.bodies[-1]
            await asyncio.sleep(self.pause)
            await self.answers.wait()
            status = self.refuse(body)
            if status is not None:
                return web.json_response({"errcode": "M_UNKNOWN", "error": "No"}, status=status)
            self.txn_ids.append(request.path.rpartition("/")[2])
            self.transactions.append(body)
            return web.json_response({"pdus": self.results})
        finally:
            self.at_once -= 1

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events that arrived, in their order."""
        return [pdu["content"]["n"] for body in self.transactions for pdu in body["pdus"]]

    @property
    def edus(self) -> list[tuple[str, Any]]:
        """The EDUs that arrived."""
        return [(e["edu_type"], e["content"]) for body in self.transactions for e in body["edus"]]

    async def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for something."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.numbers[-10:], len(self.numbers), self.edus)
            await asyncio.sleep(0.01)

    async def has(self, numbers: list[int]) -> None:
        """Wait until these have arrived, each once, in this order, and nothing else has."""
        await self.until(lambda: len(self.numbers) >= len(numbers))
        assert self.numbers == numbers


class Us:
    """Our side: a log, and an outbox that can be restarted."""

    def __init__(self, net: Net, node: Node) -> None:
        self.net, self.node, self.database = net, node, node.database
        self.count = 0

    async def start(self) -> None:
        """As the process starts."""
        self.log = Log(self.database)
        self.health = health.DestinationHealth(database=self.database, clock_ms=self.net.clock)
        self.node.client._health = self.health
        self.outbox = Outbox(
            server_name="us.test",
            database=self.database,
            client=self.node.client,
            health=self.health,
            rules=self.node.rules,
            log=self.log,
            clock_ms=self.net.clock,
        )
        await self.log.start()
        await self.health.start()
        await self.outbox.start()

    async def stop(self) -> None:
        """As it stops."""
        await self.outbox.close()
        await self.health.close()
        await self.log.close()

    async def kill(self) -> None:
        """As it is killed: what is under way is gone."""
        for task in list(self.outbox._tasks):
            task.cancel()
        self.outbox._acks.clear()
        await self.stop()

    async def restart(self) -> None:
        """Stop and start."""
        await self.stop()
        await self.start()

    async def knows_all_taken(self, inbox: Inbox) -> None:
        """Wait until it is noted that a peer has taken the newest event, and all before it."""

        async def noted() -> bool:
            acked = await storage.get_acked_position(self.database, inbox.peer.server_name)
            return acked == self.log.position

        await eventually(noted, "the newest event is noted as taken")

    async def send(self, *peers: Peer | Inbox, times: int = 1) -> list[int]:
        """Commit events for some peers; their numbers."""
        names = {p.peer.server_name if isinstance(p, Inbox) else p.server_name for p in peers}
        set_id = await self.outbox.id_for(frozenset({*names, "us.test"}))
        records = []
        for _ in range(times):
            records.append(EventRecord(make_event(self.count), destination_set=set_id))
            self.count += 1
        await self.log.append(*records)
        return list(range(self.count - times, self.count))


def make_event(number: int) -> Event:
    """An event that is a number."""
    pdu = {
        "type": "m.room.message",
        "room_id": ROOM,
        "sender": "@alice:us.test",
        "content": {"n": number, "body": "ü"},
        "depth": number + 1,
        "origin_server_ts": number,
        "auth_events": [],
        "prev_events": [],
        "hashes": {"sha256": "x"},
        "signatures": {},
        "unsigned": {"secret": True},
    }
    return Event(pdu, f"$event{number}", VERSION)
