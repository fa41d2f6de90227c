"""Unread counts, without a row per reader.

An event is evaluated once for all who share the default push rules, and once for each user whom it
singles out or who has rules of their own; each evaluation that notifies leaves one row for its
*audience*: a ruleset's name, or a user ID.  A reader's count is the rows of their audiences past
what they have read.  Sending reads, too: an event of a local user leaves a row for the audience
``sent:`` and their ID, and what stands before it in its thread is read.

Spec: client-server API, receiving notifications, marking notifications as read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import Protocol

from msgspec import Struct, field

from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.push_rules import (
    Actions,
    CompiledRuleset,
    PushEvent,
    RoomPushContext,
    UserPushContext,
    singled_out_user_ids,
)
from homeserver.protocol.relations import THREAD, relation_of, thread_root
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.reading_together import ReadingTogether
from homeserver.services.recent_timeline import RecentEvent, RecentTimeline
from homeserver.services.visibility import CALL_TYPES, ReaderFilter, Withheld
from homeserver.storage import notifications as storage
from homeserver.storage.account_data import PUSH_RULES, AccountDataRecord
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, Notification
from homeserver.storage.hidden_events import HiddenRecord, ViewedRecord
from homeserver.storage.log import Log, Notice
from homeserver.storage.receipts import MAIN_THREAD, READ, READ_PRIVATE, UNTHREADED, ReceiptRecord

DEFAULT = "default"
SENT = "sent:"
MOST_COUNTED = 10_000
MOST_CALLS = 100  # the newest notifications of a room among which calls are looked for
MARKS_READ = 1_000
CACHED_COUNTS = 50_000
THREAD_HOPS = 3  # spec: receiving notifications, marking notifications as read
MEMBER = "m.room.member"
Wanted = tuple[str, str, int]
"""Whose count, in which room, up to which position."""
# What of a reader's account data decides which events count for them.
COUNTED_BY = frozenset({PUSH_RULES, "m.ignored_user_list"})


class Rulesets(Protocol):
    """Everybody's push rules, compiled."""

    def ruleset_name(self, user_id: str) -> str:
        """``default``, or the user's own ID."""

    def deviating(self, user_ids: Set[str]) -> Set[str]:
        """Those who have rules of their own."""

    def naming(self, user_ids: Set[str]) -> Set[str]:
        """Those whose rules ask for their display name in the room."""

    def compiled(self, ruleset_name: str) -> CompiledRuleset:
        """A ruleset by its name."""


class UnreadCounter:
    """Says for whom an event counts as unread."""

    def __init__(
        self,
        *,
        server_name: str,
        rulesets: Rulesets,
        store: EventStore,
        is_asked: Callable[[str, str], bool] = lambda _invitee, _inviter: False,
    ) -> None:
        """``is_asked``: whether an inviter waits for the invitee's answer; that notifies nobody."""
        self._server_name = server_name
        self._rulesets = rulesets
        self._store = store
        self._is_asked = is_asked

    async def prepare(self, room: LiveRoom, content: JsonObject) -> None:
        """Bring into memory what :meth:`notifications` will look at.

        The names of those whose rules ask for them, and what an event of this content relates to.
        """
        naming = self._rulesets.naming(room.joined_local)
        if naming:
            await room.load_events(self._store, [(MEMBER, user_id) for user_id in naming])
        relation = relation_of(content)
        for _ in range(THREAD_HOPS):
            if relation is None or relation.rel_type == THREAD:
                return
            related = await self._store.get(relation.event_id)
            relation = relation_of(related.event.content) if related is not None else None

    def notifications(self, room: LiveRoom, event: Event) -> Sequence[Notification]:
        """One per ruleset that an event notifies, and one per user whom it singles out."""
        thread_id = self._thread_of(event)
        pushed = PushEvent(event)
        levels = room.power_levels
        context = RoomPushContext(
            room.joined_count,
            levels.user(event.sender),
            levels.notifications,
        )
        generic = self._rulesets.compiled(DEFAULT).evaluate_generic(pushed, context)
        found = []
        if generic is not None:
            found.append(Notification(DEFAULT, thread_id, generic.highlight))
        single = self._singled_out(room, event) | self._rulesets.deviating(room.joined_local)
        for user_id in single:
            name = self._rulesets.ruleset_name(user_id)
            actions = self._rulesets.compiled(name).evaluate(
                pushed, context, UserPushContext(user_id, self._display_name(room, user_id))
            )
            if actions is not None and not (name == DEFAULT and _same(actions, generic)):
                found.append(Notification(user_id, thread_id, actions.highlight))
        if event.state_key is None and event.sender in room.joined_local:
            found.append(Notification(SENT + event.sender, thread_id, False))
        return found

    def _singled_out(self, room: LiveRoom, event: Event) -> Set[str]:
        named = singled_out_user_ids(event)
        if not named:
            return named
        found = set(named & room.joined_local)
        invitee = event.state_key
        if (
            invitee in named
            and server_name_of(invitee) == self._server_name
            and not self._is_asked(invitee, event.sender)
        ):
            found.add(invitee)
        return found

    def _display_name(self, room: LiveRoom, user_id: str) -> str | None:
        name = room.content((MEMBER, user_id)).get("displayname")
        return name if isinstance(name, str) else None

    def _thread_of(self, event: Event) -> str:
        """The thread that an event belongs to, by its own word or by what it relates to.

        Spec: client-server API, threading; a relation to an event of a thread belongs there, too.
        """
        root, relation = thread_root(event.content), relation_of(event.content)
        for _ in range(THREAD_HOPS):
            if root is not None or relation is None:
                break
            related = self._store.peek(relation.event_id)
            if related is None or related.event.room_id != event.room_id:
                break
            content = related.event.content
            root, relation = thread_root(content), relation_of(content)
        return root if root is not None else MAIN_THREAD


