"""A user's conversations: the list of them, the last active first, and single ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from homeserver.errors import NotFound
from homeserver.services.conversations.conversation_views import ConversationViews, Entry
from homeserver.services.conversations.direct_list import DirectList
from homeserver.services.conversations.newest_messages import NewestMessages
from homeserver.services.conversations.own_settings import Settings
from homeserver.services.conversations.shapes.conversations import (
    Conversation,
    ConversationsQuery,
    Kind,
    State,
)
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.sync_rooms import RoomsOfUsers, UserRooms
from homeserver.storage import conversations as storage
from homeserver.storage.database import Database
from homeserver.storage.rooms import MembershipRow, is_direct_invite

DEFAULT_STATES: frozenset[State] = frozenset({"active", "invited", "asked"})


class ShownInvites(Protocol):
    """Which invitations somebody is shown, and which of them are strangers' requests."""

    async def shown_invites(
        self, user_id: str, rows: Mapping[str, MembershipRow], since: int | None
    ) -> Mapping[str, tuple[MembershipRow, bool]]:
        """Room ID -> the row, and whether it waits as a request."""


class Conversations:
    """Lists and finds conversations."""

    def __init__(
        self,
        *,
        database: Database,
        rooms_of_users: RoomsOfUsers,
        invites: ShownInvites,
        direct_list: DirectList,
        newest: NewestMessages,
        settings: Settings,
        views: ConversationViews,
    ) -> None:
        self._database = database
        self._rooms_of_users = rooms_of_users
        self._invites = invites
        self._direct_list = direct_list
        self._newest = newest
        self._settings = settings
        self._views = views

    async def get(self, user_id: str, room_id: str) -> Conversation:
        """One conversation.

        Raises :class:`NotFound` for those in which the user neither is, nor was, nor is expected.
        """
        return (await self.views(user_id, (await self.require(user_id, room_id),)))[0]

    async def require(self, user_id: str, room_id: str) -> Entry:
        """A conversation's place in a user's list.  Raises :class:`NotFound`."""
        entry = await self.entry(user_id, room_id)
        if entry is None:
            raise no_such_conversation()
        return entry

    async def views(self, user_id: str, entries: Sequence[Entry]) -> list[Conversation]:
        """The conversations of entries."""
        peers = await self._direct_list.peers_by_room(user_id)
        return await self._views.assemble(user_id, entries, peers)

    async def page(self, user_id: str, query: ConversationsQuery) -> Page[Conversation]:
        """A page of a user's conversations, the last active first.

        The number of queries depends neither on how many there are nor on how many are in them.
        """
        before = parse_cursor(query.cursor, int, str) if query.cursor is not None else None
        peers = await self._direct_list.peers_by_room(user_id)
        entries = await self._entries(user_id, frozenset(query.state) or DEFAULT_STATES)
        entries = await self._filtered(user_id, entries, query, peers)
        entries.sort(key=_place, reverse=True)
        if before is not None:
            entries = [entry for entry in entries if _place(entry) < before]
        page = entries[: query.limit]
        more = len(entries) > query.limit
        return Page(
            items=await self._views.assemble(user_id, page, peers),
            next=make_cursor(*_place(page[-1])) if more else None,
        )

    # ------------------------------------------------------------ which there are

    async def entry(self, user_id: str, room_id: str) -> Entry | None:
        """A conversation's place in a user's list; None if it has none."""
        room_id = str(room_id)  # a plain text, as JSON has it
        rooms = await self._rooms_of_users.get(user_id)
        found = [
            *await self._active(rooms, {room_id} & rooms.joined.keys()),
            *await self._invited(
                user_id, {r: row for r, row in rooms.invited.items() if r == room_id}
            ),
            *_asked(row for row in rooms.knocked.values() if row.room_id == room_id),
        ]
        return found[0] if found else next(iter(await self._left(user_id, (room_id,))), None)

    async def _entries(self, user_id: str, states: Collection[State]) -> list[Entry]:
        rooms = await self._rooms_of_users.get(user_id)
        found: list[Entry] = []
        if "active" in states:
            found.extend(await self._active(rooms, rooms.joined))
        if "invited" in states or "requested" in states:
            invited = await self._invited(user_id, rooms.invited)
            found.extend(entry for entry in invited if entry.state in states)
        if "asked" in states:
            found.extend(_asked(rooms.knocked.values()))
        if "left" in states:
            found.extend(await self._left(user_id, None))
        return found

    async def _active(self, rooms: UserRooms, room_ids: Iterable[str]) -> list[Entry]:
        wanted = list(room_ids)
        newest = await self._newest.get(wanted)
        return [
            Entry(
                room_id,
                "active",
                newest[room_id][0][0] if newest[room_id] else rooms.joined[room_id],
            )
            for room_id in wanted
        ]

    async def _invited(self, user_id: str, rows: Mapping[str, MembershipRow]) -> list[Entry]:
        shown = await self._invites.shown_invites(user_id, rows, None)
        return [
            Entry(
                room_id, "requested" if asked else "invited", row.position, row=row, stranger=asked
            )
            for room_id, (row, asked) in shown.items()
        ]

    async def _left(self, user_id: str, room_ids: Collection[str] | None) -> list[Entry]:
        rooms = await storage.get_left_rooms(self._database, user_id, room_ids)
        return [Entry(room.room_id, "left", room.position, left=room) for room in rooms]

    # ------------------------------------------------------------ which are wanted

    async def _filtered(
        self,
        user_id: str,
        entries: list[Entry],
        query: ConversationsQuery,
        peers: Mapping[str, str],
    ) -> list[Entry]:
        if query.kind is not None:
            entries = [e for e in entries if _kind(user_id, e, peers) == query.kind]
        if query.archived is not None or query.pinned is not None:
            own = await self._settings.of(user_id)
            entries = [
                entry
                for entry in entries
                if query.archived in (None, own(entry.room_id).archived)
                and query.pinned in (None, own(entry.room_id).pinned)
            ]
        if query.unread is not None:
            entries = await self._by_unread(user_id, entries, query.unread)
        if query.query is not None:
            wanted = query.query.casefold()
            names = await self._views.names(user_id, entries, peers)
            entries = [e for e in entries if wanted in names[e.room_id].casefold()]
        return entries

    async def _by_unread(self, user_id: str, entries: Sequence[Entry], wanted: bool) -> list[Entry]:
        active = [entry.room_id for entry in entries if entry.state == "active"]
        counts = await self._views.unread(user_id, active)
        unread = {room_id for room_id, count in counts.items() if count.messages}
        return [entry for entry in entries if (entry.room_id in unread) == wanted]


def no_such_conversation() -> NotFound:
    """The answer to whom a conversation is none of their business, too."""
    return NotFound("There is no such conversation")


def _place(entry: Entry) -> tuple[int, str]:
    return entry.order, entry.room_id


def _asked(rows: Iterable[MembershipRow]) -> list[Entry]:
    return [Entry(row.room_id, "asked", row.position, row=row) for row in rows]


def _kind(user_id: str, entry: Entry, peers: Mapping[str, str]) -> Kind:
    peer = peers.get(entry.room_id)
    if peer is None and entry.row is not None and is_direct_invite(entry.row, user_id):
        peer = entry.row.sender
    if peer is None:
        return "group"
    return "self" if peer == user_id else "direct"
