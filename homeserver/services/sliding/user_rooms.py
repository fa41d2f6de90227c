"""The rooms of each user who syncs, in order, and which of them a list is of.

A user's rooms are ordered once, when they first ask; from then on each request moves only the
rooms in which something has happened since the one before.

Spec: MSC4186, lists.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Set
from typing import Protocol
from weakref import WeakValueDictionary

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.sliding.connection import State
from homeserver.services.sliding.lists import RoomOrder
from homeserver.services.sliding.request import RoomFilter
from homeserver.services.sliding.traits import RoomTraits, Traits, stripped_traits
from homeserver.services.sync_rooms import UserRooms
from homeserver.storage import sliding as storage
from homeserver.storage.database import Database
from homeserver.storage.rooms import MembershipRow

CACHED_ROOMS = 500_000  # of all users together
CACHED_FILTERS = 8
REMEMBERED_MISSES = 1000  # of a user
DIRECT = "m.direct"

Invites = Mapping[str, tuple[MembershipRow, bool]]


class AccountData(Protocol):
    """Account data."""

    async def get(self, user_id: str, type_: str) -> JsonObject | None:
        """The content of one type of the account's own."""


class Gone(Struct):
    """A room that the user is not in any more."""

    row: MembershipRow
    was_removed: bool  # by somebody else, and they had been in it


class ShownRooms(Struct, frozen=True):
    """The rooms of a user that a connection's lists are of."""

    rooms: UserRooms
    invites: Invites
    gone: Mapping[str, MembershipRow]
    order: RoomOrder
    hidden: frozenset[str]
    """Of the order's rooms, those that are not shown."""
    dms: frozenset[str]
    forgotten: frozenset[str] = frozenset()
    """Rooms that the connection was told of and that the user has forgotten since."""

    def membership(self, room_id: str) -> str | None:
        """The user's membership of a room that is shown; None of one that is not."""
        if room_id in self.rooms.joined:
            return "join"
        if room_id in self.invites:
            return "invite"
        if room_id in self.rooms.knocked:
            return "knock"
        row = self.gone.get(room_id)
        return row.membership if row is not None else None


class _User:
    """What is kept of one user."""

    def __init__(self, rooms: UserRooms) -> None:
        self.rooms = rooms
        self.size = 1  # in rooms, when they were read
        self.order = RoomOrder()
        self.gone: dict[str, Gone] = {}
        self.missing: set[str] = set()
        """Rooms that were asked for, which the user has not been in, or has forgotten."""
        self.losses: object = object()
        """Another one whenever a room may have gone from both the order and what is missing."""
        self.upto = 0
        self.tags: dict[str, frozenset[str]] | None = None
        self.tags_upto = 0
        self.direct: tuple[JsonObject | None, frozenset[str]] = (None, frozenset())
        self.matching: OrderedDict[RoomFilter, tuple[object, frozenset[str]]] = OrderedDict()

    def forget_missing(self) -> None:
        """What was missing may be there now."""
        self.missing.clear()
        self.losses = object()


