"""Which rooms an answer tells of: those that a rule shows and in which something is new.

The work is that of the rooms that changed; the rooms of the account are gone through only when the
rules, or what they show, are others than before.

Spec: MSC4186, room results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct, field

from homeserver.protocol.events import JsonObject
from homeserver.protocol.stripped import without_strangers_choices
from homeserver.services.event_store import EventStore
from homeserver.services.invites_shown import is_from_stranger, stripped_of
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.sliding.connection import Sent, State, Step, in_both
from homeserver.services.sliding.rooms import Asker, RoomAsk, RoomPart, SlidingRoomParts
from homeserver.services.sliding.rules import Rules
from homeserver.services.sliding.user_rooms import ShownRooms
from homeserver.services.sliding.wanted import MEMBER, RoomConfig
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.visibility import InviteFilter
from homeserver.storage import erasures as erasure_storage
from homeserver.storage import rooms as room_storage
from homeserver.storage import sync as sync_storage
from homeserver.storage.database import Database
from homeserver.storage.rooms import MembershipRow

ROOMS_AT_ONCE = 32
GONE = ("leave", "ban")


class Look(Struct, frozen=True):
    """All that decides which rooms are told of."""

    asker: Asker
    state: State
    shown: ShownRooms
    rules: Rules


class _Changes(Struct):
    """Rooms in which something happened since the answer that the client has."""

    rooms: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)  # the user was out of them meanwhile
    counted: Collection[str] = ()


class RoomNews(Struct):
    """The rooms of an answer.

    ``fresh``: those told anew.  ``shown``: the IDs of the events that are shown in these, and in
    those whose timeline reaches further back than what the client knew.
    """

    rooms: dict[str, JsonObject] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    shown: dict[str, Collection[str]] = field(default_factory=dict)


class RoomNewsFinder:
    """Finds what is new in rooms."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        store: EventStore,
        parts: SlidingRoomParts,
        extras: SyncExtras,
        invites: InviteFilter,
    ) -> None:
        self._database = database
        self._recent = recent
        self._store = store
        self._parts = parts
        self._extras = extras
        self._invites = invites

    async def find(self, look: Look, step: Step) -> RoomNews:
        """The rooms to tell of; what the client knows then goes into the step."""
        state, rules = look.state, look.rules
        changes = await self._changes(look)
        wanted: dict[str, RoomConfig] = {}
        for room_id in changes.rooms:
            config = rules.config(room_id)
            if config is not None:
                wanted[room_id] = config
            elif room_id in state.sent:
                self._leave_behind(look, room_id, changes, step)
        for room_id in look.shown.forgotten:
            step.sent[room_id] = step.behind[room_id] = None
        key = rules.key
        step.moment.checked = key
        candidates: Iterable[str] = rules.rooms
        if key == state.moment.checked:
            candidates = in_both(state.behind, rules.rooms)
        for room_id in candidates:
            config = rules.config(room_id)
            if config is None or room_id in wanted:
                continue
            sent = state.sent.get(room_id)
            if sent is None or room_id in state.behind or _differs(sent, config):
                wanted[room_id] = config
        await self._find_absences(look, wanted, changes)
        return await self._tell(look, wanted, changes, step)

    def _leave_behind(self, look: Look, room_id: str, changes: _Changes, step: Step) -> None:
        """Something is new in a room that is not shown: it is told when the room is shown again."""
        if room_id in changes.away and room_id in look.shown.rooms.joined:
            step.sent[room_id] = step.behind[room_id] = None
        elif room_id not in look.state.behind and look.asker.position is not None:
            step.behind[room_id] = look.asker.position

    async def _find_absences(
        self, look: Look, wanted: Mapping[str, RoomConfig], changes: _Changes
    ) -> None:
        """Which rooms that are shown again the user was out of since the client knew them.

        What happened there meanwhile may not be theirs to see, so these are told anew.
        """
        behind, joined = look.state.behind, look.shown.rooms.joined
        since = {r: behind[r] for r in wanted if r in behind and r in joined}
        user_id = look.asker.user_id
        if not since or not self._recent.memberships.changed(user_id, min(since.values())):
            return
        for row in await room_storage.get_membership_changes(
            self._database, user_id, min(since.values()), look.asker.upto
        ):
            if row.membership != "join" and row.position > since.get(row.room_id, row.position):
                changes.away.add(row.room_id)

    # ------------------------------------------------------------ what changed

    async def _changes(self, look: Look) -> _Changes:
        changes = _Changes()
        asker, state, shown = look.asker, look.state, look.shown
        position, user_id, joined = asker.position, asker.user_id, shown.rooms.joined
        if position is None:
            return changes
        found = self._recent.rooms.since(position)
        if found is None:
            found = list(
                await sync_storage.get_changed_rooms(self._database, user_id, position, asker.upto)
            )
        changes.rooms.update(room_id for room_id in found if room_id in joined)
        ended = self._recent.erasures.since(position)
        if ended is None:
            ended = await erasure_storage.get_rooms_with_erasures(
                self._database, user_id, position, asker.upto
            )
        changes.rooms.update(room_id for room_id in ended if room_id in joined)
        if self._recent.memberships.changed(user_id, position):
            rows = await room_storage.get_membership_changes(
                self._database, user_id, position, asker.upto
            )
            changes.rooms.update(row.room_id for row in rows)
            changes.away.update(row.room_id for row in rows if row.membership != "join")
        if shown.rooms.invited:
            changes.rooms.update(
                await self._invites.shown_invites(user_id, shown.rooms.invited, position)
            )
        if self._recent.account_data.changed(user_id, position):
            changes.rooms.update(
                room_id
                for room_id, sent in state.sent.items()
                if sent.is_dm != (room_id in shown.dms) and room_id in joined
            )
        if asker.legacy:
            changes.counted = await self._extras.own_receipt_rooms(user_id, joined, position)
            changes.rooms.update(changes.counted)
        return changes

    # ------------------------------------------------------------ telling

    async def _tell(
        self, look: Look, wanted: Mapping[str, RoomConfig], changes: _Changes, step: Step
    ) -> RoomNews:
        asks = [self._ask(look, room_id, config, changes) for room_id, config in wanted.items()]
        news = RoomNews()
        for start in range(0, len(asks), ROOMS_AT_ONCE):
            batch = asks[start : start + ROOMS_AT_ONCE]
            if len(batch) == 1:
                parts = [await self._part(look, batch[0])]
            else:  # what they all read of the database, they read together
                parts = list(await asyncio.gather(*(self._part(look, ask) for ask in batch)))
            for ask, part in zip(batch, parts, strict=True):
                self._take(look, ask, part, news, step)
        return news

    def _ask(self, look: Look, room_id: str, config: RoomConfig, changes: _Changes) -> RoomAsk:
        state = look.state
        sent = state.sent.get(room_id)
        since = state.behind.get(room_id, look.asker.position)
        if sent is None or sent.membership != "join":
            since = None
        elif room_id in look.shown.rooms.joined and room_id in changes.away:
            sent, since = None, None
        return RoomAsk(
            room_id, config, sent, since, room_id in look.shown.dms, room_id in changes.counted
        )

    def _take(
        self, look: Look, ask: RoomAsk, part: RoomPart | None, news: RoomNews, step: Step
    ) -> None:
        room_id = ask.room_id
        if room_id in look.state.behind:
            step.behind[room_id] = None
        if part is None:
            return
        step.sent[room_id] = part.sent
        if not part.body:
            return
        body = part.body
        body["membership"] = part.sent.membership
        if not look.asker.legacy:
            lists = look.rules.lists(room_id)
            if lists:
                body["lists"] = lists
        step.members.extend(
            (room_id, stored.event.state_key, stored.event.event_id)
            for stored in part.state
            if stored.event.type == MEMBER and stored.event.state_key is not None
        )
        news.rooms[room_id] = body
        if part.reaches_back:
            news.shown[room_id] = {stored.event.event_id for stored in part.timeline}
            if body.get("initial"):
                news.fresh.add(room_id)

    async def _part(self, look: Look, ask: RoomAsk) -> RoomPart | None:
        shown, room_id = look.shown, ask.room_id
        if room_id in shown.rooms.joined:
            return await self._parts.joined(look.asker, ask)
        if room_id in shown.invites:
            row, from_stranger = shown.invites[room_id]
            events = await stripped_of(self._store, row)
            if from_stranger:
                events = without_strangers_choices(events)
            return await self._parts.stripped(look.asker, row, events, ask.config)
        if room_id in shown.rooms.knocked:
            row = shown.rooms.knocked[room_id]
            events = await stripped_of(self._store, row)
            return await self._parts.stripped(look.asker, row, events, ask.config)
        gone = shown.gone.get(room_id)
        if gone is None or (ask.sent is not None and not _is_due(ask.sent, gone, ask.config)):
            return None
        was_joined = ask.sent is not None and ask.sent.membership == "join"
        asker = look.asker
        in_silence = not was_joined and await is_from_stranger(
            self._invites, asker.withheld, asker.user_id, gone
        )
        return await self._parts.gone(asker, ask, gone, in_silence=in_silence)


def _differs(sent: Sent, config: RoomConfig) -> bool:
    """Whether something else is wanted of a room than was told."""
    if sent.config == config:
        return False
    return sent.membership == "join" or (sent.membership in GONE and sent.lacks(config))


def _is_due(sent: Sent, row: MembershipRow, config: RoomConfig) -> bool:
    """Whether a room that the user is not in is to be told of: it is news, or more is wanted."""
    return sent.membership != row.membership or sent.lacks(config)
