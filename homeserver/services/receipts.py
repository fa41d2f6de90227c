"""Receipts and read markers: how far each reader has read.

Spec: client-server API, receipts, and read and unread markers; server-server API, ``m.receipt``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.audience import EVERYBODY, RECEIPTS_SCOPE, Audience
from homeserver.services.outgoing import EduQueue, RoomServers
from homeserver.services.values import is_compliant_user_id, is_integer, is_text
from homeserver.storage import receipts as storage
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.database import Database
from homeserver.storage.log import Log
from homeserver.storage.receipts import (
    MAIN_THREAD,
    READ,
    READ_PRIVATE,
    UNTHREADED,
    EventPlace,
    Receipt,
    ReceiptRecord,
)

RECEIPT = "m.receipt"
FULLY_READ = "m.fully_read"
RECEIPT_TYPES = (READ, READ_PRIVATE, FULLY_READ)
MAX_RECEIPTS_PER_EDU = 1_000
MAX_RECEIPTS_PER_ROOM = 1_000
THREAD_HOPS = 3
# A receipt goes durably to so many instances at most; in rooms larger than that, in memory.
DURABLE_DESTINATIONS = 20


class ReceiptService:
    """Moves receipts forward, and tells those who may see them."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        rooms: RoomServers,
        edus: EduQueue,
        clock_ms: Callable[[], int],
        audience: Audience = EVERYBODY,
    ) -> None:
        self._audience = audience
        self._database = database
        self._log = log
        self._rooms = rooms
        self._edus = edus
        self._clock_ms = clock_ms

    # ------------------------------------------------------------ from our users

    async def send(
        self,
        room_id: str,
        user_id: str,
        receipt_type: str,
        event_id: str,
        thread_id: str | None = None,
    ) -> None:
        """A reader has read up to an event.

        Spec: ``POST /rooms/{roomId}/receipt/{receiptType}/{eventId}``.
        Raises :class:`Forbidden`, :class:`InvalidParam`, :class:`NotFound`.
        """
        if receipt_type not in RECEIPT_TYPES:
            raise InvalidParam(f"The receipt type must be one of {', '.join(RECEIPT_TYPES)}")
        if receipt_type == FULLY_READ and thread_id is not None:
            raise InvalidParam("A fully-read marker takes no 'thread_id'")
        if thread_id is not None and not is_text(thread_id):
            raise InvalidParam("'thread_id' must be a non-empty string")
        if not await self._rooms.is_joined(room_id, user_id):
            raise Forbidden("You are not in this room")
        place = await self._place(room_id, event_id)
        if thread_id is not None and not await self._is_in_thread(place, thread_id):
            raise InvalidParam("The event is not related to the thread")
        if receipt_type == FULLY_READ:
            await self._log.append(
                AccountDataRecord(user_id, room_id, FULLY_READ, {"event_id": event_id})
            )
            return
        receipt = ReceiptRecord(
            room_id,
            receipt_type,
            user_id,
            thread_id or UNTHREADED,
            event_id,
            place.timeline_order,
            self._clock_ms(),
        )
        await self._log.append(receipt)
        if receipt_type == READ:
            await self._forward(receipt)

    async def set_markers(self, room_id: str, user_id: str, markers: dict[str, str]) -> None:
        """Move several markers: receipt type -> event ID.

        Spec: ``POST /rooms/{roomId}/read_markers``.
        """
        for receipt_type, event_id in markers.items():
            await self.send(room_id, user_id, receipt_type, event_id)

    async def _place(self, room_id: str, event_id: str) -> EventPlace:
        places: dict[str, EventPlace] = {}
        if is_text(event_id):
            places = await storage.get_event_places(self._database, [event_id])
        place = places.get(event_id)
        if place is None or place.room_id != room_id:
            raise NotFound("There is no such event in this room")
        return place

    async def _is_in_thread(self, place: EventPlace, thread_id: str) -> bool:
        """Spec: client-server API, threaded read receipts: up to 3 hops of relations."""
        current: EventPlace | None = place
        for _ in range(THREAD_HOPS + 1):  # the event itself, and what is so many hops away
            if current is None:
                break
            if current.event_id == thread_id:
                return True  # the root, or something that relates to it
            if current.relates_to is None:
                break
            if current.relation_type == "m.thread":
                return current.relates_to == thread_id
            if current.relates_to == thread_id:
                return True
            places = await storage.get_event_places(self._database, [current.relates_to])
            current = places.get(current.relates_to)
        return thread_id == MAIN_THREAD

    async def _forward(self, receipt: ReceiptRecord) -> None:
        servers = await self._audience.servers_that_may_see(
            receipt.user_id, await self._rooms.joined_servers(receipt.room_id), RECEIPTS_SCOPE
        )
        if not servers:
            return
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id != UNTHREADED:
            data["thread_id"] = receipt.thread_id
        content = {
            receipt.room_id: {
                READ: {receipt.user_id: {"event_ids": [receipt.event_id], "data": data}}
            }
        }
        key = f"{receipt.room_id} {receipt.user_id} {receipt.thread_id}"
        if len(servers) > DURABLE_DESTINATIONS:
            self._edus.queue_ephemeral(servers, RECEIPT, content, key)
        else:
            await self._edus.queue_edu(servers, RECEIPT, content, coalesce_key=key)

    # ------------------------------------------------------------ from other instances

    async def receive(self, origin: str, room_id: str, receipts: JsonObject) -> None:
        """Apply one room's part of an ``m.receipt`` EDU: only ``m.read``, of the sender's users.

        Spec: server-server API, receipts.
        """
        parsed = list(_parse(origin, room_id, receipts.get(READ)))[:MAX_RECEIPTS_PER_EDU]
        present = [r for r in parsed if await self._rooms.is_joined(room_id, r.user_id)]
        if not present:
            return
        places = await storage.get_event_places(self._database, {r.event_id for r in present})
        for receipt in present:
            place = places.get(receipt.event_id)
            if place is not None and place.room_id == room_id:
                receipt.event_order = place.timeline_order
        await self._log.append(*present)

    # ------------------------------------------------------------ for sync

    async def receipts_since(
        self, room_ids: Iterable[str], since: int, upto: int, for_user: str
    ) -> dict[str, JsonObject]:
        """Room ID -> the content of its ``m.receipt`` event: ``since < position <= upto``.

        Spec: client-server API, receipts.  Private receipts of others are left out.
        """
        found = await storage.get_receipts(
            self._database,
            room_ids,
            for_user,
            since=since,
            upto=upto,
            limit=MAX_RECEIPTS_PER_ROOM,
        )
        return receipt_contents(found)

    async def latest_read(
        self, user_id: str, room_ids: Collection[str]
    ) -> dict[str, dict[str, int]]:
        """Room ID -> thread ID (``''``: unthreaded) -> timeline order read up to."""
        return await storage.get_latest_read(self._database, user_id, room_ids)


