"""Conversations as one reader sees them: a page of them in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from homeserver.protocol.events import JsonObject
from homeserver.protocol.room_versions import V1
from homeserver.protocol.stripped import without_strangers_choices
from homeserver.services.conversations.newest_messages import Newest, NewestMessages
from homeserver.services.conversations.own_settings import OwnSettings, Settings
from homeserver.services.conversations.reading import as_dict
from homeserver.services.conversations.room_cards import Card, RoomCards
from homeserver.services.conversations.room_people import Pair, RoomPeople
from homeserver.services.conversations.shapes.conversations import (
    Conversation,
    Kind,
    State,
    Unread,
)
from homeserver.services.conversations.shapes.messages import Message
from homeserver.services.conversations.shapes.people import Person
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.event_store import EventStore
from homeserver.services.sync_summary import RoomSummaries
from homeserver.services.unread import UnreadCounts
from homeserver.services.visibility import Reader, ReaderFilter, Visibility, Withheld
from homeserver.storage.conversations import RoomState
from homeserver.storage.events import StoredEvent
from homeserver.storage.log import Log
from homeserver.storage.rooms import MembershipRow, is_direct_invite

NAMED_AFTER = 3  # members, where a group has no name of its own


class Folding(Protocol):
    """Makes messages of events."""

    async def fold(
        self, events: Sequence[StoredEvent], readers: Mapping[str, Reader], withheld: Withheld
    ) -> Sequence[Message]:
        """Messages of several rooms, as one reader gets them; ``readers``: by room."""


class Entry(Struct, frozen=True):
    """A conversation's place in somebody's list.

    ``order``: the log position by which the list is sorted.  ``row``: of an invitation or a request
    to be let in; ``stranger``: the invitation waits as a request.  ``left``: how the room was.
    """

    room_id: str
    state: State
    order: int
    row: MembershipRow | None = None
    stranger: bool = False
    left: RoomState | None = None


class _Known(Struct):
    """What is read about a page before it is put together."""

    cards: Mapping[str, Card]
    peers: Mapping[str, str]
    settings: Callable[[str], OwnSettings]
    people: Mapping[Pair, Person] = field(default_factory=dict)
    heroes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    messages: Mapping[str, Message] = field(default_factory=dict)
    unread: Mapping[str, Unread] = field(default_factory=dict)

    def card(self, entry: Entry) -> Card:
        """The head of an entry's room; an empty one where we know nothing of it."""
        card = self.cards.get(entry.room_id)
        return card if card is not None else Card(entry.room_id, V1, {})