class SlidingRooms:
    """Keeps the order of users' rooms."""

    def __init__(
        self,
        *,
        database: Database,
        recent: RecentTimeline,
        account_data: AccountData,
        traits: RoomTraits,
    ) -> None:
        self._database = database
        self._recent = recent
        self._account_data = account_data
        self._traits = traits
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._size = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(
        self,
        user_id: str,
        rooms: UserRooms,
        invites: Invites,
        *,
        state: State,
        subscribed: Set[str],
        upto: int,
    ) -> ShownRooms:
        """A user's rooms as of a position.

        ``state``: what the connection was told; only of these rooms are those listed that their
        user has left, unless somebody else removed the user.  ``subscribed``: rooms that are shown
        though they are not listed.
        """
        sent = state.sent
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        async with lock:
            user = await self._up_to_date(user_id, rooms, upto)
            await self._find_left_since(user_id, user, state)
            await self._find_left(user_id, user, subscribed)
        listed = {
            room_id for room_id, one in user.gone.items() if one.was_removed or room_id in sent
        }
        gone = {
            room_id: one.row
            for room_id, one in user.gone.items()
            if room_id in listed or room_id in subscribed
        }
        hidden = [room_id for room_id in rooms.invited if room_id not in invites]
        hidden.extend(room_id for room_id in user.gone if room_id not in listed)
        forgotten = frozenset(room_id for room_id in user.missing if room_id in sent)
        dms = await self._dms(user_id, user)
        return ShownRooms(rooms, invites, gone, user.order, frozenset(hidden), dms, forgotten)

    # ------------------------------------------------------------ following

    async def _up_to_date(self, user_id: str, rooms: UserRooms, upto: int) -> _User:
        user = self._users.get(user_id)
        changed: list[str] | None = None
        if user is not None:
            self._users.move_to_end(user_id)
            changed = self._recent.rooms.since(user.upto) if upto > user.upto else []
            if user.missing and self._recent.memberships.changed(user_id, user.upto):
                user.forget_missing()
        if user is None or changed is None:
            user = await self._load(user_id, rooms)
        else:
            if user.rooms is not rooms:
                await self._take_moves(user_id, user, rooms)
            joined, latest = rooms.joined, self._recent.rooms.latest
            for room_id in reversed(changed):
                if room_id in joined:
                    user.order.touch(room_id, latest(room_id))
        user.upto = max(user.upto, upto)
        return user

    async def _load(self, user_id: str, rooms: UserRooms) -> _User:
        user = _User(rooms)
        user.upto = self._recent.position
        activity = dict(rooms.joined)
        for room_id, position in (await storage.get_activity(self._database, rooms.joined)).items():
            activity[room_id] = position
        for row in (*rooms.invited.values(), *rooms.knocked.values()):
            activity[row.room_id] = row.position
        for row in await storage.get_removed(self._database, user_id):
            if rooms.membership(row.room_id) == "leave":
                user.gone[row.room_id] = Gone(row, was_removed=True)
                activity[row.room_id] = row.position
        user.order.reset(activity)
        before = self._users.pop(user_id, None)
        user.size = len(user.order) + 1
        self._size += user.size - (before.size if before is not None else 0)
        self._users[user_id] = user
        while self._size > CACHED_ROOMS and len(self._users) > 1:
            self._size -= self._users.popitem(last=False)[1].size
        return user

    async def _take_moves(self, user_id: str, user: _User, rooms: UserRooms) -> None:
        """The user came into rooms, or went from some."""
        before, user.rooms = user.rooms, rooms
        was, now = _present(before), _present(rooms)
        for room_id in now:
            if before.membership(room_id) != rooms.membership(room_id):
                user.gone.pop(room_id, None)
                user.order.touch(room_id, _position(rooms, room_id))
        user.matching.clear()
        left = was.difference(now)
        if not left:
            return
        rows = await storage.get_gone(self._database, user_id, left)
        for row in rows:
            removed = row.sender != user_id and before.membership(row.room_id) == "join"
            user.gone[row.room_id] = Gone(row, removed)
            user.order.touch(row.room_id, row.position)
        for room_id in left.difference(row.room_id for row in rows):
            user.order.remove(room_id)
            user.losses = object()

    async def _find_left_since(self, user_id: str, user: _User, state: State) -> None:
        """The same among all that the connection was told: only what was not looked for yet."""
        compared, losses = state.compared, user.losses
        told: set[str] = set(compared.unsearched if compared.left is losses else state.sent)
        await self._find_left(user_id, user, told)
        compared.left = losses
        compared.unsearched -= told

    async def _find_left(self, user_id: str, user: _User, sent: Set[str]) -> None:
        """Rooms that the connection knows and that were left before the user's rooms were read."""
        unknown = {r for r in sent if r not in user.order and r not in user.missing}
        if not unknown:
            return
        missing = set(unknown)
        for row in await storage.get_gone(self._database, user_id, unknown):
            missing.discard(row.room_id)
            if user.rooms.membership(row.room_id) == "leave":
                user.gone[row.room_id] = Gone(row, was_removed=False)
                user.order.touch(row.room_id, row.position)
        if len(user.missing) + len(missing) > REMEMBERED_MISSES:
            user.forget_missing()
        user.missing.update(missing)

    async def _dms(self, user_id: str, user: _User) -> frozenset[str]:
        content = await self._account_data.get(user_id, DIRECT)
        if content is not user.direct[0]:
            rooms = frozenset(
                room_id
                for room_ids in (content or {}).values()
                if isinstance(room_ids, list)
                for room_id in room_ids
                if isinstance(room_id, str)
            )
            user.direct = (content, rooms)
        return user.direct[1]

    # ------------------------------------------------------------ filtering

    async def matching(
        self, user_id: str, shown: ShownRooms, room_filter: RoomFilter
    ) -> frozenset[str]:
        """The rooms that a filter lets through, whatever their order."""
        user = self._users.get(user_id) or _User(shown.rooms)
        tags = await self._tags(user_id, user) if _uses_tags(room_filter) else {}
        children = await self._children(room_filter, shown.rooms)
        key = (
            shown.order,
            shown.order.version,
            shown.rooms,
            shown.hidden,
            shown.dms,
            tuple(shown.invites),
            self._traits.version,
            user.tags_upto,
            children,
        )
        known = user.matching.get(room_filter)
        if known is not None and known[0] == key:
            return known[1]
        rooms = [room_id for room_id in shown.order.newest_first() if room_id not in shown.hidden]
        if not room_filter.is_empty:
            traits = await self._all_traits(room_filter, shown, rooms)
            rooms = [
                room_id
                for room_id in rooms
                if _passes(room_id, room_filter, shown, traits, tags, children)
            ]
        found = frozenset(rooms)
        user.matching[room_filter] = (key, found)
        user.matching.move_to_end(room_filter)
        if len(user.matching) > CACHED_FILTERS:
            user.matching.popitem(last=False)
        return found

    async def _tags(self, user_id: str, user: _User) -> Mapping[str, frozenset[str]]:
        position = self._recent.position
        if user.tags is None or self._recent.account_data.changed(user_id, user.tags_upto):
            user.tags = await storage.get_tags(self._database, user_id)
            user.tags_upto = position
        return user.tags

    async def _children(
        self, room_filter: RoomFilter, rooms: UserRooms
    ) -> tuple[frozenset[str], ...] | None:
        if room_filter.spaces is None:
            return None
        spaces = sorted(space for space in room_filter.spaces if space in rooms.joined)
        return tuple([await self._traits.children(space) for space in spaces])

    async def _all_traits(
        self, room_filter: RoomFilter, shown: ShownRooms, rooms: Iterable[str]
    ) -> Mapping[str, Traits]:
        if (
            room_filter.is_encrypted is None
            and room_filter.room_types is None
            and not room_filter.not_room_types
        ):
            return {}
        apart = {room_id: row for room_id, (row, _) in shown.invites.items()} | shown.rooms.knocked
        found = await self._traits.get_many(room_id for room_id in rooms if room_id not in apart)
        found.update((room_id, stripped_traits(row)) for room_id, row in apart.items())
        return found