def receipt_contents(receipts: Iterable[Receipt | ReceiptRecord]) -> dict[str, JsonObject]:
    """Room ID -> the content of an ``m.receipt`` event.  Spec: client-server API, receipts."""
    contents: dict[str, JsonObject] = {}
    for receipt in receipts:
        data: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id != UNTHREADED:
            data["thread_id"] = receipt.thread_id
        by_type = contents.setdefault(receipt.room_id, {}).setdefault(receipt.event_id, {})
        readers = by_type.setdefault(receipt.receipt_type, {})
        if receipt.user_id not in readers or receipt.thread_id == UNTHREADED:
            readers[receipt.user_id] = data
    return contents


def without_readers(
    contents: dict[str, JsonObject], hidden: Container[str]
) -> dict[str, JsonObject]:
    """Contents of ``m.receipt`` events, by room, without some users."""
    shown: dict[str, JsonObject] = {}
    for room_id, content in contents.items():
        events: JsonObject = {}
        for event_id, by_type in content.items():
            types = {
                kind: kept
                for kind, readers in by_type.items()
                if (kept := {user: data for user, data in readers.items() if user not in hidden})
            }
            if types:
                events[event_id] = types
        if events:
            shown[room_id] = events
    return shown


def _parse(origin: str, room_id: str, by_user: object) -> Iterator[ReceiptRecord]:
    """The well-formed receipts among one room's ``m.read``."""
    if not isinstance(by_user, dict):
        return
    for user_id, entry in by_user.items():
        if not is_compliant_user_id(user_id) or server_name_of(user_id) != origin:
            continue
        event_ids = entry.get("event_ids") if isinstance(entry, dict) else None
        data = entry.get("data") if isinstance(entry, dict) else None
        if not isinstance(event_ids, list) or not event_ids or not isinstance(data, dict):
            continue
        ts, thread_id = data.get("ts"), data.get("thread_id", UNTHREADED)
        if not is_text(event_ids[0]) or not is_integer(ts):
            continue
        if thread_id != UNTHREADED and not is_text(thread_id):
            continue
        yield ReceiptRecord(room_id, READ, user_id, thread_id, event_ids[0], None, ts)
