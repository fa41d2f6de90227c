"""Messages with what was said of them: edits, reactions, threads, votes, answers to invitations.

One statement for each of these, however many messages and conversations there are, and none for
what does not occur.  What the reader may not see does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from homeserver.protocol.answers import POLL_STARTS, selections_of
from homeserver.protocol.events import Event
from homeserver.protocol.relations import (
    ANNOTATION,
    REFERENCE,
    REPLACE,
    THREAD,
    latest_replacement,
)
from homeserver.services.client_events import shown_event
from homeserver.services.conversations.keys import HAPPENING
from homeserver.services.conversations.reading import as_text
from homeserver.services.conversations.rendering import render, render_deleted
from homeserver.services.conversations.shapes.messages import (
    Choice,
    Deleted,
    Message,
    Poll,
    Reaction,
    Rsvp,
    Status,
    Thread,
)
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.visibility import Reader, Withheld
from homeserver.storage import messages as storage
from homeserver.storage import relations as relation_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.messages import LAST_TS, Counted, MemberPlace, PollEnd, Scope, ThreadRow

KINDS = (REPLACE, ANNOTATION, THREAD, REFERENCE)
MEMBER = "m.room.member"


class PresentRooms(Protocol):
    """Rooms as they are."""

    async def find(self, room_id: str) -> LiveRoom | None:
        """A room, or None."""


class Statuses(Protocol):
    """How far messages have come."""

    async def summaries(self, user_id: str, events: Iterable[StoredEvent]) -> Mapping[str, Status]:
        """Event ID -> the status of the user's own messages; a few statements for all of them."""


class _Said(Struct):
    """What was said of some messages, by the message's ID."""

    edits: dict[str, StoredEvent] = field(default_factory=dict)
    reactions: dict[str, list[Counted]] = field(default_factory=dict)
    threads: dict[str, ThreadRow] = field(default_factory=dict)
    answers: dict[str, list[Counted]] = field(default_factory=dict)
    closed_at: dict[str, int] = field(default_factory=dict)
    redactions: dict[str, StoredEvent] = field(default_factory=dict)
    members: dict[str, Event] = field(default_factory=dict)  # the member events before
    statuses: Mapping[str, Status] = field(default_factory=dict)


def scope_of(readers: Iterable[Reader], rooms: Iterable[str], withheld: Withheld) -> Scope:
    """What a reader may count in some rooms."""
    ranges = [
        (room_id, after, upto)
        for room_id, reader in zip(rooms, readers, strict=True)
        for after, upto in reader.visible_ranges()
    ]
    user_id = next((reader.user_id for reader in readers), "")
    return Scope(
        user_id,
        list(withheld.peers),
        [room_id for room_id, _, _ in ranges],
        [after for _, after, _ in ranges],
        [upto for _, _, upto in ranges],
    )


