"""One room's part of a sync: its timeline, its state, its counts.

Spec: client-server API, syncing (``rooms.join``, ``rooms.leave``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum

import msgspec
import orjson
from msgspec.structs import replace

from homeserver.protocol.events import JsonObject
from homeserver.services.aggregations import Aggregations, Relations
from homeserver.services.client_events import Beside, ClientEvents, as_filtered, shown_event
from homeserver.services.event_store import EventStore
from homeserver.services.reading_together import ReadingTogether
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.sync_counts import counts_of
from homeserver.services.sync_members import SentMembers
from homeserver.services.sync_span import Spans, View
from homeserver.services.sync_state import MEMBER, Span, StateIds, SyncStates
from homeserver.services.sync_summary import NAMES, RoomSummaries
from homeserver.services.sync_token import timeline_token
from homeserver.services.unread import UnreadCounts
from homeserver.services.visibility import Reader, Visibility
from homeserver.storage import events as event_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.many_rooms import OwnEvent, get_own_transaction_ids
from homeserver.storage.rooms import MembershipRow

NO_EVENTS = orjson.Fragment(b'{"events":[]}')


class Extras(msgspec.Struct, frozen=True):
    """What a room's part bears besides events and state."""

    ephemeral: Sequence[JsonObject] = ()
    account_data: Sequence[JsonObject] = ()
    counts_changed: bool = False


class Entry(Enum):
    """How a reader came to be in a room, since their token."""

    STAYED = "stayed"  # they were there all the time
    NEW = "new"  # they know nothing of the room
    BACK = "back"  # they were away meanwhile


