"""What clients' frames do: each is one call of a service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from msgspec import UnsetType

from client_api.conversations.auth import Caller
from client_api.conversations.ws import client_frames as frames
from client_api.conversations.ws.server_frames import Ok
from homeserver.services.conversations.message_changes import MessageChanges
from homeserver.services.conversations.read_marks import ReadMarks
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.shapes.messages import MarkRead
from homeserver.services.conversations.shapes.presence import PRESENCE_OF
from homeserver.services.typing import TypingService

TYPING_MS = 10_000
WRITE, PRESENCE = "messages:write", "presence"

Queued = Callable[[], None]


class Terms(Protocol):
    """What users have to accept before they send."""

    async def require(self, user_id: str) -> None:
        """Raise ``ConsentNotGiven`` if there is something."""


class Presences(Protocol):
    """How users are."""

    async def status_text(self, user_id: str) -> str | None:
        """The text beside a user's presence."""

    async def set_status(self, user_id: str, presence: str, status_msg: str | None) -> None:
        """A user says how they are."""


class Actions:
    """Carries out frames."""

    def __init__(
        self,
        *,
        sending: Sending,
        changes: MessageChanges,
        read_marks: ReadMarks,
        typing: TypingService,
        presences: Presences,
        terms: Terms,
    ) -> None:
        self._sending = sending
        self._changes = changes
        self._read_marks = read_marks
        self._typing = typing
        self._presences = presences
        self._terms = terms
        self._by_frame: dict[type, Callable[[Caller, Any, Queued], Awaitable[Ok | None]]] = {
            frames.SendFrame: self._send,
            frames.EditFrame: self._edit,
            frames.ReactFrame: self._react,
            frames.DeleteFrame: self._delete,
            frames.ReadFrame: self._read,
            frames.TypingFrame: self._type,
            frames.PresenceFrame: self._presence,
        }

    async def carry_out(self, caller: Caller, asked: Any, queued: Queued) -> Ok | None:
        """Do what a frame asks for; what to answer besides that it is done.

        ``queued`` is called once the next frame of the same socket may begin.  Raises what the
        services raise.
        """
        return await self._by_frame[type(asked)](caller, asked, queued)

    async def _may_write(self, caller: Caller) -> None:
        caller.require_scope(WRITE)
        if caller.application is None:
            await self._terms.require(caller.requester.user_id)

    async def _send(self, caller: Caller, asked: frames.SendFrame, queued: Queued) -> Ok:
        await self._may_write(caller)
        sent = await self._sending.send(caller.requester, asked, queued=queued)
        return Ok(
            message_id=sent.sent.event.event_id,
            position=sent.sent.position,
            conversation_id=sent.room_id,
            outcome=sent.outcome,
            repeated=sent.repeated,
        )

    async def _edit(self, caller: Caller, asked: frames.EditFrame, queued: Queued) -> Ok:
        await self._may_write(caller)
        message = await self._changes.edit(
            caller.requester.user_id, asked.conversation_id, asked.message_id, asked
        )
        return Ok(message_id=message.id)

    async def _react(self, caller: Caller, asked: frames.ReactFrame, queued: Queued) -> Ok:
        await self._may_write(caller)
        change = self._changes.unreact if asked.remove else self._changes.react
        await change(caller.requester.user_id, asked.conversation_id, asked.message_id, asked.key)
        return Ok(message_id=asked.message_id)

    async def _delete(self, caller: Caller, asked: frames.DeleteFrame, queued: Queued) -> Ok:
        caller.require_scope(WRITE)
        user_id, room_id = caller.requester.user_id, asked.conversation_id
        if asked.scope == "me":
            await self._changes.delete_for_me(user_id, room_id, asked.message_id)
        else:
            await self._changes.delete_for_all(user_id, room_id, asked.message_id, asked.reason)
        return Ok(message_id=asked.message_id)

    async def _read(self, caller: Caller, asked: frames.ReadFrame, queued: Queued) -> Ok:
        caller.require_scope(WRITE)
        state = await self._read_marks.mark_read(
            caller.requester.user_id,
            asked.conversation_id,
            MarkRead(message_id=asked.message_id, thread=asked.thread, private=asked.private),
        )
        return Ok(message_id=state.message_id)

    async def _type(self, caller: Caller, asked: frames.TypingFrame, queued: Queued) -> None:
        caller.require_scope(WRITE)
        await self._typing.set_typing(
            asked.conversation_id, caller.requester.user_id, asked.typing, TYPING_MS
        )

    async def _presence(self, caller: Caller, asked: frames.PresenceFrame, queued: Queued) -> None:
        caller.require_scope(PRESENCE)
        user_id, text = caller.requester.user_id, asked.text
        if isinstance(text, UnsetType):
            text = await self._presences.status_text(user_id)
        await self._presences.set_status(user_id, PRESENCE_OF[asked.state], text)