class Folding:
    """Makes messages of events, for one reader."""

    def __init__(self, *, database: Database, store: EventStore, rooms: PresentRooms) -> None:
        self._database = database
        self._store = store
        self._rooms = rooms
        self.statuses: Statuses | None = None

    async def fold(
        self, events: Sequence[StoredEvent], readers: Mapping[str, Reader], withheld: Withheld
    ) -> list[Message]:
        """Events as messages, in the same order.

        They have been found visible; ``readers``: the reader's view of each room among them.
        """
        if not events:
            return []
        seen = [readers[s.event.room_id].as_seen(s) for s in events]
        said = await self._said(seen, readers, withheld)
        await self._add_redactions(said, seen, readers, withheld)  # the last thing that is read
        return [self._message(stored, said) for stored in seen]

    # ------------------------------------------------------------ what was said

    async def _said(
        self, events: Sequence[StoredEvent], readers: Mapping[str, Reader], withheld: Withheld
    ) -> _Said:
        said = _Said()
        await self._add_members(said, events)
        whole = {s.event.event_id: s for s in events if is_whole(s) and not s.event.is_state}
        if not whole:
            return said
        if self.statuses is not None:
            user_id = next(iter(readers.values())).user_id
            said.statuses = await self.statuses.summaries(user_id, whole.values())
        kinds = await relation_storage.get_kinds(self._database, whole, KINDS)
        if not kinds:
            return said
        scope = scope_of(readers.values(), readers, withheld)
        edited = [whole[event_id] for event_id, names in kinds.items() if REPLACE in names]
        if edited:
            said.edits = await self._edits(edited, readers, withheld)
        reacted = [event_id for event_id, names in kinds.items() if ANNOTATION in names]
        if reacted:
            said.reactions = await storage.count_reactions(self._database, reacted, scope)
        roots = [event_id for event_id, names in kinds.items() if THREAD in names]
        if roots:
            said.threads = await storage.get_threads(self._database, roots, scope)
        asking = [whole[i] for i, names in kinds.items() if REFERENCE in names]
        await self._add_answers(said, [s for s in asking if asks(s.event)], scope)
        return said

    async def _add_redactions(
        self,
        said: _Said,
        events: Sequence[StoredEvent],
        readers: Mapping[str, Reader],
        withheld: Withheld,
    ) -> None:
        found = await self._store.get_redactions(events)
        for stored in events:
            redaction = found.get(stored.redacted_by or "")
            if redaction is not None:
                reader = readers[stored.event.room_id]
                by_id = {redaction.event.event_id: redaction}
                said.redactions |= reader.redactions_as_seen(by_id, withheld)

    async def _add_members(self, said: _Said, events: Sequence[StoredEvent]) -> None:
        places = [
            MemberPlace(s.event.event_id, s.event.room_id, s.event.state_key, s.order)
            for s in events
            if s.event.type == MEMBER and s.event.state_key is not None
        ]
        if not places:
            return
        previous = await storage.get_members_before(self._database, places)
        found = await self._store.get_many(previous.values())
        for event_id, previous_id in previous.items():
            if previous_id in found:
                said.members[event_id] = shown_event(found[previous_id])

    async def _edits(
        self, originals: Sequence[StoredEvent], readers: Mapping[str, Reader], withheld: Withheld
    ) -> dict[str, StoredEvent]:
        """Event ID -> the edit that counts."""
        listed = await relation_storage.get_edits(
            self._database, [(s.event.event_id, s.event.sender) for s in originals]
        )
        stored = await self._store.get_many(i for ids in listed.values() for i in ids)
        found: dict[str, StoredEvent] = {}
        for original in originals:
            event, reader = original.event, readers[original.event.room_id]
            candidates = [
                stored[i].event
                for i in listed.get(event.event_id, ())
                if i in stored
                and stored[i].shown
                and reader.sees_whole(stored[i])
                and not withheld.hides(stored[i].event)
            ]
            edit = latest_replacement(event, candidates)
            if edit is not None:
                found[event.event_id] = stored[edit.event_id]
        return found

    async def _add_answers(self, said: _Said, asking: Sequence[StoredEvent], scope: Scope) -> None:
        if not asking:
            return
        polls = [s for s in asking if s.event.type in POLL_STARTS]
        said.closed_at = await self.closings(polls)
        closed_at = {
            s.event.event_id: said.closed_at.get(s.event.event_id, LAST_TS) for s in asking
        }
        said.answers = await storage.count_answers(self._database, closed_at, scope)

    async def closings(self, polls: Sequence[StoredEvent]) -> dict[str, int]:
        """Event ID -> when a poll was closed (ms), for those that were.

        Spec: MSC3381: by its sender, or by somebody who may redact others' messages.
        """
        if not polls:
            return {}
        by_id = {s.event.event_id: s.event for s in polls}
        ends = await storage.get_poll_ends(self._database, by_id)
        closed: dict[str, int] = {}
        for event_id, candidates in ends.items():
            room = await self._rooms.find(by_id[event_id].room_id)
            for end in candidates:
                if _may_close(end, by_id[event_id], room):
                    closed[event_id] = end.origin_server_ts
                    break
        return closed

    # ------------------------------------------------------------ the message

    def _message(self, stored: StoredEvent, said: _Said) -> Message:
        event = stored.event
        if not is_whole(stored):
            return render_deleted(event, stored.position, _deleted(stored, said))
        event_id = event.event_id
        edit = said.edits.get(event_id)
        message = render(
            event,
            stored.position,
            edit=edit.event if edit is not None else None,
            previous=said.members.get(event_id),
        )
        more: dict[str, Any] = {}
        if event_id in said.reactions:
            more["reactions"] = [
                Reaction(key=r.key, count=r.count, mine=r.mine) for r in said.reactions[event_id]
            ]
        if event_id in said.threads:
            more["replies"] = _thread(said.threads[event_id])
        if event_id in said.statuses:
            more["status"] = said.statuses[event_id]
        if message.poll is not None:
            answers = said.answers.get(event_id, [])
            more["poll"] = tallied(message.poll, answers, closed=event_id in said.closed_at)
        if message.event is not None:
            more["event"] = msgspec.structs.replace(
                message.event, **_rsvp(said.answers.get(event_id, []))
            )
        return msgspec.structs.replace(message, **more) if more else message