def _same(actions: Actions, generic: Actions | None) -> bool:
    return generic is not None and generic.highlight == actions.highlight


# ---------------------------------------------------------------- counting


class ThreadCount(Struct):
    """How much is unread in a thread, or in the main timeline."""

    notifications: int = 0
    highlights: int = 0
    last: int = 0  # position of the last one, or later


class Unread(Struct):
    """How much a reader has not read in a room: counted as far as ``upto``."""

    upto: int
    threads: dict[str, ThreadCount] = field(default_factory=dict)

    @property
    def notifications(self) -> int:
        """In the whole room."""
        return sum(count.notifications for count in self.threads.values())

    @property
    def highlights(self) -> int:
        """In the whole room."""
        return sum(count.highlights for count in self.threads.values())


class UnreadCounts:
    """Keeps readers' counts, moved on by what the log brings."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        recent: RecentTimeline,
        rulesets: Rulesets,
        reader_filter: ReaderFilter,
    ) -> None:
        self._reader_filter = reader_filter
        self._database = database
        self._recent = recent
        self._rulesets = rulesets
        self._counts: OrderedDict[tuple[str, str], Unread] = OrderedDict()
        self._changes = 0
        self._counting: ReadingTogether[Wanted, Unread] = ReadingTogether(self._count_wanted)
        log.subscribe(self._on_notice)

    async def get(self, user_id: str, room_id: str, upto: int) -> Unread:
        """A reader's counts in a room, of what stands up to a position."""
        unread = self._counts.get((user_id, room_id))
        if unread is None or self._is_behind(room_id, unread):
            wanted = (user_id, room_id, upto)
            return (await self._counting.get_many((wanted,)))[wanted]
        if unread.upto < upto:
            room = self._recent.room(room_id)
            if room is not None:
                withheld = await self._reader_filter.withheld(user_id)
                self._advance(unread, user_id, withheld, room.between(unread.upto, upto))
            unread.upto = upto
        return unread

    async def get_many(self, user_id: str, room_ids: Iterable[str], upto: int) -> dict[str, Unread]:
        """A reader's counts in several rooms: what must be counted is counted together."""
        found: dict[str, Unread] = {}
        missing: list[str] = []
        for room_id in room_ids:
            unread = self._counts.get((user_id, room_id))
            if unread is None or self._is_behind(room_id, unread):
                missing.append(room_id)
            else:
                found[room_id] = await self.get(user_id, room_id, upto)
        if missing:
            found.update(await self._count(user_id, missing, upto))
        return found

    def _is_behind(self, room_id: str, unread: Unread) -> bool:
        """Whether memory does not reach back to where a count ended."""
        return self._recent.complete_after(room_id) > unread.upto or self._recent.releases.changed(
            room_id, unread.upto
        )

    def _keep(self, key: tuple[str, str], unread: Unread) -> None:
        self._counts[key] = unread
        self._counts.move_to_end(key)
        if len(self._counts) > CACHED_COUNTS:
            self._counts.popitem(last=False)

    def _advance(
        self, unread: Unread, user_id: str, withheld: Withheld, events: Iterable[RecentEvent]
    ) -> None:
        ruleset = self._rulesets.ruleset_name(user_id)
        mark = SENT + user_id
        for recent in events:
            counted = highlight = False
            thread_id = MAIN_THREAD
            for notification in recent.notifications:
                audience = notification.audience
                if audience in (ruleset, user_id):
                    counted = True
                    highlight = highlight or notification.highlight
                    thread_id = notification.thread_id
                elif audience == mark:
                    unread.threads.pop(notification.thread_id, None)
            event = recent.stored.event
            if counted and event.sender != user_id and not withheld.hides(event):
                count = unread.threads.setdefault(thread_id, ThreadCount())
                count.notifications += 1
                count.highlights += highlight
                count.last = recent.stored.order

    async def _count_wanted(self, wanted: Sequence[Wanted]) -> dict[Wanted, Unread]:
        rooms: dict[tuple[str, int], list[str]] = {}
        for user_id, room_id, upto in wanted:
            rooms.setdefault((user_id, upto), []).append(room_id)
        found: dict[Wanted, Unread] = {}
        for (user_id, upto), room_ids in rooms.items():
            counts = await self._count(user_id, room_ids, upto)
            found.update(((user_id, room_id, upto), counts[room_id]) for room_id in room_ids)
        return found

    async def _count(self, user_id: str, room_ids: Sequence[str], upto: int) -> dict[str, Unread]:
        changes = self._changes
        found = {room_id: Unread(upto) for room_id in room_ids}
        audiences = {self._rulesets.ruleset_name(user_id), user_id}
        withheld = await self._reader_filter.withheld(user_id)
        for row in await storage.count_unread(
            self._database,
            room_ids,
            user_id,
            audiences=audiences,
            sent_audience=SENT + user_id,
            upto=upto,
            marks=MARKS_READ,
            limit=MOST_COUNTED,
            without=withheld.peers | await self._silent_calls(withheld, room_ids, audiences, upto),
        ):
            count = ThreadCount(row.notifications, row.highlights, upto)
            found[row.room_id].threads[row.thread_id] = count
        if changes == self._changes:
            for room_id, unread in found.items():
                self._keep((user_id, room_id), unread)
        return found

    async def _silent_calls(
        self, withheld: Withheld, room_ids: Sequence[str], audiences: Collection[str], upto: int
    ) -> frozenset[str]:
        """The recent calls that do not ring for a reader; most readers let everybody call."""
        may_not_call = withheld.may_not_call
        if may_not_call is None:
            return frozenset()
        calls = await storage.get_calls(
            self._database,
            room_ids,
            audiences=audiences,
            upto=upto,
            types=CALL_TYPES,
            limit=MOST_CALLS,
        )
        return frozenset(event_id for event_id, sender in calls if may_not_call(sender))

    # ------------------------------------------------------------ following the log

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, ReceiptRecord):
                if record.moved and record.receipt_type in (READ, READ_PRIVATE):
                    self._changes += 1
                    self._take_receipt(record)
            elif isinstance(record, EventRecord):
                for change in record.memberships:
                    if change.local:
                        self._changes += 1
                        self._counts.pop((change.user_id, change.room_id), None)
            elif isinstance(record, AccountDataRecord) and record.type in COUNTED_BY:
                self._forget_reader(record.user_id)
            elif isinstance(record, ConsentRecord) and record.state != "asked":
                self._forget_reader(record.owner)
            elif isinstance(record, HiddenRecord | ViewedRecord):
                self._forget_reader(record.user_id)

    def _forget_reader(self, user_id: str) -> None:
        """What counts for a reader has changed."""
        self._changes += 1
        for key in [key for key in self._counts if key[0] == user_id]:
            del self._counts[key]

    def _take_receipt(self, receipt: ReceiptRecord) -> None:
        """Having read all that was counted is settled at once; anything else is counted anew."""
        key = (receipt.user_id, receipt.room_id)
        unread = self._counts.get(key)
        if unread is None:
            return
        order = receipt.event_order
        if order is not None and receipt.thread_id == UNTHREADED:
            if all(count.last <= order for count in unread.threads.values()):
                unread.threads.clear()
                unread.upto = max(unread.upto, order)
                return
        elif order is not None and order <= unread.upto:
            count = unread.threads.get(receipt.thread_id)
            if count is None or count.last <= order:
                unread.threads.pop(receipt.thread_id, None)
                return
        del self._counts[key]
