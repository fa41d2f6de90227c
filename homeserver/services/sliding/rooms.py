"""One room's part of an answer: its timeline, its state, and what it is called.

Everything is read through the same parts as for ``/sync``, so what is withheld there is withheld
here.  Spec: MSC4186, ``RoomResult``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from homeserver.protocol.events import JsonObject, StateKey
from homeserver.protocol.filters import RoomEventFilter, SyncFilter
from homeserver.services.client_events import shown_event
from homeserver.services.event_store import EventStore
from homeserver.services.sliding.connection import Member, Sent
from homeserver.services.sliding.room_state import StateChanges, StateReader
from homeserver.services.sliding.traits import BumpStamps
from homeserver.services.sliding.wanted import MEMBER, RoomConfig
from homeserver.services.sync_members import SentMembers
from homeserver.services.sync_room import SyncRooms
from homeserver.services.sync_span import View
from homeserver.services.sync_state import Span
from homeserver.services.sync_summary import RoomSummaries
from homeserver.services.sync_token import timeline_token
from homeserver.services.unread import UnreadCounts
from homeserver.services.visibility import Reader, Visibility, Withheld
from homeserver.storage.events import StoredEvent
from homeserver.storage.rooms import MembershipRow

NAME: StateKey = ("m.room.name", "")
AVATAR: StateKey = ("m.room.avatar", "")
SMALL_ROOM = 100  # members: its state is read at once


class Asker(Struct, frozen=True):
    """Who asks, on which connection, and how far they have come."""

    user_id: str
    device_id: str | None
    connection: str
    number: int
    """Of the last answer that the client has; 0 before there is one."""
    position: int | None
    """Up to where the client has everything of rooms that are not behind; None at first."""
    upto: int
    withheld: Withheld
    legacy: bool


class RoomAsk(Struct, frozen=True):
    """What to tell of a room.

    ``since``: up to where the client knows it; None to tell it anew.
    """

    room_id: str
    config: RoomConfig
    sent: Sent | None
    since: int | None
    is_dm: bool
    counts_changed: bool = False


class RoomPart(Struct):
    """What is told of a room, and what the client knows then."""

    body: JsonObject
    sent: Sent
    timeline: Sequence[StoredEvent] = ()
    reaches_back: bool = False
    """Whether the timeline may have events from before what the client knew."""
    state: Sequence[StoredEvent] = ()
    """The required state that is told."""


class SlidingRoomParts:
    """Makes rooms' parts."""

    def __init__(
        self,
        *,
        rooms: SyncRooms,
        states: StateReader,
        store: EventStore,
        summaries: RoomSummaries,
        visibility: Visibility,
        unread: UnreadCounts,
        bumps: BumpStamps,
    ) -> None:
        self._rooms = rooms
        self._states = states
        self._store = store
        self._summaries = summaries
        self._visibility = visibility
        self._unread = unread
        self._bumps = bumps
        self._members = SentMembers()

    def begin(self, user_id: str, connection: str, acknowledged: int) -> None:
        """A client comes that has the answers up to a number, and no later ones."""
        if acknowledged:
            self._members.forget_after((user_id, connection), acknowledged)
        else:
            self._members.forget((user_id, connection))

    def note_sent(
        self, user_id: str, connection: str, members: Iterable[Member], number: int
    ) -> None:
        """The answer of that number, which bears these member events, is sent."""
        for room_id, member, event_id in members:
            self._members.note((user_id, connection), room_id, member, event_id, number)

    # ------------------------------------------------------------ rooms that the user is in

    async def joined(self, asker: Asker, ask: RoomAsk) -> RoomPart | None:
        """The part of a joined room; None if there is nothing to tell."""
        limit = ask.config.timeline_limit
        sent, since = ask.sent, ask.since
        expands = sent is not None and since is not None and limit > sent.depth
        view = self._view(asker, since, limit)
        reader: Reader | None = None
        if since is None or expands:
            reader = await self._visibility.reader(ask.room_id, asker.user_id)
        changed_span = await self._rooms.read_span(
            view, ask.room_id, since, asker.upto, reader if since is None else None
        )
        span = changed_span
        if expands:
            span = await self._rooms.read_span(view, ask.room_id, None, asker.upto, reader)
            span.released = changed_span.released
        if since is None:
            summary = await self._summaries.get(ask.room_id)
            if summary.joined + summary.invited <= SMALL_ROOM:
                await self._states.read_whole(span)
        changes = await self._changes(ask, changed_span)
        members_changed = since is None or changes.has_members
        state = await self._state(asker, ask, span, changes)
        config_changed = sent is not None and (expands or sent.config != ask.config)
        is_dm_changed = sent is not None and sent.is_dm != ask.is_dm
        is_older = expands and any(s.order <= (since or 0) for s in span.shown)
        body: JsonObject = {}
        if since is None:
            body["initial"] = True
        elif not (
            changed_span.timeline
            or changed_span.limited
            or is_older
            or state.events
            or state.deleted
            or changes.named
            or is_dm_changed
            or ask.counts_changed
        ):
            if not config_changed:
                return None
            return RoomPart(body, self._sent(ask, changed_span, expands))
        await self._add_summary(asker, ask, span, changes, members_changed, body)
        if ask.is_dm or is_dm_changed:
            body["is_dm"] = ask.is_dm
        await self._add_timeline(asker, view, span, reader, body)
        if is_older and asker.legacy:
            # Clients of before put older events where they belong only if it is limited, too.
            body["unstable_expanded_timeline"] = body["limited"] = True
        elif is_older:
            body["expanded_timeline"] = True
        events = await self._rooms.state_json(view, ask.room_id, state.events)
        if events or state.deleted:
            stubs = [{"type": key[0], "state_key": key[1]} for key in state.deleted]
            body["required_state"] = [*events, *([] if asker.legacy else stubs)]
        if asker.legacy:
            unread = await self._unread.get(asker.user_id, ask.room_id, asker.upto)
            body["notification_count"] = unread.notifications
            body["highlight_count"] = unread.highlights
        body["bump_stamp"] = await self._bumps.get(ask.room_id, asker.withheld)
        known = self._sent(ask, changed_span, expands)
        return RoomPart(body, known, span.timeline, since is None or is_older, state.events)

    def _sent(self, ask: RoomAsk, span: Span, expands: bool) -> Sent:
        """What the client knows then.  A gap leaves it the events after the gap alone."""
        limit = ask.config.timeline_limit
        depth = limit
        if ask.since is not None and not expands and not span.limited and ask.sent is not None:
            depth = max(limit, ask.sent.depth)
        return Sent("join", ask.config, depth, ask.is_dm)

    # ------------------------------------------------------------ rooms that the user is not in

    async def stripped(
        self, asker: Asker, row: MembershipRow, events: Sequence[JsonObject], config: RoomConfig
    ) -> RoomPart:
        """The part of an invite or a knock."""
        body: JsonObject = {"initial": True, "bump_stamp": row.position}
        body["invite_state" if asker.legacy else "stripped_state"] = list(events)
        return RoomPart(body, Sent(row.membership, config, 0))

    async def gone(
        self, asker: Asker, ask: RoomAsk, row: MembershipRow, *, in_silence: bool
    ) -> RoomPart:
        """The part of a room that the user left, or was kicked or banned from.

        ``in_silence``: without the event that removed them, whose sender is not heard.
        """
        reader = await self._visibility.reader(ask.room_id, asker.user_id)
        # Where more is wanted than was told, the room is told anew: it changes no more.
        known = ask.sent is not None and ask.sent.membership == "join"
        since = ask.since if known and ask.sent and not ask.sent.lacks(ask.config) else None
        view = self._view(asker, since, ask.config.timeline_limit)
        upto = min(row.position, asker.upto)
        sent = Sent(row.membership, ask.config, ask.config.timeline_limit)
        body: JsonObject = {"bump_stamp": row.position}
        if since is None:
            body["initial"] = True
        left_at = reader.left_at
        if not reader.ever_joined or left_at is None:
            leave = await self._store.get(row.event_id)
            shown = [leave] if leave is not None and leave.shown and not in_silence else []
            span = Span(ask.room_id, None, upto, shown, False)
            state: Sequence[StoredEvent] = [s for s in shown if ask.config.matches(s.event.key)]
        else:
            span = await self._rooms.read_span(view, ask.room_id, since, upto, reader)
            span.end_snapshot = await self._states.snapshot_at(ask.room_id, left_at)
            changes = await self._changes(ask, span)
            state = (await self._state(asker, ask, span, changes)).events
            await self._add_names(span, changes, body, initial=since is None)
        await self._add_timeline(asker, view, span, reader, body)
        if state:
            body["required_state"] = await self._rooms.state_json(view, ask.room_id, state)
        if not reader.ever_joined and not asker.legacy:
            body["stripped_state"] = []
        return RoomPart(body, sent, span.timeline, state=state)

    # ------------------------------------------------------------ timeline

    def _view(self, asker: Asker, since: int | None, limit: int) -> View:
        return View(
            user_id=asker.user_id,
            device=(asker.user_id, asker.device_id),
            since=since,
            upto=asker.upto,
            filter=_limited(limit),
            withheld=asker.withheld,
        )

    async def _add_timeline(
        self, asker: Asker, view: View, span: Span, reader: Reader | None, body: JsonObject
    ) -> None:
        first = span.shown[0].order - 1 if span.shown else span.upto
        if span.timeline:
            body["timeline"] = await self._rooms.events_json(view, span, reader)
            after = asker.position
            body["num_live"] = sum(after is not None and s.order > after for s in span.shown)
        if span.timeline or span.limited:
            body["prev_batch"] = timeline_token(first)
        if span.limited:
            body["limited"] = True

    # ------------------------------------------------------------ state

    async def _changes(self, ask: RoomAsk, span: Span) -> StateChanges:
        """Which state changed since the client was told; for a room told anew, nothing is known."""
        if ask.since is None or span.since is None:
            return StateChanges()
        return await self._states.changes(span)

    async def _state(
        self, asker: Asker, ask: RoomAsk, span: Span, changes: StateChanges
    ) -> WantedState:
        """The state events that the client wants and does not have."""
        config = ask.config
        ids: dict[StateKey, str] = {}
        deleted: list[StateKey] = []
        if ask.since is None or (span.since is None and not changes.known):
            ids = await self._states.matching(span, config)
        else:
            before = ask.sent.config if ask.sent is not None else config
            if config.adds_state_to(before):
                ids = {
                    key: event_id
                    for key, event_id in (await self._states.matching(span, config)).items()
                    if not before.matches(key)
                }
            for key, event_id in changes.ids.items():
                lazily = key[0] == MEMBER and config.lazy_members and not span.limited
                if lazily or config.matches(key):
                    ids[key] = event_id
            deleted = [key for key in changes.deleted if config.matches(key)]
        if config.lazy_members:
            ids.update(await self._lazy_members(asker, ask, span))
        found = await self._store.get_many(ids.values()) if ids else {}
        events = [found[event_id] for event_id in ids.values() if event_id in found]
        return WantedState(events, deleted)

    async def _lazy_members(self, asker: Asker, ask: RoomAsk, span: Span) -> Mapping[StateKey, str]:
        """The members that the timeline is by or about, unless the client has them."""
        wanted = {stored.event.sender for stored in span.timeline}
        wanted.update(
            stored.event.state_key
            for stored in span.timeline
            if stored.event.type == MEMBER and stored.event.state_key is not None
        )
        if not wanted:
            return {}
        found = await self._states.members(span, wanted)
        return {
            (MEMBER, user_id): event_id
            for user_id, event_id in found.items()
            if ask.since is None
            or not self._members.has(
                (asker.user_id, asker.connection), ask.room_id, user_id, event_id, asker.number
            )
        }

    # ------------------------------------------------------------ name, picture, counts

    async def _add_summary(
        self,
        asker: Asker,
        ask: RoomAsk,
        span: Span,
        changes: StateChanges,
        members_changed: bool,
        body: JsonObject,
    ) -> None:
        initial = ask.since is None
        if not (initial or members_changed or changes.named):
            return
        name = await self._add_names(span, changes, body, initial=initial)
        summary = await self._summaries.get(ask.room_id)
        if members_changed:
            body["joined_count"] = summary.joined
            body["invited_count"] = summary.invited
        if name is None:
            heroes = summary.heroes(asker.user_id)
            members = await self._states.events(span, [(MEMBER, user_id) for user_id in heroes])
            body["heroes"] = [_hero(user_id, members.get((MEMBER, user_id))) for user_id in heroes]

    async def _add_names(
        self, span: Span, changes: StateChanges, body: JsonObject, *, initial: bool
    ) -> str | None:
        """The room's name and picture, as far as they are news; the name."""
        named = await self._states.events(span, (NAME, AVATAR))
        name = _text(named.get(NAME), "name")
        if (name is not None and initial) or NAME in changes.touched:
            body["name"] = name
        avatar = _text(named.get(AVATAR), "url")
        if (avatar is not None and initial) or AVATAR in changes.touched:
            body["avatar"] = avatar
        return name


class WantedState(Struct, frozen=True):
    """State to tell, and keys whose state is gone."""

    events: Sequence[StoredEvent]
    deleted: Sequence[StateKey]


@lru_cache(maxsize=256)
def _limited(limit: int) -> SyncFilter:
    return SyncFilter(timeline=RoomEventFilter(limit=limit))


def _text(stored: StoredEvent | None, key: str) -> str | None:
    """A text in an event's content, if there is one that is not empty."""
    value = shown_event(stored).content.get(key) if stored is not None else None
    return value if isinstance(value, str) and value else None


def _hero(user_id: str, stored: StoredEvent | None) -> JsonObject:
    hero: JsonObject = {"user_id": user_id}
    for key in ("displayname", "avatar_url"):
        text = _text(stored, key)
        if text is not None:
            hero[key] = text
    return hero
