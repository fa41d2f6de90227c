"""Goes along the log, and queues what is to be pushed.  Nobody who sends waits for it.

What happens is taken from memory; how far that went is written in the transaction that queues what
lay before it.  So after a stop it is gone on from there, from the database: nothing is lost, and
what was queued is not queued again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from homeserver.services.event_store import EventStore
from homeserver.services.event_store import stored_event as stored_of_record
from homeserver.services.follower import Follower
from homeserver.services.push.audience import Happening, PushAudience, Told
from homeserver.services.push.badges import Badges
from homeserver.services.push.mail_bounds import MailBounds
from homeserver.services.push.pushers import Pushers
from homeserver.services.unread import DEFAULT
from homeserver.storage import push_queue as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, MembershipChange
from homeserver.storage.log import Log, Notice
from homeserver.storage.push_queue import LoggedEvent, NewPush
from homeserver.storage.pushers import EMAIL, HTTP, Pusher
from homeserver.storage.receipts import READ, READ_PRIVATE, ReceiptRecord
from homeserver.storage.rooms import MembershipRow

AT_ONCE = 200
MOST_WAITING = 20_000  # records in memory; beyond, they are read from the database
GATHER_SECONDS = 0.01
WRITE_POSITION_EVERY = 2_000  # where there is nothing to queue


class JoinedRooms(Protocol):
    """In which rooms a user is."""

    @property
    def joined(self) -> Mapping[str, int]:
        """Room ID -> position."""


class RoomsOf(Protocol):
    """The rooms of users."""

    async def get(self, user_id: str) -> JoinedRooms:
        """A user's rooms."""


