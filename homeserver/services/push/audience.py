"""Whom an event is pushed to, and how: the rules of each member of its room who has pushers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Protocol

import orjson
from msgspec import Struct, field

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.push_rules import (
    Actions,
    PushEvent,
    RoomPushContext,
    UserPushContext,
    mentioned_user_ids,
)
from homeserver.services.live_room import LiveRoom
from homeserver.services.unread import DEFAULT, Rulesets
from homeserver.services.visibility import InviteFilter, Reader, ReaderFilter
from homeserver.storage.event_records import Notification
from homeserver.storage.events import StoredEvent
from homeserver.storage.rooms import MembershipRow

NOTIFY: tuple[Any, ...] = ("notify",)
HIGHLIGHT: tuple[Any, ...] = ("notify", {"set_tweak": "highlight"})


class Told(Struct, frozen=True):
    """A user to whom an event is pushed.  ``actions``: of the rule that matched, as JSON."""

    user_id: str
    thread_id: str
    actions: str


class Happening(Struct, frozen=True):
    """An event that shows since ``position``, and whom it notifies; or an invite to somebody."""

    position: int
    stored: StoredEvent
    notifications: Sequence[Notification] = ()
    invites: Sequence[tuple[str, MembershipRow]] = field(default=())  # (who is invited, the row)


class Members(Protocol):
    """Who is in which room, of those whose rooms are in memory."""

    def members(self, room_id: str) -> Set[str]:
        """Those who are joined."""


class LiveRoomSource(Protocol):
    """Rooms as they are now."""

    async def get(self, room_id: str) -> LiveRoom | None:
        """A room, unless we have none of that ID."""


class Readers(Protocol):
    """Who may see what."""

    async def reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room."""


class PushAudience:
    """Finds those to whom an event is pushed, off the path of its sending."""

    def __init__(
        self,
        *,
        rulesets: Rulesets,
        members: Members,
        rooms: LiveRoomSource,
        readers: Readers,
        reader_filter: ReaderFilter,
        invites: InviteFilter,
        load: Callable[[LiveRoom, Iterable[StateKey]], Awaitable[None]],
    ) -> None:
        """``load``: brings state events of a room into memory."""
        self._rulesets = rulesets
        self._members = members
        self._rooms = rooms
        self._readers = readers
        self._reader_filter = reader_filter
        self._invites = invites
        self._load = load

    def candidates(self, room_id: str, users: Set[str]) -> Set[str]:
        """Those of some users who are in a room."""
        return users & self._members.members(room_id)

    async def told(self, happening: Happening, users: Set[str]) -> list[Told]:
        """Those of some users to whom an event is pushed."""
        stored = happening.stored
        found = [
            told
            for user_id, row in happening.invites
            if user_id in users and (told := await self._invited(user_id, row, stored.event))
        ]
        invited = {user_id for user_id, _ in happening.invites}
        present = self.candidates(stored.event.room_id, users) - invited
        if not happening.notifications or not present or not stored.shown:
            return found
        notified = self._notified(happening.notifications, present - {stored.event.sender})
        if not notified:
            return found
        how = await self._how(stored.event, notified)
        for user_id, notification in notified.items():
            if await self._may_see(user_id, stored):
                found.append(Told(user_id, notification.thread_id, how[user_id]))
        return found

    def _notified(
        self, notifications: Sequence[Notification], users: Set[str]
    ) -> Mapping[str, Notification]:
        """As unread counts have it: by a user's ruleset, or by a row of their own."""
        by_audience = {notification.audience: notification for notification in notifications}
        generic = by_audience.get(DEFAULT)
        found: dict[str, Notification] = {}
        for user_id in users:
            own = by_audience.get(user_id)
            if own is not None:
                found[user_id] = own
            elif generic is not None and self._rulesets.ruleset_name(user_id) == DEFAULT:
                found[user_id] = generic
        return found

    async def _may_see(self, user_id: str, stored: StoredEvent) -> bool:
        withheld = await self._reader_filter.withheld(user_id)
        if withheld.hides(stored.event):
            return False
        return (await self._readers.reader(stored.event.room_id, user_id)).may_see(stored)

    # ------------------------------------------------------------ how

    async def _how(self, event: Event, notified: Mapping[str, Notification]) -> dict[str, str]:
        """User ID -> the actions of the rule that matches.

        That an event notifies somebody was decided when it was sent; should the rules, or the
        room, be others by now, it notifies as plainly as its row says.
        """
        room = await self._rooms.get(event.room_id)
        pushed, context = PushEvent(event), room_context(room, event)
        mentioned = mentioned_user_ids(event)
        named = await self._display_names(room, notified)
        generic = self._rulesets.compiled(DEFAULT).evaluate_generic(pushed, context)
        shared: dict[tuple[bool, int], tuple[Actions | None, str]] = {}  # most have the same
        found: dict[str, str] = {}
        for user_id, notification in notified.items():
            name = self._rulesets.ruleset_name(user_id)
            if name == DEFAULT and user_id not in mentioned and event.state_key != user_id:
                actions = generic
            else:
                user = UserPushContext(user_id, named.get(user_id))
                actions = self._rulesets.compiled(name).evaluate(pushed, context, user)
            key = (notification.highlight, id(actions))
            if key not in shared:
                shared[key] = (actions, actions_json(actions, notification.highlight))
            found[user_id] = shared[key][1]
        return found

    async def _display_names(
        self, room: LiveRoom | None, notified: Mapping[str, Notification]
    ) -> dict[str, str]:
        """The names in the room of those whose rules ask for them."""
        asking = [
            user_id
            for user_id in notified
            if self._rulesets.compiled(self._rulesets.ruleset_name(user_id)).needs_display_name
        ]
        if room is None or not asking:
            return {}
        await self._load(room, [("m.room.member", user_id) for user_id in asking])
        contents = {user: room.content(("m.room.member", user)) for user in asking}
        names = {user: content.get("displayname") for user, content in contents.items()}
        return {user: name for user, name in names.items() if isinstance(name, str)}

    # ------------------------------------------------------------ invites

    async def _invited(self, user_id: str, row: MembershipRow, event: Event) -> Told | None:
        """An invite notifies if a sync shows it, and it is no request that waits to be answered."""
        shown = await self._invites.shown_invites(user_id, {row.room_id: row}, None)
        if row.room_id not in shown or shown[row.room_id][1]:
            return None
        ruleset = self._rulesets.compiled(self._rulesets.ruleset_name(user_id))
        room = await self._rooms.get(row.room_id)
        actions = ruleset.evaluate(
            PushEvent(event), room_context(room, event), UserPushContext(user_id)
        )
        if actions is None:
            return None
        return Told(user_id, "main", actions_json(actions, False))


def room_context(room: LiveRoom | None, event: Event) -> RoomPushContext:
    """What conditions ask about a room; little is known of one that we are not in."""
    if room is None or room.snapshot_id is None:
        return RoomPushContext(1)
    levels = room.power_levels
    return RoomPushContext(room.joined_count, levels.user(event.sender), levels.notifications)


def actions_json(actions: Actions | None, highlight: bool) -> str:
    """A rule's actions to be kept; without a rule, those that only notify."""
    plain = HIGHLIGHT if highlight else NOTIFY
    return orjson.dumps(actions.actions if actions is not None else plain).decode()
