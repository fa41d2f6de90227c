"""A conversation's members as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.permissions import Standing
from homeserver.services.conversations.reading import as_text
from homeserver.services.conversations.room_people import RoomPeople
from homeserver.services.conversations.shapes.conversations import (
    Member,
    MemberProblem,
    MembersQuery,
    MemberState,
)
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage import conversation_members as storage
from homeserver.storage.conversation_members import MemberRow
from homeserver.storage.conversations import MemberEvent
from homeserver.storage.database import Database
from homeserver.storage.pending_invites import get_invites

DEFAULT_STATES: tuple[MemberState, ...] = (
    "joined",
    "invited",
    "requested",
    "inviting",
    "not_invited",
)
PENDING: tuple[MemberState, ...] = ("inviting", "not_invited")
MOST_SEARCHED = 1_000  # members for one page of a search


class MemberViews:
    """Reads members: a page takes four queries, however many members there are."""

    def __init__(self, *, database: Database, people: RoomPeople) -> None:
        self._database = database
        self._people = people

    async def page(self, room_id: str, standing: Standing, query: MembersQuery) -> Page[Member]:
        """A page of members, in the order of their addresses.

        A search may give an empty page with a cursor: it looks at some of the members at a time.
        """
        after = str(parse_cursor(query.cursor, str)[0]) if query.cursor is not None else ""
        rows, upto = await self._rows(room_id, standing, query, after)
        page = rows[: query.limit]
        last = page[-1].user_id if len(rows) > query.limit else upto
        return Page(
            items=await self.members(room_id, standing, page),
            next=make_cursor(last) if last is not None else None,
        )

    async def _rows(
        self, room_id: str, standing: Standing, query: MembersQuery, after: str
    ) -> tuple[list[MemberRow], str | None]:
        """One row more than wanted, if there is one; and where the search ended, if before the
        last member."""
        among, without = _by_role(standing, query)
        states: Sequence[str] = query.state or DEFAULT_STATES
        if query.query is None:
            rows = await storage.get_members(
                self._database,
                room_id,
                after=after,
                states=states,
                among=among,
                without=without,
                limit=query.limit + 1,
            )
            return rows, None
        searched = await storage.get_named_members(
            self._database,
            room_id,
            after=after,
            states=states,
            among=among,
            without=without,
            limit=MOST_SEARCHED,
        )
        wanted = query.query.casefold()
        found = [row for row, name in searched if wanted in _searchable(row, name)]
        upto = searched[-1][0].user_id if len(searched) == MOST_SEARCHED else None
        return found[: query.limit + 1], upto

    async def one(self, room_id: str, standing: Standing, user_id: str) -> Member | None:
        """Somebody's place in a conversation; None if they never had one."""
        row = await storage.get_member(self._database, room_id, user_id)
        return (await self.members(room_id, standing, (row,)))[0] if row is not None else None

    async def named(
        self, room_id: str, standing: Standing, people: Sequence[UserId]
    ) -> list[Member]:
        """Those of some people who have a place in a conversation, in their order."""
        rows = await storage.get_members(
            self._database,
            room_id,
            after="",
            states=[*DEFAULT_STATES, "removed", "banned", "left"],
            among=people,
            without=None,
            limit=len(people),
        )
        places = {user_id: place for place, user_id in enumerate(people)}
        rows.sort(key=lambda row: places[UserId(row.user_id)])
        return await self.members(room_id, standing, rows)

    async def members(
        self, room_id: str, standing: Standing, rows: Sequence[MemberRow]
    ) -> list[Member]:
        """Members, with their names and what they may do."""
        contents = await self._people.contents(
            MemberEvent(room_id, row.user_id, row.state, row.event_id)
            for row in rows
            if row.event_id is not None
        )
        joined = [row.user_id for row in rows if row.state == "joined"]
        stays = await storage.get_stays(self._database, room_id, joined) if joined else {}
        waiting = [row.user_id for row in rows if row.state in PENDING]
        pending = await get_invites(self._database, room_id, waiting) if waiting else {}
        members = []
        for row in rows:
            content = contents.get((room_id, row.user_id), {})
            stay, invite = stays.get(row.user_id), pending.get(row.user_id)
            inviter = stay.invited_by if stay is not None else None
            if row.state in ("invited", *PENDING):
                inviter = row.sender
            members.append(
                Member(
                    person=self._people.person(row.user_id, content),
                    role=standing.role(row.user_id),
                    state=_state(row),
                    permissions=standing.effective(row.user_id) if row.state == "joined" else [],
                    joined_at=rfc3339(stay.since) if stay is not None else None,
                    invited_by=address(inviter) if inviter is not None else None,
                    reason=as_text(content.get("reason")),
                    problem=MemberProblem(
                        person=address(row.user_id),
                        code=invite.problem,
                        detail=invite.detail or "",
                    )
                    if invite is not None and invite.problem is not None
                    else None,
                )
            )
        return members


def _state(row: MemberRow) -> MemberState:
    state: MemberState = row.state  # type: ignore[assignment]  # the query makes no other
    return state


def _searchable(row: MemberRow, name: object) -> str:
    return f"{row.user_id}\n{address(row.user_id)}\n{as_text(name) or ''}".casefold()


def _by_role(standing: Standing, query: MembersQuery) -> tuple[list[str] | None, list[str] | None]:
    """The user IDs to which a role limits a page, or which it leaves out."""
    if query.role is None:
        return None, None
    elevated = list(standing.elevated)
    if query.role == "member":
        return None, elevated
    return [user_id for user_id in elevated if standing.role(user_id) == query.role], None