def _passes(
    room_id: str,
    wanted: RoomFilter,
    shown: ShownRooms,
    traits: Mapping[str, Traits],
    tags: Mapping[str, frozenset[str]],
    children: tuple[frozenset[str], ...] | None,
) -> bool:
    """Whether a filter lets a room through."""
    if wanted.is_dm is not None and (room_id in shown.dms) != wanted.is_dm:
        return False
    if wanted.is_invited is not None and (room_id in shown.invites) != wanted.is_invited:
        return False
    if children is not None and not any(room_id in rooms for rooms in children):
        return False
    if traits:
        one = traits[room_id]
        if wanted.is_encrypted is not None and one.is_encrypted != wanted.is_encrypted:
            return False
        if wanted.room_types is not None and one.room_type not in wanted.room_types:
            return False
        if one.room_type in wanted.not_room_types:
            return False
    if _uses_tags(wanted):
        own = tags.get(room_id, frozenset())
        if wanted.tags is not None and not own & wanted.tags:
            return False
        if own & wanted.not_tags:
            return False
    return True


def _uses_tags(wanted: RoomFilter) -> bool:
    return wanted.tags is not None or bool(wanted.not_tags)


def _present(rooms: UserRooms) -> set[str]:
    return {*rooms.joined, *rooms.invited, *rooms.knocked}


def _position(rooms: UserRooms, room_id: str) -> int:
    if room_id in rooms.joined:
        return rooms.joined[room_id]
    row = rooms.invited.get(room_id) or rooms.knocked.get(room_id)
    return row.position if row is not None else 0
