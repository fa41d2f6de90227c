"""Which applications, and which users with webhooks of their own, are told of a happening.

An application is told what at least one of its users is told, a user what they are told elsewhere:
who has blocked somebody hears nothing of them here either.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from homeserver.services.conversations.feed.judging import Judge, restricts_nothing
from homeserver.services.conversations.feed.updates import Update
from homeserver.services.conversations.webhooks.happenings import Happening

CACHED_ROOMS = 20_000
MOST_ASKED = 20  # of an application's users in one room, whether any of them hears the sender

MembersAt = Callable[[str, int], Awaitable[Sequence[str]]]


class Ownership(Protocol):
    """Whose users are whose."""

    async def own_users(self, application_id: str, user_ids: Iterable[str]) -> list[str]:
        """Those of some local users who are an application's."""


class _Room:
    """Who is in a room, as of where the log is read, and whose users they are."""

    def __init__(self, members: Iterable[str]) -> None:
        self.members = set(members)
        self.by_owner: dict[str, list[str]] = {}

    def note(self, user_id: str, joined: bool) -> None:
        """Somebody comes or goes."""
        if joined:
            self.members.add(user_id)
        else:
            self.members.discard(user_id)
        self.by_owner.clear()


class LogAudience:
    """Who is told.  It sees everything that happens, in the order of the log."""

    def __init__(self, *, ownership: Ownership, members_at: MembersAt, judge: Judge) -> None:
        """``members_at``: the local members of a room at a position."""
        self._ownership = ownership
        self._members_at = members_at
        self._judge = judge
        self._rooms: OrderedDict[str, _Room] = OrderedDict()

    def restart(self) -> None:
        """What comes next does not follow upon what came last."""
        self._rooms.clear()

    def forget_owners(self) -> None:
        """Applications have changed."""
        for room in self._rooms.values():
            room.by_owner.clear()

    def note(self, happening: Happening) -> None:
        """Something happens: perhaps somebody comes or goes."""
        if happening.joined is None or happening.room_id is None or happening.user_id is None:
            return
        room = self._rooms.get(happening.room_id)
        if room is not None:
            room.note(happening.user_id, happening.joined)

    async def told(self, happening: Happening, owner: str) -> Happening | None:
        """What a user, or any user of an application, is told; by the owner's ID."""
        if happening.user_id is not None:
            if not await self._own(owner, [happening.user_id]):
                return None
            update = await self._shown(happening.user_id, happening)
            return replace(happening, data=update.json.decode()) if update is not None else None
        for user_id in await self._own_members(happening, owner):
            if await self._shown(user_id, happening) is not None:
                return happening
        return None

    async def still_told(self, happening: Happening, owner: str) -> bool:
        """Whether an owner is to be told, as of now, what they were to be told when it happened.

        Meanwhile they may have blocked its sender, hidden it, or seen what is seen once.
        """
        if owner.startswith("@"):
            return await self._shown(owner, happening) is not None
        members = await self._members_at(happening.room_id or "", happening.position)
        own = (await self._own(owner, members))[:MOST_ASKED]
        for user_id in own:
            if await self._shown(user_id, happening) is not None:
                return True
        return False

    async def _own_members(self, happening: Happening, owner: str) -> Sequence[str]:
        room_id = happening.room_id
        if room_id is None:
            return ()
        room = self._rooms.get(room_id)
        if room is None:
            room = _Room(await self._members_at(room_id, happening.position))
            self._rooms[room_id] = room
            if len(self._rooms) > CACHED_ROOMS:
                self._rooms.popitem(last=False)
        self._rooms.move_to_end(room_id)
        own = room.by_owner.get(owner)
        if own is None:
            own = room.by_owner[owner] = (await self._own(owner, room.members))[:MOST_ASKED]
        return own

    async def _own(self, owner: str, user_ids: Iterable[str]) -> list[str]:
        if owner.startswith("@"):
            return [user_id for user_id in user_ids if user_id == owner]
        return await self._ownership.own_users(owner, user_ids)

    async def _shown(self, user_id: str, happening: Happening) -> Update | None:
        routed = happening.routed
        if routed is None:
            return None
        withheld = await self._judge.withheld(user_id)
        self._judge.settle(routed)
        if routed.is_simple and routed.invite is None and restricts_nothing(withheld):
            return routed.update
        return await self._judge.shown(user_id, routed, withheld)
