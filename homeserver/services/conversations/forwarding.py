"""Forwarding: a message sent again to other conversations, with a word on where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.errors import MatrixError
from homeserver.protocol.events import Event
from homeserver.services.conversations.contents import Content, Written, invalid
from homeserver.services.conversations.keys import FORWARDED, MENTIONS
from homeserver.services.conversations.message_changes import MessageChanges
from homeserver.services.conversations.messages import Messages
from homeserver.services.conversations.problems import problem_json
from homeserver.services.conversations.responses import ENDS
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.shapes.messages import Forward, ForwardedTo, ForwardResult
from homeserver.services.requester import Requester

LEFT_BEHIND = frozenset({"m.relates_to", "m.mentions", MENTIONS, *ENDS})
NOT_FORWARDED = ("m.room.encrypted", "m.call.invite")


class Forwarding:
    """Forwards messages."""

    def __init__(self, *, messages: Messages, changes: MessageChanges, sending: Sending) -> None:
        self._messages = messages
        self._changes = changes
        self._sending = sending

    async def forward(
        self,
        requester: Requester,
        room_id: str,
        message_id: str,
        forward: Forward,
        key: str | None = None,
    ) -> ForwardResult:
        """Send a message again to several people and conversations; what became of each.

        With the same ``key`` again, each gets it once.  Raises :class:`NotFound` for a message
        that the user may not see, :class:`Problem` for one that cannot be forwarded.
        """
        wanted = [*forward.conversation_ids, *forward.to]
        if not wanted:
            raise invalid("to", "Say where to: 'to' or 'conversation_ids'")
        stored = await self._messages.stored(requester.user_id, room_id, message_id)
        event = stored.event
        if event.is_state or event.type in NOT_FORWARDED:
            raise invalid("message_id", "Messages of this kind cannot be forwarded")
        content = await self._changes.current_content(event)
        if any(event.content.get(once) is True for once in ENDS):
            raise invalid("message_id", "What is to be viewed once cannot be forwarded")
        items = []
        for place, target in enumerate(wanted):
            is_person = place >= len(forward.conversation_ids)
            written = Written(event.type, forwarded_content(event, content))
            one_key = f"{key} {target}" if key is not None else None
            items.append(await self._one(requester, target, is_person, written, one_key))
        return ForwardResult(items=items)

    async def _one(
        self,
        requester: Requester,
        target: str,
        is_person: bool,
        written: Written,
        key: str | None,
    ) -> ForwardedTo:
        try:
            sent = await self._sending.send_written(
                requester,
                written,
                to=target if is_person else None,
                conversation_id=None if is_person else target,
                key=key,
            )
            return ForwardedTo(to=target, sent=await self._sending.answer(requester, sent))
        except MatrixError as error:
            return ForwardedTo(to=target, problem=problem_json(error))


def forwarded_content(event: Event, content: Mapping[str, Any]) -> Content:
    """What a message says, and who said it when: the first, if it was forwarded before."""
    copy = {key: value for key, value in content.items() if key not in LEFT_BEHIND}
    copy.setdefault(FORWARDED, {"user_id": event.sender, "sent_at": event.origin_server_ts})
    return copy
