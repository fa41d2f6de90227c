"""Goes along the log for one application service, and gathers what it is told next.

What is durable (events, to-device messages, changes of device lists) is found by position, so that
whatever was missed is found again after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from msgspec import Struct, field

from homeserver.protocol.events import Event
from homeserver.services.appservices.interest import Interest
from homeserver.services.event_store import EventStore
from homeserver.storage import appservices as storage
from homeserver.storage import webhook_source
from homeserver.storage.appservices import Sent
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.shared_rooms import rooms_of
from homeserver.storage.webhook_source import UserMove

EVENTS_AT_ONCE = 100
MESSAGES_AT_ONCE = 50
CHANGES_AT_ONCE = 500
READ_AT_ONCE = 500
MOST_BYTES = 512 * 1024  # many frameworks take no more than 1 MiB in one request


class Gathered(Struct):
    """What is durable of a transaction to be; all of it lies at or before ``upto``."""

    upto: int
    event_ids: list[str] = field(default_factory=list)
    to_device: list[Sent] = field(default_factory=list)
    changed: dict[str, None] = field(default_factory=dict)
    left: dict[str, None] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.event_ids or self.to_device or self.changed or self.left)


class Gathering:
    """Reads the log for one application service."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        interest: Interest,
        with_devices: bool,
    ) -> None:
        """``with_devices``: to-device messages and device lists too (MSC3202)."""
        self._database = database
        self._store = store
        self._interest = interest
        self._with_devices = with_devices
        self._addressed: dict[str, None] = {}  # users for whom messages may wait

    async def start(self) -> None:
        """Find out for whom messages wait already."""
        if self._with_devices:
            self.addressed(await storage.get_waiting_users(self._database))

    def addressed(self, user_ids: Iterable[str]) -> bool:
        """Messages were sent to users' devices; False if none of them is the service's alone."""
        if not self._with_devices:
            return False
        own = [user_id for user_id in user_ids if self._interest.is_alone(user_id)]
        self._addressed.update(dict.fromkeys(own))
        return bool(own)

    async def after(self, position: int, head: int) -> Gathered:
        """The next stretch after a position, no further than ``head``, where the log stands now."""
        gathered = Gathered(head)
        # Whoever is addressed from now on is so behind the head.
        asked, self._addressed = self._addressed, {}
        all_found = False
        try:
            all_found = await self._gather(gathered, position, list(asked))
        finally:
            if not all_found:
                self._addressed = {**asked, **self._addressed}
        return gathered

    async def _gather(self, gathered: Gathered, position: int, asked: Sequence[str]) -> bool:
        """Gather everything; whether there are no more messages for those asked for."""
        head = gathered.upto
        changes: list[tuple[int, str]] = []
        if self._with_devices:
            changes = await storage.get_device_changes(
                self._database, position, head, CHANGES_AT_ONCE
            )
            if len(changes) == CHANGES_AT_ONCE:
                gathered.upto = changes[-1][0]
        await self._gather_events(gathered, position)
        if self._with_devices:
            await self._gather_changes(gathered, changes)
        if not asked:
            return True
        found = await storage.get_to_device(self._database, asked, gathered.upto, MESSAGES_AT_ONCE)
        size = 0
        for message in found:
            gathered.to_device.append(message.key)
            size += len(orjson.dumps(message.content))
            if size >= MOST_BYTES:
                return False
        return len(found) < MESSAGES_AT_ONCE and gathered.upto == head

    # ------------------------------------------------------------ events

    async def _gather_events(self, gathered: Gathered, position: int) -> None:
        if position >= gathered.upto:
            return
        upto = gathered.upto
        moves = await webhook_source.get_moves(self._database, position, upto, READ_AT_ONCE)
        found = await webhook_source.get_events(self._database, position, upto, READ_AT_ONCE)
        if len(moves) == READ_AT_ONCE:
            upto = min(upto, moves[-1].move.row.position)
        if len(found) == READ_AT_ONCE:
            upto = min(upto, found[-1][0])
        by_position: dict[int, list[UserMove]] = {}
        for move in moves:
            by_position.setdefault(move.move.row.position, []).append(move)
        order: dict[int, str] = {at: event_id for at, event_id in found if at <= upto}
        places = sorted({*order, *(at for at in by_position if at <= upto)})
        stored = await self._store.get_many(
            [*order.values(), *(each.move.row.event_id for each in moves)]
        )
        size = 0
        for at in places:
            told = await self._told_at(at, order.get(at), by_position.get(at, ()), stored)
            size += sum(_size(each) for each in told)
            gathered.event_ids += [each.event.event_id for each in told]
            if self._with_devices:
                await self._note_devices(gathered, told, at)
            if len(gathered.event_ids) >= EVENTS_AT_ONCE or size >= MOST_BYTES:
                gathered.upto = at
                return
        gathered.upto = upto

    async def _told_at(
        self,
        at: int,
        event_id: str | None,
        moves: Sequence[UserMove],
        stored: dict[str, StoredEvent],
    ) -> list[StoredEvent]:
        """What is told of one position; then it is passed."""
        told: list[StoredEvent] = []
        event = stored.get(event_id) if event_id is not None else None
        if event is not None and event.shown and await self._interest.wants(event.event, at):
            told.append(event)
        for each in moves:
            row = each.move.row
            outside = stored.get(row.event_id) if row.event_id != event_id else None
            # an invite into a room that we are not in, or what became of it
            if (
                outside is not None
                and outside.shown
                and outside.timeline_order is None
                and self._interest.is_own(each.user_id)
            ):
                told.append(outside)
            self._interest.moved(row.room_id, each.user_id, row.membership)
        if event is not None and event.event.type == "m.room.canonical_alias":
            self._interest.forget_aliases(event.event.room_id)
        return told

    # ------------------------------------------------------------ devices

    async def _note_devices(self, gathered: Gathered, told: Sequence[StoredEvent], at: int) -> None:
        """Who comes into a room of the service's, or goes, changes whose devices matter to it."""
        for stored in told:
            event: Event = stored.event
            user_id = event.state_key
            if event.type != "m.room.member" or user_id is None:
                continue
            if event.membership == "join":
                gathered.changed[user_id] = None
                gathered.left.pop(user_id, None)
            elif event.membership in ("leave", "ban") and not self._interest.is_own(user_id):
                rooms = await rooms_of(self._database, [user_id])
                if not await self._shares(rooms.get(user_id, ()), at):
                    gathered.left[user_id] = None
                    gathered.changed.pop(user_id, None)

    async def _gather_changes(self, gathered: Gathered, changes: Sequence[tuple[int, str]]) -> None:
        users = list(dict.fromkeys(user_id for at, user_id in changes if at <= gathered.upto))
        if not users:
            return
        rooms = await rooms_of(self._database, users)
        for user_id in users:
            own = self._interest.is_own(user_id)
            if own or await self._shares(rooms.get(user_id, ()), gathered.upto):
                gathered.changed[user_id] = None

    async def _shares(self, room_ids: Sequence[str], position: int) -> bool:
        for room_id in room_ids:
            if await self._interest.users_in(room_id, position):
                return True
        return False


def _size(stored: StoredEvent) -> int:
    return len(str(stored.event.pdu))
