"""The feed: follows the log, makes one update of each record, and hands it to those it reaches.

What is in memory is told within the commit's own turn of the loop.  Where a record speaks of an
event that is not in memory (an old message is edited), the commit and all that follow it wait until
that was read, so that positions only rise for everybody.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

import structlog
from msgspec import Struct

from homeserver.services.conversations.feed.devices import route_device_messages
from homeserver.services.conversations.feed.events import route_safely
from homeserver.services.conversations.feed.judging import Judge, restricts_nothing
from homeserver.services.conversations.feed.looking import Around, Asked, Looking
from homeserver.services.conversations.feed.moves import route_move
from homeserver.services.conversations.feed.records import route_record
from homeserver.services.conversations.feed.replay import Replay
from homeserver.services.conversations.feed.subscriptions import (
    CLOSING,
    Reader,
    Readers,
    Sink,
    Subscription,
)
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.shapes.updates import AnyUpdate
from homeserver.services.event_store import EventStore, stored_event
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.hidden_events import HiddenRecord, ViewedRecord
from homeserver.storage.log import Log, Notice, Record
from homeserver.storage.rooms import MembershipRow
from homeserver.storage.to_device import ToDeviceRecord

logger = structlog.get_logger(__name__)

REPLAYS_AT_ONCE = 16
MOST_REPLAYED = 20_000
MOST_KEPT = 1_000  # of what is told live, while a subscription is opened
# After these a reader may have blocked or hidden something.
RESTRICTING = (ConsentRecord, HiddenRecord, ViewedRecord)
IGNORED = "m.ignored_user_list"


class TooMuch(Exception):
    """More has happened since a position than is told again, or the position is unknown."""

    def __init__(self, reason: Literal["unknown_position", "too_much"]) -> None:
        super().__init__(reason)
        self.reason = reason


class _Work(Struct):
    """A commit on its way to its readers."""

    notice: Notice
    asked: Asked | None = None


class Feed:
    """Tells subscriptions what happens."""

    def __init__(
        self,
        *,
        log: Log,
        store: EventStore,
        rooms: RoomsOfUsers,
        judge: Judge,
        looking: Looking,
        replay: Replay,
        most_replayed: int = MOST_REPLAYED,
    ) -> None:
        """``rooms`` must follow the log before the feed does."""
        self._log = log
        self._store = store
        self._rooms = rooms
        self._judge = judge
        self._looking = looking
        self._replay = replay
        self._most_replayed = most_replayed
        self._replays = asyncio.Semaphore(REPLAYS_AT_ONCE)
        self._readers = Readers(judge, gone=rooms.unpin)
        # By user, for each subscription that is told what it missed: what is told live alone.
        self._opening: dict[str, list[list[Routed]]] = {}
        self._queue: deque[_Work] = deque()
        self._task: asyncio.Task[None] | None = None
        self._moves: defaultdict[str, list[tuple[str, MembershipRow, str]]] = defaultdict(list)
        self._restrictions = 0  # counts what may have made somebody hear less
        self.position = 0
        """Up to here everybody who is live has been told."""
        rooms.on_move = self._on_move
        log.subscribe(self._on_notice)

    def start(self) -> None:
        """Begin at the log's position, once the log has started."""
        self.position = self._log.position

    async def close(self) -> None:
        """Stop, and end all subscriptions."""
        if self._task is not None:
            self._task.cancel()
        for reader in list(self._readers.by_user.values()):
            reader.cut_off(CLOSING)
            reader.close()

    @property
    def online(self) -> Collection[str]:
        """The users who are told live."""
        return self._readers.by_user.keys()

    def awaits(self, user_id: str) -> bool:
        """Whether a user is told live, or will be once they have been told what they missed."""
        return user_id in self._readers.by_user or user_id in self._opening

    # ------------------------------------------------------------ subscribing

    async def open(
        self,
        user_id: str,
        device_id: str | None,
        since: int | None,
        sink: Sink,
        *,
        scopes: frozenset[str] | None = None,
    ) -> Subscription:
        """Tell a device all that happened since a position, and then what happens.

        ``since`` None: from now on.  ``scopes``: of the token that listens; None: it may hear all.
        Raises :class:`TooMuch`, and what ``sink.ready`` raises.
        """
        if since is not None and since > self._log.position:
            raise TooMuch("unknown_position")
        kept: list[Routed] = []
        opening = self._opening.setdefault(user_id, [])
        opening.append(kept)
        try:
            subscription = await self._open(user_id, device_id, since, sink, scopes)
        finally:
            opening[:] = [other for other in opening if other is not kept]
            if not opening:
                self._opening.pop(user_id, None)
        for routed in kept:
            if routed.is_for(device_id):
                subscription.take(routed.update)
        return subscription

    async def _open(
        self,
        user_id: str,
        device_id: str | None,
        since: int | None,
        sink: Sink,
        scopes: frozenset[str] | None,
    ) -> Subscription:
        self._rooms.pin(user_id)
        subscription = Subscription(user_id, device_id, since or 0, sink, scopes)
        try:
            await self._rooms.get(user_id)
            if since is None:
                subscription.position = self.position
            restrictions = self._restrictions
            withheld = await self._judge.withheld(user_id)
            await self._catch_up(subscription)
        except BaseException:
            self._rooms.unpin(user_id)
            raise
        if user_id in self._readers.by_user:
            self._rooms.unpin(user_id)  # one pin for each reader
        reader = self._readers.add(subscription)
        if restrictions == self._restrictions and restricts_nothing(withheld):
            reader.is_plain = True
        return subscription

    def shut(self, subscription: Subscription) -> None:
        """End a subscription; nothing more is delivered to it."""
        self._readers.remove(subscription)

    async def _catch_up(self, subscription: Subscription) -> None:
        """Replay until there is nothing between the subscription and those who are live."""
        told = 0
        while subscription.position < self.position:
            upto = self.position
            async with self._replays:
                if told == 0 and upto - subscription.position > self._most_replayed:
                    count = await self._replay.count(
                        subscription.user_id, subscription.position, upto, self._most_replayed + 1
                    )
                    if count > self._most_replayed:
                        raise TooMuch("too_much")
                page = await self._replay.page(
                    subscription.user_id, subscription.position, upto, subscription.device_id
                )
            for update in page.updates:
                subscription.take(update)
            subscription.position = max(subscription.position, page.position)
            told += len(page.updates)
            if page.updates:
                await subscription.sink.ready()

    # ------------------------------------------------------------ following the log

    def _on_move(self, user_id: str, row: MembershipRow, before: str) -> None:
        if user_id in self._readers.by_user:
            self._moves[row.room_id].append((user_id, row, before))

    def _on_notice(self, notice: Notice) -> None:
        if not self._readers.by_user and not self._queue:
            self._restrictions += 1
            self.position = notice.position
            self._moves.clear()
            return
        work = _Work(notice)
        if self._queue:
            self._queue.append(work)
            return
        work.asked = self._asked(notice)
        if work.asked:
            self._queue.append(work)
            self._task = asyncio.create_task(self._run(), name="feed")
        else:
            self._tell(work, self._looking.without())
            self._moves.clear()

    def _asked(self, notice: Notice) -> Asked:
        """What must be read before a commit can be told."""
        asked = Asked()
        for position, record in notice.records:
            if (
                isinstance(record, EventRecord)
                and record.visible
                and not self._looking.is_in_memory(record.event)
                and self._members(record.event.room_id, position)
            ):
                asked.add(record.event, record.timeline_order or position)
        return asked

    async def _run(self) -> None:
        while self._queue:
            work = self._queue[0]
            try:
                asked = work.asked or self._asked(work.notice)
                around = await self._looking.look(asked) if asked else self._looking.without()
                self._tell(work, around)
            except Exception:
                logger.exception("a commit could not be told")
                self._fail(work)
            self._queue.popleft()
        self._moves.clear()
        self._task = None

    def _fail(self, work: _Work) -> None:
        """Have everybody come back and read it from the database."""
        for reader in list(self._readers.by_user.values()):
            reader.cut_off("failed")
        self.position = work.notice.position

    # ------------------------------------------------------------ telling

    def _tell(self, work: _Work, around: Around) -> None:
        for position, record in work.notice.records:
            if isinstance(record, EventRecord):
                self._tell_event(position, record, around)
                continue
            if isinstance(record, RESTRICTING) or (
                isinstance(record, AccountDataRecord) and record.type == IGNORED
            ):
                self._ask_anew(record)
            if isinstance(record, ToDeviceRecord):
                for routed in route_device_messages(position, record, self._readers.by_user):
                    self.send(routed, position)
                continue
            made = route_record(position, record)
            if made is not None:
                self.send(made, position)
        self.position = work.notice.position

    def _ask_anew(self, record: Record) -> None:
        self._restrictions += 1
        for user_id in record.touched_users():
            reader = self._readers.by_user.get(user_id)
            if reader is not None:
                reader.is_plain = False

    def _tell_event(self, position: int, record: EventRecord, around: Around) -> None:
        room_id = record.event.room_id
        movers: list[str] = []
        for routed in self._own_moves(position, record):
            movers.extend(routed.users)
            self.send(routed, position)
        if not record.visible:
            return
        receivers = self._members(room_id, position)
        if not receivers:
            return
        event_id = record.event.event_id
        stored = self._store.peek(event_id) or stored_event(position, record)
        routed_event = route_safely(stored, around)
        if routed_event is None:
            return
        if stored.event.sender in self._looking.erased:
            routed_event.stored, routed_event.is_simple = stored, False
        for reader in receivers:
            if reader.user_id not in movers:
                reader.take(routed_event)

    def _own_moves(self, position: int, record: EventRecord) -> Iterator[Routed]:
        for change in record.memberships:
            for user_id, row, before in self._moves.get(change.room_id, ()):
                if user_id == change.user_id and row.position == position:
                    routed = route_move(row, user_id, before)
                    if routed is not None:
                        yield routed

    def publish(self, user_id: str, shape: AnyUpdate) -> None:
        """Tell a user of something that is not in the log."""
        if user_id in self._readers.by_user:
            self.send(Routed(Update(shape), users=(user_id,)))

    def send(self, routed: Routed, position: int | None = None) -> None:
        """Hand an update to those whom it reaches.  ``position``: as of when, if it is durable."""
        self._judge.settle(routed)
        readers = self._readers.by_user
        for user_id in routed.users:
            reader = readers.get(user_id)
            if reader is not None:
                reader.take(routed)
            if position is None and user_id in self._opening:
                self._keep(user_id, routed)
        if routed.room_id is None:
            return
        for reader in self._members(routed.room_id, position):
            if reader.user_id not in routed.but_not:
                reader.take(routed)

    def _keep(self, user_id: str, routed: Routed) -> None:
        """Keep what subscriptions that are being opened are not told by the log."""
        if routed.event is None and routed.owner is None:
            for kept in self._opening[user_id]:
                if len(kept) < MOST_KEPT:
                    kept.append(routed)

    def readers_in(self, room_id: str) -> Sequence[Reader]:
        """The readers who are in a room now."""
        return self._members(room_id, None)

    def _members(self, room_id: str, position: int | None) -> Sequence[Reader]:
        """The readers who were in a room once a record was written; now, for None."""
        members: Collection[str] = self._rooms.members(room_id)
        moves = self._moves.get(room_id)
        if moves and position is not None:
            members = _undone(members, moves, position)
        readers = self._readers.by_user
        if len(members) <= len(readers):
            return [readers[user_id] for user_id in members if user_id in readers]
        return [reader for user_id, reader in readers.items() if user_id in members]


def _undone(
    members: Collection[str], moves: Iterable[tuple[str, MembershipRow, str]], position: int
) -> set[str]:
    """Members as they were before the moves that came after a position."""
    found = set(members)
    for user_id, row, before in reversed(list(moves)):
        if row.position > position:
            if before == "join":
                found.add(user_id)
            else:
                found.discard(user_id)
    return found