class SyncRooms:
    """Makes rooms' parts of syncs."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        store: EventStore,
        events: ClientEvents,
        aggregations: Aggregations,
        states: SyncStates,
        summaries: RoomSummaries,
        visibility: Visibility,
        unread: UnreadCounts,
    ) -> None:
        self._transactions: ReadingTogether[OwnEvent, str] = ReadingTogether(
            lambda events: get_own_transaction_ids(database, events)
        )
        self._spans = Spans(database=database, recent=recent, store=store)
        self._recent = recent
        self._store = store
        self._events = events
        self._aggregations = aggregations
        self._states = states
        self._summaries = summaries
        self._visibility = visibility
        self._unread = unread
        self.sent_members = SentMembers()

    async def sizes(self, room_ids: Collection[str]) -> dict[str, int]:
        """Room ID -> how many are in it, or invited."""
        await self._summaries.prepare(room_ids)
        summaries = [await self._summaries.get(room_id) for room_id in room_ids]
        return {
            room_id: summary.joined + summary.invited
            for room_id, summary in zip(room_ids, summaries, strict=True)
        }

    # ------------------------------------------------------------ the two kinds of room

    async def joined(
        self, view: View, room_id: str, extras: Extras, entry: Entry = Entry.STAYED
    ) -> JsonObject | None:
        """The part of a joined room; None if there is nothing to tell."""
        since = None if entry is Entry.NEW else view.since
        reader: Reader | None = None
        if entry is not Entry.STAYED:
            reader = await self._visibility.reader(room_id, view.user_id)
        span = await self.read_span(view, room_id, since, view.upto, reader)
        full = view.full_state or entry is not Entry.STAYED
        if full:
            span.begin_anew()
        heroes: list[str] = []
        summary: JsonObject = {}
        if full or self._recent.members.changed(room_id, view.since or 0) or _may_be_renamed(span):
            summary, heroes = await self._summary(view, span)
        state = await self._state(view, span, heroes)
        if not (
            full
            or span.timeline
            or span.limited
            or state
            or extras.ephemeral
            or extras.account_data
            or extras.counts_changed
        ):
            return None
        part: JsonObject = {
            "timeline": await self._timeline(view, span, reader),
            self._state_name(view): await self._state_part(view, span, state),
            "account_data": {"events": extras.account_data} if extras.account_data else NO_EVENTS,
            "ephemeral": {"events": extras.ephemeral} if extras.ephemeral else NO_EVENTS,
            "summary": summary,
        }
        unread = await self._unread.get(view.user_id, room_id, view.upto)
        by_thread = view.filter.timeline.unread_thread_notifications
        part.update(counts_of(unread, by_thread=by_thread))
        return part

    async def left(
        self,
        view: View,
        row: MembershipRow,
        *,
        was_joined: bool,
        in_silence: bool = False,
        account_data: Sequence[JsonObject] = (),
    ) -> JsonObject:
        """The part of a room that the reader left, was kicked or banned from.

        ``was_joined``: at ``since``, so that the reader knows the state of then.  ``in_silence``:
        without the event that removed them, if they were not in the room: its sender is not heard.
        Of a room that is forgotten already there is nothing but that it was left.
        """
        reader = await self._visibility.reader(row.room_id, view.user_id)
        since = view.since if was_joined else None
        upto = min(row.position, view.upto)
        span = await self.read_span(view, row.room_id, since, upto, reader)
        state: list[StoredEvent] = []
        stay_end, is_new = reader.left_at, False
        if row.forgotten:
            span.shown, span.released, span.limited = [], (), True
        elif not reader.ever_joined:
            # What they might have seen from their invite on is for who accepts it.
            span.shown = _own(_new(view, span.shown), view.user_id)
            span.released, span.limited = (), False
        elif stay_end is not None and (view.since is None or stay_end > view.since):
            # What happened to the state after they left is not for them.
            is_new = True
            span.end_snapshot = await self._states.snapshot_at(row.room_id, stay_end)
            if not was_joined or view.full_state:
                span.begin_anew()
            state = await self._state(view, span, [])
        elif not was_joined:
            # The leave was told before: only what became of it is new.
            span.shown = _new(view, span.shown)
        if in_silence and not is_new:
            span.shown = []
        else:
            state = await self._with_end(view, row, span, state, alone=not is_new)
        return {
            "timeline": await self._timeline(view, span, reader),
            self._state_name(view): await self._state_part(view, span, state),
            "account_data": {"events": account_data} if account_data else NO_EVENTS,
        }

    async def _with_end(
        self, view: View, row: MembershipRow, span: Span, state: list[StoredEvent], *, alone: bool
    ) -> list[StoredEvent]:
        """See that the reader knows what became of them, by the timeline or by the state.

        ``alone``: even where nothing else is told of the room.  Returns the state.
        """
        end = await self._store.get(row.event_id)
        if end is None or not end.shown:
            return state
        own = _own(span.shown, view.user_id)
        told = bool(own) and own[-1].event.event_id == row.event_id
        if not told and (own or (alone and not span.shown)):
            span.shown, told = [*span.shown, end], True
        if (told and not view.use_state_after) or not view.filter.state.matches(end.event):
            return state
        return [*(stored for stored in state if stored.event.key != end.event.key), end]

    async def read_span(
        self, view: View, room_id: str, since: int | None, upto: int, reader: Reader | None
    ) -> Span:
        """The newest events of a room up to the filter's limit, and those released meanwhile."""
        span = await self._spans.read(view, room_id, since, upto, reader)
        await self._add_released(view, span)
        return span

    async def _add_released(self, view: View, span: Span) -> None:
        """Add what stands before the reader's token, but was released only after it."""
        since = span.since
        if since is None or not self._recent.releases.changed(span.room_id, since):
            return
        reader = await self._visibility.reader(span.room_id, view.user_id)
        span.released, complete = await self._spans.released(
            view, span.room_id, since, span.upto, reader
        )
        span.limited = span.limited or not complete

    def _state_name(self, view: View) -> str:
        return view.state_after_name if view.use_state_after else "state"

    # ------------------------------------------------------------ timeline

    async def _timeline(self, view: View, span: Span, reader: Reader | None) -> JsonObject:
        """The timeline's JSON.  Readers who see the same events get the same bytes."""
        first = span.shown[0] if span.shown else None
        if first is not None:
            order = first.order - 1
        else:
            # Where everything is left out, the gap is all of it: it is looked for from its end.
            order = span.upto if view.since is None or span.limited else view.since
        return {
            "events": await self.events_json(view, span, reader),
            "limited": span.limited,
            "prev_batch": timeline_token(order),
        }

    async def events_json(self, view: View, span: Span, reader: Reader | None) -> orjson.Fragment:
        """A span's events, as JSON."""
        return orjson.Fragment(await self._shared_events(view, span, reader))

    async def _shared_events(self, view: View, span: Span, reader: Reader | None) -> bytes:
        room = self._recent.room(span.room_id)
        own = await self._transaction_ids(view, span)
        relations = await self._relations(view, span)
        timeline = await self._visibility.as_seen(span.timeline, span.room_id, view.user_id)
        if reader is None and (timeline is not span.timeline or _shows_unheard(view, timeline)):
            reader = await self._visibility.reader(span.room_id, view.user_id)
        if reader is not None or room is None or own or relations or not view.is_plain:
            return await self._events_json(view, timeline, reader, own, relations)
        key = tuple([stored.position for stored in span.timeline])
        block = room.block(key)
        if block is None:
            history = await self._visibility.history(span.room_id)
            if not history.always_shared:
                reader = await self._visibility.reader(span.room_id, view.user_id)
            block = await self._events_json(view, span.timeline, reader, own, relations)
            if reader is None:
                room.keep_block(key, block)
        return block

    async def _relations(self, view: View, span: Span) -> Relations:
        """What relates to the events of a limited timeline, and to those that were held.

        Of others, all comes after them.
        """
        events = span.timeline if span.limited else span.released
        if not events:
            return {}
        reader = await self._visibility.reader(span.room_id, view.user_id)
        return await self._aggregations.bundle(events, reader, view.withheld)

    async def _transaction_ids(self, view: View, span: Span) -> Mapping[str, str]:
        """Event ID -> transaction ID, for what this device sent.  Spec: transaction IDs."""
        user_id, device_id = view.device
        if device_id is None:
            return {}
        sent = [s.event.event_id for s in span.released if s.event.sender == user_id]
        found: dict[str, str] = {}
        if span.recent is not None:
            found = {
                recent.stored.event.event_id: own
                for recent in span.recent
                if (transaction := recent.transaction) is not None
                and transaction.user_id == user_id
                and (own := event_storage.own_transaction(transaction, device_id)) is not None
            }
        else:
            sent.extend(s.event.event_id for s in span.shown if s.event.sender == user_id)
        if sent:
            own_events = [(user_id, device_id, event_id) for event_id in sent]
            read = await self._transactions.get_many(own_events)
            found |= {own[2]: read[own] for own in own_events if own in read}
        return found

    async def _events_json(
        self,
        view: View,
        events: Sequence[StoredEvent],
        reader: Reader | None,
        transaction_ids: Mapping[str, str],
        relations: Relations,
    ) -> bytes:
        beside = await self._events.beside(events)
        if beside.redactions and reader is not None:
            beside.redactions = reader.redactions_as_seen(beside.redactions, view.withheld)
        if relations:
            beside = replace(beside, relations=relations)
        parts = []
        for stored in events:
            part = self._events.serialise(
                stored,
                membership="join" if reader is None else reader.membership_at(stored),
                beside=beside,
                may_see_previous=reader is None or _sees_previous(reader, beside, stored),
                transaction_id=transaction_ids.get(stored.event.event_id),
            )
            parts.append(part if view.is_plain else as_filtered(part, stored, view.filter))
        return b"[" + b",".join(parts) + b"]"

    # ------------------------------------------------------------ state

    async def _state(self, view: View, span: Span, heroes: Sequence[str]) -> list[StoredEvent]:
        """The state events that the reader needs, members among them as far as wanted."""
        lazy = view.filter.lazy_load_members
        members: set[str] | None = None
        if lazy:  # of the members those who matter for what is shown
            members = {stored.event.sender for stored in span.timeline}
            members.update(heroes)
            if span.since is None:
                members.add(view.user_id)
                members.update(await self._states.moved(span))
                if view.use_state_after:  # clients do not take it from the timeline
                    members.update(_members_in(span.timeline))
        ids = await self._state_ids(view, span, members)
        if members and span.since is not None:
            await self._add_members(view, span, ids, members)
        if not ids:
            return []
        found = await self._store.get_many(ids.values())
        matches = view.filter.state.matches
        events = [
            stored
            for event_id in ids.values()
            if (stored := found.get(event_id)) is not None and matches(stored.event)
        ]
        if lazy:
            self._note_members(view, span.room_id, events)
        return events

    async def _state_ids(self, view: View, span: Span, members: set[str] | None) -> StateIds:
        if span.since is None:
            if view.use_state_after:
                return await self._states.at_end(span, members)
            return await self._states.at_start(span, members)
        if view.use_state_after:
            return await self._states.changed_at_end(span)
        return await self._states.changed_at_start(span)

    async def _add_members(
        self, view: View, span: Span, ids: StateIds, wanted: Collection[str]
    ) -> None:
        """Add those members of whom the reader does not know yet."""
        assert span.since is not None
        if view.use_state_after or not span.shown:
            snapshot = await self._states.end_snapshot(span)
        else:
            snapshot = span.shown[0].snapshot_before
        if snapshot is None:
            return
        redundant = view.filter.state.include_redundant_members
        for user_id, event_id in (await self._states.member_ids(snapshot, wanted)).items():
            if redundant or not self.sent_members.has(
                view.device, span.room_id, user_id, event_id, span.since
            ):
                ids[(MEMBER, user_id)] = event_id

    def _note_members(self, view: View, room_id: str, events: Sequence[StoredEvent]) -> None:
        for stored in events:
            event = stored.event
            if event.type == MEMBER and event.state_key is not None:
                self.sent_members.note(
                    view.device, room_id, event.state_key, event.event_id, view.upto
                )

    async def _state_part(
        self, view: View, span: Span, events: Sequence[StoredEvent]
    ) -> JsonObject | orjson.Fragment:
        if view.filter.lazy_load_members:
            self._note_members(view, span.room_id, span.shown)
        if not events:
            return NO_EVENTS
        # The same events are in the timeline, and of the two this one is what clients keep.
        news = span.timeline if view.use_state_after else ()
        return {"events": await self.state_json(view, span.room_id, events, news)}

    async def state_json(
        self,
        view: View,
        room_id: str,
        events: Sequence[StoredEvent],
        news: Sequence[StoredEvent] = (),
    ) -> list[orjson.Fragment]:
        """State events of a room as a reader gets them; ``news``: those that say what they
        replaced."""
        reader = await self._visibility.reader(room_id, view.user_id)
        changes = [stored for stored in news if stored.event.is_state]
        previous = (await self._events.beside(changes)).previous if changes else {}
        beside = await self._events.beside(events, replaced=False)
        if previous:
            beside = replace(beside, previous=previous)
        if beside.redactions:
            beside.redactions = reader.redactions_as_seen(beside.redactions, view.withheld)
        parts = []
        for stored in map(reader.as_seen, events):
            part = self._events.serialise(
                stored,
                membership=reader.membership_at(stored),
                beside=beside,
                may_see_previous=_sees_previous(reader, beside, stored),
            )
            part = part if view.is_plain else as_filtered(part, stored, view.filter)
            parts.append(orjson.Fragment(part))
        return parts

    # ------------------------------------------------------------ summary

    async def _summary(self, view: View, span: Span) -> tuple[JsonObject, list[str]]:
        """A room's summary, and the heroes in it.

        None if somebody has come or gone after what is told: the next sync has it, with them.
        """
        summary = await self._summaries.get(span.room_id)
        if summary.position > view.upto:
            return {}, []
        if await self._has_name(span):
            return summary.to_json(None), []
        heroes = summary.heroes(view.user_id)
        return summary.to_json(heroes), heroes

    async def _has_name(self, span: Span) -> bool:
        snapshot = await self._states.end_snapshot(span)
        ids = await self._states.keys(snapshot, NAMES) if snapshot is not None else {}
        for stored in (await self._store.get_many(ids.values())).values():
            content = shown_event(stored).content
            if content.get("name") or content.get("alias"):
                return True
        return False


