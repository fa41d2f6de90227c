"""A server's rooms with its readers: syncs and timelines on a real database, without HTTP."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from itertools import chain
from typing import Any

import orjson

from homeserver.protocol.events import JsonObject
from homeserver.protocol.filters import SyncFilter
from homeserver.protocol.identifiers import UserId
from homeserver.services.account_data import AccountDataService
from homeserver.services.device_lists import DeviceListService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.presence import PresenceService
from homeserver.services.push_rules import PushRuleService
from homeserver.services.receipts import ReceiptService
from homeserver.services.recent_receipts import RecentReceipts
from homeserver.services.remote_devices import RemoteDevices
from homeserver.services.requester import Requester
from homeserver.services.room_facts import RoomFacts
from homeserver.services.rooms import Draft, Sent
from homeserver.services.sync import SyncRequest
from homeserver.services.sync_token import SyncToken
from homeserver.services.to_device import ToDeviceService
from homeserver.services.typing import TypingService
from homeserver.services.unread import UnreadCounter
from homeserver.storage.database import Database
from homeserver.storage.event_records import ClientTransaction
from tests.services.doubles import Edus, Peers, add_device
from tests.services.reading import Reading
from tests.services.room_world import RoomWorld

SERVER = "one.example"


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Queries:
    """A database that counts what it is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        if name in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
            self.count += 1
        return found


class ReadingWorld(RoomWorld):
    """Rooms, and what readers of them get."""

    def __init__(self, database: Database) -> None:
        self.queries = Queries(database)
        counted: Any = self.queries
        super().__init__(counted, SERVER)
        edus = Edus()
        self.push_rules = PushRuleService(database=counted, log=self.log)
        self.rooms._unread = self.arrivals._unread = UnreadCounter(
            server_name=SERVER, store=self.store, rulesets=self.push_rules
        )
        self.account_data = AccountDataService(
            database=counted, log=self.log, push_rules=self.push_rules
        )
        self.facts = RoomFacts(database=counted, rooms=self.rooms, store=self.store)
        self.receipts = ReceiptService(
            database=counted,
            log=self.log,
            rooms=self.facts,
            edus=edus,
            clock_ms=clock_ms,
        )
        self.typing = TypingService(rooms=self.facts, edus=edus, clock_ms=clock_ms)
        self.presence = PresenceService(
            server_name=SERVER, database=counted, edus=edus, clock_ms=clock_ms
        )
        self.to_device = ToDeviceService(
            server_name=SERVER, database=counted, log=self.log, edus=edus, clock_ms=clock_ms
        )
        device_lists = DeviceListService(database=counted, log=self.log, edus=edus)
        peers: Any = Peers()
        self.keys = EndToEndKeyService(
            server_name=SERVER,
            database=counted,
            device_lists=device_lists,
            remote_devices=RemoteDevices(
                database=counted, log=self.log, remote=peers, clock_ms=clock_ms
            ),
            remote=peers,
        )
        self.reading = Reading(
            database=counted,
            log=self.log,
            store=self.store,
            states=self.states,
            account_data=self.account_data,
            push_rules=self.push_rules,
            receipts=self.receipts,
            typing=self.typing,
            presence=self.presence,
            to_device=self.to_device,
            device_lists=device_lists,
            end_to_end_keys=self.keys,
            backfiller=self,
            clock_ms=clock_ms,
        )

    async def backfill(self, room_id: str, limit: int) -> bool:
        """Ask other instances for history: there are none."""
        return False

    async def start(self) -> None:
        await super().start()
        self.reading.start()

    async def until_waiting(self, syncs: int = 1) -> None:
        """Wait until so many syncs have found nothing and wait for news."""
        async with asyncio.timeout(30):
            while True:
                waiters = chain.from_iterable(self.reading.notifier._waiting.values())
                if sum(waiter._future is not None for waiter in waiters) >= syncs:
                    return
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        self.typing.close()
        self.reading.close()
        await super().close()

    def forget_memory(self) -> None:
        """As if the process had started again: only the database is left."""
        recent = self.reading.recent
        recent._rooms.clear()
        recent._size = 0
        recent.recent_receipts = RecentReceipts()
        recent.start()
        for changes in (recent.rooms, recent.members, recent.memberships, recent.receipts):
            changes._latest = OrderedDict()
        self.reading.unread_counts._counts.clear()

    async def client(self, localpart: str, device_id: str = "PHONE", **options: Any) -> Client:
        """A device of an account, made now."""
        user_id = self.user(localpart)
        await add_device(self.database, user_id, device_id)
        return Client(self, user_id, device_id, **options)


class Client:
    """A device that syncs."""

    def __init__(
        self,
        world: ReadingWorld,
        user_id: UserId,
        device_id: str,
        *,
        sync_filter: JsonObject | None = None,
        use_state_after: bool = False,
    ) -> None:
        self.world = world
        self.user_id = user_id
        self.device_id = device_id
        self.filter = SyncFilter.parse(sync_filter or {})
        self.use_state_after = use_state_after
        self.token: str | None = None
        self._transactions = 0

    async def sync(
        self, *, timeout_ms: int = 0, since: str | None = None, **options: Any
    ) -> JsonObject:
        """Sync from the last token; keeps the next one."""
        token = since or self.token
        answer: JsonObject = orjson.loads(
            await self.world.reading.sync.sync(
                SyncRequest(
                    Requester(self.user_id, self.device_id),
                    since=SyncToken.parse(token) if token is not None else None,
                    timeout_ms=timeout_ms,
                    filter=options.pop("sync_filter", self.filter),
                    use_state_after=self.use_state_after,
                    set_presence="offline",
                    **options,
                )
            )
        )
        self.token = answer["next_batch"]
        return answer

    async def joined(self, room_id: str, **options: Any) -> JsonObject:
        """Sync, and take a joined room's part."""
        answer = await self.sync(**options)
        part: JsonObject = answer["rooms"]["join"][room_id]
        return part

    async def say(self, room_id: str, body: str, **content: Any) -> Sent:
        """Send a message, as this device does."""
        self._transactions += 1
        transaction = ClientTransaction(
            self.user_id, self.device_id, "send", f"txn{self._transactions}", 0
        )
        full = {"msgtype": "m.text", "body": body, **content}
        return await self.world.rooms.send(
            room_id, Draft(self.user_id, "m.room.message", full), transaction=transaction
        )

    async def set_state(
        self, room_id: str, type_: str, content: JsonObject, state_key: str = ""
    ) -> str:
        """Send a state event."""
        return await self.world.rooms.send_state(
            room_id, Draft(self.user_id, type_, content, state_key)
        )


def bodies(part: JsonObject) -> list[str]:
    """The texts of a room's timeline."""
    return [e["content"]["body"] for e in part["timeline"]["events"] if "body" in e["content"]]


def types(part: JsonObject, section: str = "timeline") -> list[str]:
    """The types of the events in a section."""
    return [event["type"] for event in part[section]["events"]]


def state_of(part: JsonObject, section: str = "state") -> dict[tuple[str, str], JsonObject]:
    """The state in a section by type and key."""
    return {(e["type"], e["state_key"]): e["content"] for e in part[section]["events"]}
