"""Messages: sending and reading them, and what people say of them."""

from __future__ import annotations

from typing import Any

import msgspec

from client_api.conversations.answers import json_answer
from client_api.conversations.api import Api, Call
from client_api.conversations.idempotency import REPLAYED
from client_api.conversations.keys import SENDING
from homeserver.services.conversations.contents import invalid
from homeserver.services.conversations.shapes.messages import NewMessage, Sent

READ, WRITE = "messages:read", "messages:write"

api = Api("Messages", "What people say to each other.")


@api.post("/messages", scope=WRITE, status=201, idempotent=False)
async def send_message(call: Call[NewMessage]) -> Sent:
    """Send a message to a person or to a conversation.

    With `to`, the direct conversation with that person is found, or made. `outcome` says what
    happened: `sent`; `requested`, where the recipient is asked first whether they want to hear from
    you; `held`, where a moderator looks at it first. Whoever refuses messages from you, or has to
    be asked for consent elsewhere first, is told as a problem: `recipient_refuses`,
    `consent_required`, `policy_refused`.
    """
    answer: Sent = await _send(call, call.body)
    return answer


@api.post("/conversations/{conversation_id}/messages", scope=WRITE, status=201, idempotent=False)
async def send_message_to_conversation(call: Call[NewMessage]) -> Sent:
    """Send a message to a conversation that you are in."""
    if call.body.to is not None or call.body.conversation_id is not None:
        raise invalid("to", "The path says where the message goes")
    room_id = call.path("conversation_id")
    message = msgspec.structs.replace(call.body, conversation_id=room_id)
    answer: Sent = await _send(call, message)
    return answer


async def _send(call: Call[NewMessage], message: NewMessage) -> Any:
    sending = call.app[SENDING]
    sent = await sending.send(call.requester, message, call.idempotency_key)
    answer = await sending.answer(call.requester, sent, message.client_id)
    if sent.repeated:
        response = json_answer(answer, status=201)
        response.headers[REPLAYED] = "true"
        return response
    return answer
