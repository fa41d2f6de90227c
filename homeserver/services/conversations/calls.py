"""Calls: ringing, answering and ending them, as Matrix's call events.

Spec: client-server API, voice over IP.  Whom one may call is asked where each event is sent.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.calls import (
    ANSWER,
    CANDIDATES,
    HANGUP,
    INVITE,
    MANAGED,
    REJECT,
    VERSION,
    call_key,
    media_of,
    read_step,
)
from homeserver.services.conversations.call_views import MATRIX_REASONS, call_of
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.shapes.calls import Call, NewCall
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.search.search import MessageSearch
from homeserver.services.timeline import Timeline
from homeserver.services.visibility import Reader
from homeserver.storage import calls as storage
from homeserver.storage.calls import CallRow
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.message_index import LAST_MS

ROUNDS = 3
CANDIDATE_FIELDS = ("candidate", "sdpMid", "sdpMLineIndex", "usernameFragment")
MAX_CANDIDATE_LENGTH = 2_000


def party_of(requester: Requester) -> str:
    """How a caller's device is named in calls: the same for each call, and not its ID."""
    named = f"{requester.user_id}\0{requester.device_id or ''}".encode()
    digest = hashlib.blake2b(named, digest_size=9, person=b"call party").digest()
    return base64.urlsafe_b64encode(digest).decode().replace("-", "A").replace("_", "B")


class _Seen(Struct, frozen=True):
    """A call that somebody may see, with the event that began it."""

    row: CallRow
    invite: StoredEvent


class Calls:
    """Calls of users of the Conversations API.

    Everything raises :class:`NotFound` for calls that the user may not see, and what policy and
    consent raise.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        rooms: Rooms,
        timeline: Timeline,
        sending: Sending,
        places: MessageSearch,
        clock_ms: Callable[[], int],
    ) -> None:
        """``places``: knows where a user may read."""
        self._database = database
        self._store = store
        self._rooms = rooms
        self._timeline = timeline
        self._sending = sending
        self._places = places
        self._clock_ms = clock_ms

    # ------------------------------------------------------------ ringing

    async def start(self, requester: Requester, new: NewCall) -> Call:
        """Ring.  Raises :class:`Problem` where nobody can answer, or nobody is named in a group."""
        if new.offer.type == "answer":
            raise InvalidParam("'offer' must be a description of type offer")
        if media_of(new.offer.sdp) != new.media:
            raise InvalidParam("'media' is not what the offer has: m=video, or m=audio alone")
        room_id = await self._sending.place(
            requester.user_id, new.to, new.conversation_id, clear=new.allow_unencrypted
        )
        room = await self._sending.member_room(requester.user_id, room_id)
        invitee = _invitee(requester.user_id, room, new)
        call_id = secrets.token_urlsafe(12)
        content = self._content(requester, call_id) | {
            "offer": {"type": "offer", "sdp": new.offer.sdp},
            "lifetime": new.ring_seconds * 1000,
            "invitee": str(invitee),
            MANAGED: True,
        }
        await self._send(requester, room_id, INVITE, content)
        row = await storage.get(self._database, call_key(room_id, call_id))
        if row is None:
            raise Problem(
                "policy_refused", "A moderator looks at what you send first: no call", status=403
            )
        return call_of(row, self._clock_ms(), offer=new.offer.sdp)

    async def answer(self, requester: Requester, key: str, sdp: str) -> Call:
        """Answer a call.  Raises :class:`Problem` if it rings no more."""
        seen = await self._ringing(requester, key)
        content = self._content(requester, seen.row.call_id)
        content["answer"] = {"type": "answer", "sdp": sdp}
        await self._send(requester, seen.row.room_id, ANSWER, content)
        call = await self.get(requester.user_id, key)
        if call.answered_device != content["party_id"]:
            raise _over(call.state)
        return call

    async def decline(self, requester: Requester, key: str) -> Call:
        """Decline a call.  Raises :class:`Problem` if it rings no more."""
        seen = await self._ringing(requester, key)
        content = self._content(requester, seen.row.call_id)
        await self._send(requester, seen.row.room_id, REJECT, content)
        return await self.get(requester.user_id, key)

    async def end(self, requester: Requester, key: str, reason: str) -> Call:
        """End a call that one is in, or that one makes; nothing happens if it is over.

        Raises :class:`Forbidden` for calls of others.
        """
        row = (await self._seen(requester.user_id, key)).row
        if row.ended_at is not None:
            return await self.get(requester.user_id, key)
        self._check_part(requester.user_id, row)
        content = self._content(requester, row.call_id)
        if requester.user_id == row.answered_by != row.caller:
            content["party_id"] = row.answered_party  # from any device of theirs
        content["reason"] = MATRIX_REASONS[reason]
        await self._send(requester, row.room_id, HANGUP, content)
        return await self.get(requester.user_id, key)

    async def add_candidates(
        self, requester: Requester, key: str, candidates: list[dict[str, Any]]
    ) -> None:
        """Tell the other side more ways to reach the caller's device.

        Raises :class:`Problem` once the call is over, :class:`InvalidParam` for what is no
        candidate.
        """
        row = (await self._seen(requester.user_id, key)).row
        if row.ended_at is not None or (row.answered_at is None and not self._rings(row)):
            raise _over("ended")
        self._check_part(requester.user_id, row)
        content = self._content(requester, row.call_id)
        content["candidates"] = [_candidate(candidate) for candidate in candidates]
        await self._send(requester, row.room_id, CANDIDATES, content)

    # ------------------------------------------------------------ reading

    async def get(self, user_id: str, key: str) -> Call:
        """A call as it stands; with what both sides can do until it is over."""
        seen = await self._seen(user_id, key)
        row, now = seen.row, self._clock_ms()
        if row.ended_at is not None or (row.answered_at is None and not self._rings(row)):
            return call_of(row, now)
        begun, answer = read_step(seen.invite.event), None
        if row.answer_id is not None:
            stored = await self._store.get(row.answer_id)
            step = read_step(stored.event) if stored is not None else None
            answer = step.description if step is not None else None
        return call_of(
            row, now, offer=begun.description if begun is not None else None, answer=answer
        )

    async def history(
        self, user_id: str, conversation_id: str | None, cursor: str | None, limit: int
    ) -> Page[Call]:
        """Calls in a user's conversations, or in one, the newest first."""
        among = [conversation_id] if conversation_id is not None else None
        readers = await self._places.rooms(user_id, among)
        if conversation_id is not None and not readers:
            raise NotFound("There is no such conversation, or you are not in it")
        before: tuple[int, str] = (LAST_MS, "")
        if cursor is not None:
            sent_at, event_id = parse_cursor(cursor, int, str)
            before = (sent_at, event_id)
        found: list[CallRow] = []
        for _ in range(ROUNDS):
            rows = await storage.get_history(self._database, readers, before, limit + 1)
            shown = await self._shown(user_id, rows, readers)
            found += shown
            if len(rows) <= limit or len(found) > limit:
                break
            before = (rows[-1].started_at, rows[-1].event_id)
        more = len(found) > limit or len(rows) > limit
        last = found[limit - 1] if len(found) >= limit else (rows[-1] if rows else None)
        following = make_cursor(last.started_at, last.event_id) if more and last else None
        now = self._clock_ms()
        return Page(items=[call_of(row, now) for row in found[:limit]], next=following)

    async def _shown(
        self, user_id: str, rows: list[CallRow], readers: Mapping[str, Reader]
    ) -> list[CallRow]:
        withheld = await self._timeline.withheld(user_id)
        events = await self._store.get_many(row.event_id for row in rows)
        return [
            row
            for row in rows
            if (stored := events.get(row.event_id)) is not None
            and stored.shown
            and not withheld.hides(stored.event)
            and readers[row.room_id].sees_whole(stored)
        ]

    async def _seen(self, user_id: str, key: str) -> _Seen:
        row = await storage.get(self._database, key)
        if row is not None:
            try:
                reader = await self._timeline.reader(row.room_id, user_id)
                invite = await self._timeline.visible_event(reader, row.room_id, row.event_id)
            except Forbidden:
                row = None
            else:
                return _Seen(row, invite)
        raise NotFound("There is no such call, or you may not see it")

    # ------------------------------------------------------------ parts

    async def _ringing(self, requester: Requester, key: str) -> _Seen:
        seen = await self._seen(requester.user_id, key)
        row = seen.row
        if not self._rings(row):
            raise _over("active" if row.answered_at is not None and not row.ended_at else "ended")
        own = row.caller == requester.user_id and row.party_id == party_of(requester)
        if own or row.invitee not in (None, requester.user_id):
            raise Forbidden("This call is not for you")
        return seen

    def _rings(self, row: CallRow) -> bool:
        return row.is_ringing(self._clock_ms())

    def _check_part(self, user_id: str, row: CallRow) -> None:
        called = row.answered_by or row.invitee
        if user_id != row.caller and called is not None and user_id != called:
            raise Forbidden("You are not in this call")

    def _content(self, requester: Requester, call_id: str) -> dict[str, Any]:
        return {"call_id": call_id, "party_id": party_of(requester), "version": VERSION}

    async def _send(
        self, requester: Requester, room_id: str, kind: str, content: dict[str, Any]
    ) -> None:
        await self._sending.member_room(requester.user_id, room_id)
        self._sending.check_rate(requester.user_id)
        await self._rooms.send(room_id, Draft(requester.user_id, kind, content))


