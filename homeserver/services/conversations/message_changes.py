"""What people do with messages that are there: edit, react, delete, vote, answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.answers import POLL_STARTS
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.relations import latest_replacement
from homeserver.services.conversations.contents import Written, invalid
from homeserver.services.conversations.folding import Folding
from homeserver.services.conversations.keys import HAPPENING
from homeserver.services.conversations.messages import Messages
from homeserver.services.conversations.polls import read_poll
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.responses import (
    write_answer,
    write_edit,
    write_poll_end,
    write_reaction,
    write_vote,
)
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.shapes.messages import EditMessage, Message
from homeserver.services.event_store import EventStore
from homeserver.services.hidden_events import HiddenEvents
from homeserver.services.rate_limits import RateLimits
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.timeline import Timeline
from homeserver.storage import messages as storage
from homeserver.storage import relations as relation_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

MOST_REASON = 500


class MessageChanges:
    """Changes messages for users.

    Everything raises :class:`NotFound` for messages that the user may not see, and what policy and
    consent raise.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        rooms: Rooms,
        timeline: Timeline,
        messages: Messages,
        folding: Folding,
        sending: Sending,
        hidden_events: HiddenEvents,
        rate_limits: RateLimits,
    ) -> None:
        self._database = database
        self._store = store
        self._rooms = rooms
        self._timeline = timeline
        self._messages = messages
        self._folding = folding
        self._sending = sending
        self._hidden_events = hidden_events
        self._rate_limits = rate_limits

    # ------------------------------------------------------------ edits

    async def edit(self, user_id: str, room_id: str, message_id: str, edit: EditMessage) -> Message:
        """Make a message of one's own say something else; the message as it is now.

        Raises :class:`Forbidden` for others' messages, :class:`Problem` for what cannot be edited
        so.
        """
        stored = await self._own_room(user_id, room_id, message_id)
        event = stored.event
        if event.sender != user_id:
            raise Forbidden("You can edit only messages of your own")
        current = await self.current_content(event)
        await self._send(user_id, room_id, write_edit(message_id, event.type, current, edit))
        return await self._messages.get(user_id, room_id, message_id)

    async def current_content(self, event: Event) -> Mapping[str, Any]:
        """What a message says now, with its last edit."""
        listed = await relation_storage.get_edits(self._database, [(event.event_id, event.sender)])
        stored = await self._store.get_many(listed.get(event.event_id, ()))
        edit = latest_replacement(event, [s.event for s in stored.values() if s.shown])
        if edit is None or event.type == "m.room.encrypted":
            return event.content
        new: Mapping[str, Any] = edit.content["m.new_content"]
        return new

    # ------------------------------------------------------------ reactions

    async def react(self, user_id: str, room_id: str, message_id: str, key: str) -> None:
        """React to a message; nothing happens if one has with the same key."""
        _check_key(key)
        await self._own_room(user_id, room_id, message_id)
        if await storage.get_own_reactions(self._database, message_id, user_id, key):
            return
        await self._send(user_id, room_id, write_reaction(message_id, key))

    async def unreact(self, user_id: str, room_id: str, message_id: str, key: str) -> None:
        """Take a reaction back; nothing happens if there is none."""
        _check_key(key)
        await self._own_room(user_id, room_id, message_id)
        for event_id in await storage.get_own_reactions(self._database, message_id, user_id, key):
            await self._redact(user_id, room_id, event_id, None)

    # ------------------------------------------------------------ deleting

    async def delete_for_all(
        self, user_id: str, room_id: str, message_id: str, reason: str | None
    ) -> None:
        """Delete a message for everybody; nothing happens if it is deleted.

        Raises :class:`Forbidden` for others' messages, unless one may delete them here.
        """
        room = await self._sending.member_room(user_id, room_id)
        message = await self._messages.get(user_id, room_id, message_id)
        if message.deleted is not None:
            return
        stored = await self._store.get(message_id)
        assert stored is not None
        levels = room.power_levels
        if stored.event.sender != user_id and levels.user(user_id) < levels.redact:
            raise Forbidden("You may not delete other people's messages here")
        if stored.event.is_state:
            raise invalid("message_id", "What happened to the conversation cannot be deleted")
        if reason is not None and len(reason) > MOST_REASON:
            raise invalid("reason", f"A reason may have {MOST_REASON} characters")
        await self._redact(user_id, room_id, message_id, reason)

    async def delete_for_me(self, user_id: str, room_id: str, message_id: str) -> None:
        """Delete a message for oneself alone; nothing happens if it is."""
        if message_id in await self._hidden_events.hidden(user_id):
            return
        message = await self._messages.get(user_id, room_id, message_id)
        if message.kind == "system":
            raise invalid("message_id", "What happened to the conversation cannot be deleted")
        reader = await self._timeline.reader(room_id, user_id)
        await self._hidden_events.hide(reader, room_id, [message_id])

    # ------------------------------------------------------------ votes and answers

    async def vote(
        self, user_id: str, room_id: str, message_id: str, choices: list[str]
    ) -> Message:
        """Vote in a poll, in place of any vote before; without choices, take it back.

        Raises :class:`Problem` for what is no choice, or too many, and for closed polls.
        """
        stored = await self._poll(user_id, room_id, message_id)
        poll = read_poll(stored.event.content)
        assert poll is not None
        if set(choices) - {choice.id for choice in poll.choices}:
            raise invalid("choices", "That is none of the choices of this poll")
        if len(set(choices)) > poll.multiple:
            raise invalid("choices", f"This poll takes {poll.multiple} choices at most")
        await self._check_open(stored)
        await self._send(user_id, room_id, write_vote(message_id, list(dict.fromkeys(choices))))
        return await self._messages.get(user_id, room_id, message_id)

    async def close_poll(self, user_id: str, room_id: str, message_id: str) -> Message:
        """Close a poll: one's own, or as somebody who may delete others' messages.

        Nothing happens if it is closed.
        """
        stored = await self._poll(user_id, room_id, message_id)
        room = await self._sending.member_room(user_id, room_id)
        levels = room.power_levels
        if stored.event.sender != user_id and levels.user(user_id) < levels.redact:
            raise Forbidden("You can close only polls of your own")
        if message_id not in await self._folding.closings([stored]):
            await self._send(user_id, room_id, write_poll_end(message_id))
        return await self._messages.get(user_id, room_id, message_id)

    async def answer(self, user_id: str, room_id: str, message_id: str, answer: str) -> Message:
        """Answer the invitation to an event, in place of any answer before."""
        stored = await self._own_room(user_id, room_id, message_id)
        if HAPPENING not in stored.event.content:
            raise NotFound("That message is no event")
        await self._send(user_id, room_id, write_answer(message_id, answer))
        return await self._messages.get(user_id, room_id, message_id)

    async def _poll(self, user_id: str, room_id: str, message_id: str) -> StoredEvent:
        stored = await self._own_room(user_id, room_id, message_id)
        if stored.event.type not in POLL_STARTS or read_poll(stored.event.content) is None:
            raise NotFound("That message is no poll")
        return stored

    async def _check_open(self, poll: StoredEvent) -> None:
        if await self._folding.closings([poll]):
            raise Problem("poll_closed", "This poll is closed", status=409)

    # ------------------------------------------------------------ sending

    async def _own_room(self, user_id: str, room_id: str, message_id: str) -> StoredEvent:
        """A whole message in a conversation that the user is in."""
        await self._sending.member_room(user_id, room_id)
        return await self._messages.stored(user_id, room_id, message_id)

    async def _send(self, user_id: str, room_id: str, written: Written) -> None:
        self._rate_limits.check("message", user_id)
        await self._rooms.send(room_id, Draft(user_id, written.type, written.content))

    async def _redact(self, user_id: str, room_id: str, event_id: str, reason: str | None) -> None:
        """Spec: client-server API, redactions; room version 11 moved ``redacts``."""
        self._rate_limits.check("message", user_id)
        room = await self._rooms.get(room_id)
        content: JsonObject = {"reason": reason} if reason is not None else {}
        redacts: str | None = event_id
        if room.version.updated_redaction_rules:
            content["redacts"] = event_id
            redacts = None
        draft = Draft(user_id, "m.room.redaction", content, redacts=redacts)
        await self._rooms.send(room_id, draft)


def _check_key(key: str) -> None:
    if not key or len(key) > 100 or "\0" in key:
        raise invalid("key", "A reaction has 1 to 100 characters")
