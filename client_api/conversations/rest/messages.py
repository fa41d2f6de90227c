"""Messages: sending and reading them, and what people say of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from client_api.conversations.answers import json_answer
from client_api.conversations.api import Api, Call
from client_api.conversations.idempotency import REPLAYED
from client_api.conversations.keys import (
    FORWARDING,
    MESSAGE_CHANGES,
    MESSAGES,
    READ_MARKS,
    SENDING,
)
from client_api.conversations.ws.actions import TYPING_MS
from homeserver.app_keys import TYPING
from homeserver.services.conversations.contents import invalid
from homeserver.services.conversations.messages import PageRequest
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.messages import (
    Edit,
    EditMessage,
    Forward,
    ForwardResult,
    Guest,
    MarkRead,
    Message,
    MessagePage,
    NewAnswer,
    NewMessage,
    NewVote,
    Reactor,
    ReadState,
    Sent,
    Voter,
)
from homeserver.services.conversations.shapes.pages import DEFAULT_LIMIT, MOST_PER_PAGE, Page

READ, WRITE = "messages:read", "messages:write"
CONVERSATION = "/conversations/{conversation_id}"
MESSAGE = CONVERSATION + "/messages/{message_id}"

Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST_PER_PAGE)]

api = Api("Messages", "What people say to each other.")


class WhichMessages(Input, frozen=True, kw_only=True):
    """Which part of a conversation."""

    cursor: str | None = None
    around: Annotated[str, msgspec.Meta(description="a message in the middle")] | None = None
    thread: (
        Annotated[str, msgspec.Meta(description="only replies on that message's thread")] | None
    ) = None
    system: Annotated[bool, msgspec.Meta(description="with what happened to the conversation")] = (
        True
    )
    limit: Limit = DEFAULT_LIMIT


class WhichPage(Input, frozen=True, kw_only=True):
    """Which part of a list."""

    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class WhichReactions(Input, frozen=True, kw_only=True):
    """Which reactions."""

    key: Annotated[str, msgspec.Meta(description="only with this emoji")] | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class HowToDelete(Input, frozen=True, kw_only=True):
    """For whom, and why."""

    for_: Literal["all", "me"] = msgspec.field(default="all", name="for")
    reason: str | None = None


# ---------------------------------------------------------------- sending


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


@api.post(CONVERSATION + "/messages", scope=WRITE, status=201, idempotent=False)
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


@api.post(MESSAGE + "/forward", scope=WRITE, idempotent=False)
async def forward_message(call: Call[Forward]) -> ForwardResult:
    """Forward a message to people and conversations.

    Each of them is told of on its own: the message that was sent, or why it was not. What is
    encrypted, or to be viewed once, is not forwarded.
    """
    return await call.app[FORWARDING].forward(
        call.requester, *_message(call), call.body, call.idempotency_key
    )


# ---------------------------------------------------------------- reading


@api.get(CONVERSATION + "/messages", scope=READ)
async def list_messages(call: Call[None, WhichMessages]) -> MessagePage:
    """List a conversation's messages, the newest first.

    `next` leads to older messages, `previous` to newer ones: it is there even if there are none
    yet. `around` a message, the list begins in the middle; with `thread`, it has only the replies
    on that message.
    """
    query = call.query
    request = PageRequest(query.cursor, query.around, query.thread, query.system, query.limit)
    return await call.app[MESSAGES].page(call.user_id, call.path("conversation_id"), request)


@api.get(MESSAGE, scope=READ)
async def get_message(call: Call) -> Message:
    """Read one message."""
    return await call.app[MESSAGES].get(call.user_id, *_message(call))


@api.get(MESSAGE + "/edits", scope=READ)
async def list_edits(call: Call[None, WhichPage]) -> Page[Edit]:
    """List the versions of a message, the first one first."""
    return await call.app[MESSAGES].edits(
        call.user_id, *_message(call), call.query.cursor, call.query.limit
    )


# ---------------------------------------------------------------- changing


@api.patch(MESSAGE, scope=WRITE)
async def edit_message(call: Call[EditMessage]) -> Message:
    """Edit a message of your own.

    What the body does not name stays as it is.
    """
    return await call.app[MESSAGE_CHANGES].edit(call.user_id, *_message(call), call.body)


@api.delete(MESSAGE, scope=WRITE)
async def delete_message(call: Call[None, HowToDelete]) -> None:
    """Delete a message, for all or for yourself.

    Others' messages can be deleted for all by those with the permission `delete_messages`. What is
    deleted stays in the list as `deleted`, without its content; what you delete for yourself is
    gone from all your devices.
    """
    changes = call.app[MESSAGE_CHANGES]
    if call.query.for_ == "me":
        await changes.delete_for_me(call.user_id, *_message(call))
    else:
        await changes.delete_for_all(call.user_id, *_message(call), call.query.reason)


# ---------------------------------------------------------------- reactions


@api.put(MESSAGE + "/reactions/{key}", scope=WRITE)
async def add_reaction(call: Call) -> None:
    """React to a message; `key` is an emoji, or another short text."""
    await call.app[MESSAGE_CHANGES].react(call.user_id, *_message(call), call.path("key"))


@api.delete(MESSAGE + "/reactions/{key}", scope=WRITE)
async def remove_reaction(call: Call) -> None:
    """Take a reaction back."""
    await call.app[MESSAGE_CHANGES].unreact(call.user_id, *_message(call), call.path("key"))


@api.get(MESSAGE + "/reactions", scope=READ)
async def list_reactions(call: Call[None, WhichReactions]) -> Page[Reactor]:
    """List who reacted to a message, the first one first."""
    query = call.query
    return await call.app[MESSAGES].reactors(
        call.user_id, *_message(call), key=query.key, cursor=query.cursor, limit=query.limit
    )


# ---------------------------------------------------------------- polls and events


@api.put(MESSAGE + "/vote", scope=WRITE)
async def vote(call: Call[NewVote]) -> Message:
    """Vote in a poll, in place of any vote before. Without choices, the vote is taken back."""
    return await call.app[MESSAGE_CHANGES].vote(call.user_id, *_message(call), call.body.choices)


@api.get(MESSAGE + "/votes", scope=READ)
async def list_votes(call: Call[None, WhichPage]) -> Page[Voter]:
    """List who voted for what; of a poll with hidden results once it is closed."""
    return await call.app[MESSAGES].voters(
        call.user_id, *_message(call), call.query.cursor, call.query.limit
    )


@api.post(MESSAGE + "/close", scope=WRITE)
async def close_poll(call: Call) -> Message:
    """Close a poll of your own."""
    return await call.app[MESSAGE_CHANGES].close_poll(call.user_id, *_message(call))


@api.put(MESSAGE + "/answer", scope=WRITE)
async def answer_event(call: Call[NewAnswer]) -> Message:
    """Answer the invitation to an event: `yes`, `no` or `maybe`, in place of any answer before."""
    return await call.app[MESSAGE_CHANGES].answer(call.user_id, *_message(call), call.body.answer)


@api.get(MESSAGE + "/answers", scope=READ)
async def list_answers(call: Call[None, WhichPage]) -> Page[Guest]:
    """List who gave which answer to the invitation to an event."""
    return await call.app[MESSAGES].guests(
        call.user_id, *_message(call), call.query.cursor, call.query.limit
    )


# ---------------------------------------------------------------- reading along


@api.post(CONVERSATION + "/read", scope=WRITE)
async def mark_read(call: Call[MarkRead]) -> ReadState:
    """Mark a conversation as read, up to a message or as a whole."""
    return await call.app[READ_MARKS].mark_read(
        call.user_id, call.path("conversation_id"), call.body
    )


@api.post(CONVERSATION + "/unread", scope=WRITE)
async def mark_unread(call: Call) -> None:
    """Mark a conversation as unread, to come back to it."""
    await call.app[READ_MARKS].mark_unread(call.user_id, call.path("conversation_id"))


class TypingChange(Input, frozen=True, kw_only=True):
    """Whether the caller types."""

    typing: bool = True


@api.put(CONVERSATION + "/typing", scope=WRITE)
async def set_typing(call: Call[TypingChange]) -> None:
    """Say that the caller types, or has stopped.  Good for 10 seconds."""
    await call.app[TYPING].set_typing(
        call.path("conversation_id"), call.user_id, call.body.typing, TYPING_MS
    )


def _message(call: Call[Any, Any]) -> tuple[str, str]:
    return call.path("conversation_id"), call.path("message_id")