def is_whole(stored: StoredEvent) -> bool:
    """Whether a message still says what it said."""
    return stored.redacted_by is None and stored.erased is None


def asks(event: Event) -> bool:
    """Whether a message asks for answers that are counted."""
    return event.type in POLL_STARTS or HAPPENING in event.content


def _may_close(end: PollEnd, poll: Event, room: LiveRoom | None) -> bool:
    if end.sender == poll.sender:
        return True
    levels = room.power_levels if room is not None else None
    return levels is not None and levels.user(end.sender) >= levels.redact


def _deleted(stored: StoredEvent, said: _Said) -> Deleted:
    redaction = said.redactions.get(stored.redacted_by or "")
    if redaction is None:
        return Deleted(reason=stored.erased)
    event = shown_event(redaction)
    return Deleted(
        at=rfc3339(event.origin_server_ts),
        by=address(event.sender),
        reason=as_text(event.content.get("reason")),
    )


def _thread(row: ThreadRow) -> Thread:
    return Thread(
        replies=row.replies,
        last_reply_id=row.event_id,
        last_reply_at=rfc3339(row.origin_server_ts),
    )


def tallied(poll: Poll, answers: Sequence[Counted], *, closed: bool) -> Poll:
    """A poll with its votes.

    Spec: MSC3381: a vote for what is no choice does not count, nor what is too much of it.
    """
    votes = {choice.id: 0 for choice in poll.choices}
    voters, mine = 0, []
    for answer in answers:
        taken = valid_choices(poll, answer.key)
        if not taken:
            continue
        voters += answer.count
        for choice in taken:
            votes[choice] += answer.count
        if answer.mine:
            mine = taken
    if poll.hidden and not closed:
        return msgspec.structs.replace(poll, closed=closed, mine=mine)
    choices = [Choice(id=c.id, text=c.text, votes=votes[c.id]) for c in poll.choices]
    return msgspec.structs.replace(poll, choices=choices, closed=closed, voters=voters, mine=mine)


def valid_choices(poll: Poll, key: str) -> list[str]:
    """What a vote takes; nothing if it is spoilt."""
    known = {choice.id for choice in poll.choices}
    taken = list(dict.fromkeys(selections_of(key)))[: poll.multiple]
    return taken if known.issuperset(taken) else []


def _rsvp(answers: Sequence[Counted]) -> dict[str, Any]:
    counts = {"yes": 0, "no": 0, "maybe": 0}
    mine = None
    for answer in answers:
        if answer.key in counts:
            counts[answer.key] += answer.count
            mine = answer.key if answer.mine else mine
    return {"rsvp": Rsvp(**counts), "mine": mine}