def _invitee(user_id: str, room: LiveRoom, new: NewCall) -> str:
    """Who is called."""
    named = new.person or new.to
    if named is not None:
        invitee: str = parse_person(named, "person" if new.person else "to")
    elif room.joined_count + room.invited_count != 2:
        raise Problem(
            "invalid_parameter", "Say who is called: 'person'", status=400, parameter="person"
        )
    else:
        invitee = next((m for m in _members(room) if m != user_id), "")
    if invitee == user_id:
        raise InvalidParam("You cannot call yourself")
    if not invitee or not room.is_joined(invitee):
        raise Problem(
            "not_in_conversation",
            "They are not in the conversation yet: call once they have accepted it",
            status=409,
        )
    return invitee


def _members(room: LiveRoom) -> list[str]:
    return [key for kind, key in room.state if kind == "m.room.member" and room.is_joined(key)]


def _over(state: str) -> Problem:
    if state == "active":
        return Problem("call_answered", "The call was answered on another device", status=409)
    return Problem("call_over", "The call is over", status=409)


def _candidate(given: dict[str, Any]) -> dict[str, Any]:
    """A candidate as Matrix has it; its empty text says that there are no more."""
    candidate = {name: given[name] for name in CANDIDATE_FIELDS if given.get(name) is not None}
    line = candidate.get("sdpMLineIndex", 0)
    texts = [value for name, value in candidate.items() if name != "sdpMLineIndex"]
    if (
        not isinstance(candidate.get("candidate"), str)
        or type(line) is not int
        or not 0 <= line < 1_000
        or not all(isinstance(text, str) and len(text) <= MAX_CANDIDATE_LENGTH for text in texts)
    ):
        raise InvalidParam(
            "A candidate has 'candidate', and 'sdpMid' or 'sdpMLineIndex', as WebRTC gives them"
        )
    return candidate
