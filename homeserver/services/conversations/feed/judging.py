"""What one reader gets of what reaches them."""

from __future__ import annotations

from typing import Protocol

from homeserver.services.audience import Audience
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.visibility import InviteFilter, Reader, ReaderFilter, Withheld


class Views(Protocol):
    """Who may read which events of a room."""

    async def reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room."""


def restricts_nothing(withheld: Withheld) -> bool:
    """Whether a reader gets all that reaches them, calls aside."""
    return not (withheld.users or withheld.servers or withheld.hidden)


class Judge:
    """Applies what readers do not want, and may not see."""

    def __init__(
        self,
        *,
        reader_filter: ReaderFilter,
        audience: Audience,
        invites: InviteFilter,
        views: Views,
    ) -> None:
        self._reader_filter = reader_filter
        self._audience = audience
        self._invites = invites
        self._views = views

    async def withheld(self, user_id: str) -> Withheld:
        """What a reader does not get, as of now."""
        return await self._reader_filter.withheld(user_id)

    def settle(self, routed: Routed) -> None:
        """Find out whether there is something to ask of readers who have blocked nobody."""
        if routed.scope is not None and routed.owner is not None:
            routed.is_simple = not self._audience.restricts(routed.scope, routed.owner)

    async def shown(self, user_id: str, routed: Routed, withheld: Withheld) -> Update | None:
        """The update as a reader gets it, if they do."""
        if routed.event is not None and withheld.hides(routed.event):
            return None
        if routed.owner is not None and not await self._may_see(user_id, routed, withheld):
            return None
        if routed.stored is not None:
            view = await self._views.reader(routed.stored.event.room_id, user_id)
            if not view.sees_whole(routed.stored):
                return None
        if routed.invite is not None:
            return await self._invite(user_id, routed, withheld)
        return routed.update

    async def _may_see(self, user_id: str, routed: Routed, withheld: Withheld) -> bool:
        owner, scope = routed.owner, routed.scope
        if owner is None or owner == user_id:
            return True
        if withheld.is_unheard(owner):
            return False
        if scope is None or not self._audience.restricts(scope, owner):
            return True
        return await self._audience.may_see(owner, user_id, scope)

    async def _invite(self, user_id: str, routed: Routed, withheld: Withheld) -> Update | None:
        """An invite, or that it was withdrawn: strangers' as requests, of the blocked nothing."""
        row = routed.invite
        assert row is not None
        if withheld.is_unheard(row.sender):
            return None
        shown = await self._invites.shown_invites(user_id, {row.room_id: row}, None)
        if row.room_id not in shown:
            return None
        return routed.request if shown[row.room_id][1] else routed.update