def _sees_previous(reader: Reader, beside: Beside, stored: StoredEvent) -> bool:
    """Whether a reader may see what a state event replaced."""
    previous = beside.previous.get(stored.event.event_id)
    return previous is None or previous.stored is None or reader.sees_whole(previous.stored)


def _new(view: View, events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Those of some events that stand after the reader's token."""
    return [stored for stored in events if view.since is None or stored.order > view.since]


def _own(events: Iterable[StoredEvent], user_id: str) -> list[StoredEvent]:
    """Those of some events that are of a user's own membership."""
    return [s for s in events if s.event.type == MEMBER and s.event.state_key == user_id]


def _members_in(timeline: Sequence[StoredEvent]) -> Iterable[str]:
    """Those whose membership a timeline changes."""
    return [s.event.key[1] for s in timeline if s.event.is_state and s.event.type == MEMBER]


def _may_be_renamed(span: Span) -> bool:
    """Whether the room may have another name, or none any more, than the reader knows."""
    events = span.shown if span.recent is None else (recent.stored for recent in span.recent)
    return (span.limited and span.recent is None) or any(
        stored.event.state_key == "" and stored.event.key in NAMES for stored in events
    )


def _shows_unheard(view: View, events: Iterable[StoredEvent]) -> bool:
    """Whether a redaction may be by somebody of whom the reader hears nothing."""
    withheld = view.withheld
    if not (withheld.users or withheld.servers):
        return False
    return any(stored.redacted_by is not None for stored in events)