class PushFollowing:
    """One worker for all pushers."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        store: EventStore,
        pushers: Pushers,
        audience: PushAudience,
        rooms: RoomsOf,
        badges: Badges,
        queued: Callable[[Collection[int]], None],
        clock_ms: Callable[[], int],
    ) -> None:
        """``queued``: told of the pushers that have something to send."""
        self._database = database
        self._log = log
        self._store = store
        self._pushers = pushers
        self._audience = audience
        self._rooms = rooms
        self._badges = badges
        self._queued = queued
        self._clock_ms = clock_ms
        self._waiting: deque[tuple[int, EventRecord]] = deque()
        self._readers: set[str] = set()
        self._reached = self._written = 0
        self._behind = False
        self._bounds = MailBounds()
        self.follower = Follower("push", self._fill, gather_seconds=GATHER_SECONDS)
        log.subscribe(self._on_notice)

    async def start(self) -> None:
        """Go on where it was left.  The pushers are to be in memory.

        Who has read something meanwhile is looked for at once: later that is taken from memory.
        """
        position = await storage.get_position(self._database)
        self._reached = self._log.position
        oldest = self._pushers.oldest
        if oldest is not None:
            self._reached = max(position or 0, oldest)
            self._behind = self._reached < self._log.position
        if self._behind:
            users = self._pushers.users
            stays = [(r, user) for user in users for r in (await self._rooms.get(user)).joined]
            self._readers |= await storage.get_readers(self._database, self._reached, stays)
        self._written = position or 0
        await self.follower.start()

    async def close(self) -> None:
        """Stop, and note how far it has come."""
        await self.follower.close()
        if self._pushers.users and self._reached > self._written:
            await storage.set_position(self._database, self._reached)

    # ------------------------------------------------------------ what happens

    def _on_notice(self, notice: Notice) -> None:
        users = self._pushers.users
        if not users:
            return
        for position, record in notice.records:
            if isinstance(record, EventRecord):
                self._take(position, record)
            elif isinstance(record, ReceiptRecord) and (
                record.moved
                and record.user_id in users
                and record.receipt_type in (READ, READ_PRIVATE)
            ):
                self._badges.room_changed(record.user_id, record.room_id)
                self._readers.add(record.user_id)
        if self._waiting or self._readers:
            self.follower.wake()

    def _take(self, position: int, record: EventRecord) -> None:
        if self._behind or not (record.notifications or record.memberships):
            return
        self._waiting.append((position, record))
        if len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            self._behind = True

    async def _fill(self) -> None:
        while True:
            if self._behind:
                await self._catch_up()
            elif self._waiting:
                await self._take_in()
            elif self._readers:
                await self._queue_badges(self._readers.pop())
            else:
                return

    # ------------------------------------------------------------ from memory

    async def _take_in(self) -> None:
        taken = [self._waiting[i] for i in range(min(AT_ONCE, len(self._waiting)))]
        happenings = [
            happening
            for position, record in taken
            if position > self._reached and (happening := self._happening(position, record))
        ]
        try:
            await self._queue(happenings, taken[-1][0])
        except BaseException:
            self._behind = True  # memory and database are to agree again
            self._waiting.clear()
            raise
        if not self._behind:
            for _ in taken:
                self._waiting.popleft()

    def _happening(self, position: int, record: EventRecord) -> Happening | None:
        event = record.event
        invites = [
            (change.user_id, _invite_row(position, change))
            for change in record.memberships
            if change.local and change.membership == "invite"
        ]
        if not invites and not (record.visible and record.notifications):
            return None
        stored = self._store.peek(event.event_id) or stored_of_record(position, record)
        return Happening(position, stored, record.notifications if record.visible else (), invites)

    # ------------------------------------------------------------ from the database

    async def _catch_up(self) -> None:
        """Take in what happened while nobody followed, a page at a time."""
        head = self._log.position
        users = self._pushers.users
        oldest = self._pushers.oldest
        self._reached = max(self._reached, head if oldest is None else oldest)
        page = await storage.get_events(self._database, self._reached, head, AT_ONCE)
        upto = page[-1].position if len(page) == AT_ONCE else head
        invites = await storage.get_invites(self._database, self._reached, upto, users)
        happenings = await self._happenings(page, invites)
        await self._queue(happenings, upto)
        if upto >= self._log.position:
            self._behind = False

    async def _happenings(
        self, page: Sequence[LoggedEvent], invites: Iterable[tuple[str, MembershipRow]]
    ) -> list[Happening]:
        wanted = [
            (each.room_id, each.timeline_order, audience)
            for each in page
            if (present := self._audience.candidates(each.room_id, self._pushers.users))
            for audience in (DEFAULT, *present)
        ]
        notifications = await storage.get_notifications(self._database, wanted)
        invited = {row.event_id: (user_id, row) for user_id, row in invites}
        stored = await self._store.get_many({*notifications, *invited})
        positions = {each.event_id: each.position for each in page}
        found = [
            Happening(
                positions.get(event_id, each.position),
                each,
                notifications.get(event_id, ()),
                [invited[event_id]] if event_id in invited else [],
            )
            for event_id, each in stored.items()
        ]
        return sorted(found, key=lambda happening: happening.position)

    # ------------------------------------------------------------ queueing

    async def _queue(self, happenings: Sequence[Happening], upto: int) -> None:
        new: list[NewPush] = []
        for happening in happenings:
            for told in await self._audience.told(happening, self._pushers.users):
                self._badges.room_changed(told.user_id, happening.stored.event.room_id)
                new += [
                    _push(pusher, happening, told)
                    for pusher in self._pushers.of(told.user_id)
                    if pusher.enabled and happening.position > pusher.since
                ]
            sender = happening.stored.event.sender
            if sender in self._pushers.users:  # who sends something has read what stands before
                self._badges.room_changed(sender, happening.stored.event.room_id)
                self._readers.add(sender)
        if new:
            async with self._database.transaction() as connection:
                await storage.insert(connection, new, self._clock_ms())
                await self._bounds.added(connection, self._mailed(new))
                await storage.set_position(connection, upto)
            self._written = upto
            self._queued({push.pusher_id for push in new})
        elif upto - self._written >= WRITE_POSITION_EVERY:
            await storage.set_position(self._database, upto)
            self._written = upto
        self._reached = max(self._reached, upto)

    def _mailed(self, new: Iterable[NewPush]) -> list[int]:
        """The e-mail pushers among those for which something is queued."""
        found = (self._pushers.get(push.pusher_id) for push in new)
        return [pusher.pusher_id for pusher in found if pusher and pusher.kind == EMAIL]

    async def _queue_badges(self, user_id: str) -> None:
        """Have the counts alone pushed to those of a user's apps that know others."""
        pushers = [p for p in self._pushers.of(user_id) if p.enabled and p.kind == HTTP]
        if not pushers:
            return
        badge = await self._badges.get(user_id)
        new = [
            NewPush(pusher.pusher_id)
            for pusher in pushers
            if self._badges.told.get(pusher.pusher_id) != badge
        ]
        if new:
            await storage.insert(self._database, new, self._clock_ms())
            self._queued({push.pusher_id for push in new})


def _invite_row(position: int, change: MembershipChange) -> MembershipRow:
    return MembershipRow(
        change.room_id,
        change.membership,
        change.event_id,
        change.sender,
        position,
        False,
        change.stripped_state,
    )


def _push(pusher: Pusher, happening: Happening, told: Told) -> NewPush:
    event = happening.stored.event
    return NewPush(pusher.pusher_id, event.event_id, event.room_id, told.thread_id, told.actions)