class ConversationViews:
    """Puts conversations together."""

    def __init__(
        self,
        *,
        log: Log,
        cards: RoomCards,
        people: RoomPeople,
        newest: NewestMessages,
        settings: Settings,
        store: EventStore,
        summaries: RoomSummaries,
        unread: UnreadCounts,
        visibility: Visibility,
        reader_filter: ReaderFilter,
        folding: Folding,
    ) -> None:
        self._log = log
        self._cards = cards
        self._people = people
        self._newest = newest
        self._settings = settings
        self._store = store
        self._summaries = summaries
        self._unread = unread
        self._visibility = visibility
        self._reader_filter = reader_filter
        self._folding = folding

    async def assemble(
        self, user_id: str, entries: Sequence[Entry], peers: Mapping[str, str]
    ) -> list[Conversation]:
        """The conversations of some entries, in their order.

        ``peers``: room ID -> with whom it is direct.  The number of queries does not depend on
        the number of entries.
        """
        known = _Known(
            await self._cards_of(entries),
            peers,
            await self._settings.of(user_id),
        )
        active = [entry.room_id for entry in entries if entry.state == "active"]
        await self._summaries.prepare(active)
        await self._find_heroes(user_id, entries, known)
        known.people = await self._people.get(self._pairs(user_id, entries, known))
        known.messages = await self._last_messages(user_id, entries)
        known.unread = await self.unread(user_id, active)
        return [await self._view(user_id, entry, known) for entry in entries]

    async def names(
        self, user_id: str, entries: Sequence[Entry], peers: Mapping[str, str]
    ) -> dict[str, str]:
        """What a search by name looks at: the names of conversations, and whom they are with."""
        known = await self._named(user_id, entries, peers)
        found = {}
        for entry in entries:
            name, person = self._called(user_id, entry, known)
            with_whom = person.address if person is not None else None
            found[entry.room_id] = "\n".join(part for part in (name, with_whom) if part)
        return found

    async def titles(
        self, user_id: str, entries: Sequence[Entry], peers: Mapping[str, str]
    ) -> dict[str, str | None]:
        """Room ID -> what the conversation is called for the reader."""
        known = await self._named(user_id, entries, peers)
        return {entry.room_id: self._called(user_id, entry, known)[0] for entry in entries}

    async def _named(
        self, user_id: str, entries: Sequence[Entry], peers: Mapping[str, str]
    ) -> _Known:
        known = _Known(await self._cards_of(entries), peers, lambda _: OwnSettings())
        await self._find_heroes(user_id, entries, known)
        known.people = await self._people.get(self._pairs(user_id, entries, known))
        return known

    def _called(
        self, user_id: str, entry: Entry, known: _Known
    ) -> tuple[str | None, Person | None]:
        peer = self._peer(user_id, entry, known)
        person = self._person(user_id, entry, known, peer) if peer is not None else None
        return self._name(entry, known.card(entry), person, known), person

    async def unread(self, user_id: str, room_ids: Sequence[str]) -> dict[str, Unread]:
        """How much is unread in conversations that the reader is in.

        What is muted notifies nobody, and is counted apart.
        """
        counts = await self._unread.get_many(user_id, room_ids, self._log.position)
        found = {
            room_id: Unread(messages=count.notifications, mentions=count.highlights)
            for room_id, count in counts.items()
        }
        muted = [room_id for room_id in self._settings.muted(user_id) if room_id in found]
        if muted:
            withheld = await self._reader_filter.withheld(user_id)
            unseen = await self._newest.count_unseen(user_id, muted, withheld.peers)
            found.update({room_id: Unread(messages=unseen[room_id]) for room_id in muted})
        return found

    # ------------------------------------------------------------ what is read

    async def _cards_of(self, entries: Sequence[Entry]) -> dict[str, Card]:
        joined = [entry.room_id for entry in entries if entry.state == "active"]
        cards = await self._cards.get(joined)
        cards.update(await self._cards.at([e.left for e in entries if e.left is not None]))
        for entry in entries:
            if entry.row is not None:
                cards[entry.room_id] = stripped_card(entry)
        return cards

    def _pairs(self, user_id: str, entries: Sequence[Entry], known: _Known) -> list[Pair]:
        """Who is shown of each room, as far as the room itself is read for it."""
        pairs: list[Pair] = []
        for entry in entries:
            if entry.row is not None:
                continue
            peer = self._peer(user_id, entry, known)
            if peer is not None:
                pairs.append((entry.room_id, peer))
            pairs.extend((entry.room_id, hero) for hero in known.heroes.get(entry.room_id, ()))
        return pairs

    async def _find_heroes(self, user_id: str, entries: Sequence[Entry], known: _Known) -> None:
        """Whom groups without a name are named after."""
        nameless = [
            entry.room_id
            for entry in entries
            if entry.state == "active"
            and known.card(entry).name is None
            and self._peer(user_id, entry, known) is None
        ]
        await self._summaries.prepare(nameless)
        known.heroes = {
            room_id: (await self._summaries.get(room_id)).heroes(user_id)[:NAMED_AFTER]
            for room_id in nameless
        }

    async def _last_messages(self, user_id: str, entries: Sequence[Entry]) -> dict[str, Message]:
        """The newest message that the reader may see in each room."""
        rooms = [entry.room_id for entry in entries if entry.row is None]
        readers = await self._visibility.readers(rooms, user_id)
        newest: dict[str, Newest] = dict(
            await self._newest.get([e.room_id for e in entries if e.state == "active"])
        )
        left = {e.room_id: e.left.position for e in entries if e.left is not None}
        if left:
            newest.update(await self._newest.upto(left))
        events = await self._store.get_many(
            event_id for candidates in newest.values() for _, event_id in candidates
        )
        withheld = await self._reader_filter.withheld(user_id)
        found: dict[str, StoredEvent] = {}
        for room_id, candidates in newest.items():
            for _, event_id in candidates:
                stored = events.get(event_id)
                if stored is not None and is_for(stored, readers[room_id], withheld):
                    found[room_id] = stored
                    break
        shown = {room_id: readers[room_id] for room_id in found}
        messages = await self._folding.fold(list(found.values()), shown, withheld)
        return dict(zip(found, messages, strict=True))

    # ------------------------------------------------------------ what is made of it

    def _kind(self, user_id: str, entry: Entry, known: _Known) -> Kind:
        peer = self._peer(user_id, entry, known)
        if peer is None:
            return "group"
        return "self" if peer == user_id else "direct"

    def _peer(self, user_id: str, entry: Entry, known: _Known) -> str | None:
        """With whom a conversation is direct, if it is."""
        peer = known.peers.get(entry.room_id)
        row = entry.row
        if peer is None and row is not None and is_direct_invite(row, user_id):
            return row.sender
        return peer

    def _person(self, user_id: str, entry: Entry, known: _Known, peer: str) -> Person:
        if entry.row is not None:
            state = entry.row.stripped_state
            return self._people.stripped_person(peer, state, with_avatar=not entry.stranger)
        person = known.people.get((entry.room_id, peer))
        return person if person is not None else self._people.person(peer, {})

    async def _view(self, user_id: str, entry: Entry, known: _Known) -> Conversation:
        room_id = entry.room_id
        card = known.card(entry)
        kind = self._kind(user_id, entry, known)
        peer_id = self._peer(user_id, entry, known)
        peer = None
        if kind == "direct" and peer_id is not None:
            peer = self._person(user_id, entry, known, peer_id)
        last = known.messages.get(room_id)
        own = known.settings(room_id)
        standing = card.standing
        active = entry.state == "active"
        created_at = rfc3339(card.created_at) if card.created_at is not None else None
        inviter = None
        if entry.row is not None and entry.state in ("invited", "requested"):
            inviter = self._person(user_id, entry, known, entry.row.sender)
        return Conversation(
            id=str(room_id),  # of a parsed ID only the text
            kind=kind,
            state=entry.state,
            name=self._name(entry, card, peer, known),
            description=card.description,
            avatar=card.avatar or (peer.avatar if peer is not None else None),
            peer=peer,
            member_count=(await self._summaries.get(room_id)).joined if active else 0,
            my_role=standing.role(user_id) if active else "member",
            my_permissions=standing.effective(user_id) if active else [],
            unread=known.unread.get(room_id, NOTHING_UNREAD),
            last_message=last,
            last_activity_at=last.sent_at if last is not None else created_at,
            muted=_muted(own),
            pinned=own.pinned,
            archived=own.archived,
            encrypted=card.encrypted,
            history=card.history,
            join=card.join,
            permissions=standing.permissions(),
            invited_by=inviter,
            created_at=created_at,
        )

    def _name(self, entry: Entry, card: Card, peer: Person | None, known: _Known) -> str | None:
        if card.name is not None:
            return card.name
        if peer is not None:
            return peer.name or peer.address
        heroes = known.heroes.get(entry.room_id, ())
        people = [known.people.get((entry.room_id, hero)) for hero in heroes]
        return ", ".join(p.name or p.address for p in people if p is not None) or None


NOTHING_UNREAD = Unread()


def is_for(stored: StoredEvent, reader: Reader, withheld: Withheld) -> bool:
    """Whether a message is shown to a reader."""
    return stored.shown and reader.may_see(stored) and not withheld.hides(stored.event)


def stripped_card(entry: Entry) -> Card:
    """The head of a room to which somebody is invited, as far as the invitation tells it."""
    assert entry.row is not None
    state: Sequence[JsonObject] = entry.row.stripped_state or ()
    if entry.stranger:
        state = without_strangers_choices(state)
    return Card(
        entry.room_id,
        V1,
        {
            kind: as_dict(event.get("content"))
            for event in state
            if event.get("state_key") == "" and isinstance(kind := event.get("type"), str)
        },
    )


def _muted(own: OwnSettings) -> bool | str:
    return rfc3339(own.muted_until) if own.muted_until is not None else own.muted
