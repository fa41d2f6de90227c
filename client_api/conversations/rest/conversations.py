"""Conversations: the list of them, and what can be done with each."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp.hdrs import IF_MATCH
from msgspec import UNSET

from client_api.conversations.answers import check_unchanged
from client_api.conversations.api import Api, Call
from client_api.conversations.keys import CONVERSATIONS, ENTERING, GROUPS, SETTINGS
from homeserver.app_keys import RATE_LIMITS
from homeserver.services.conversations.own_settings import ARCHIVED, PINNED
from homeserver.services.conversations.shapes.conversations import (
    Conversation,
    ConversationChange,
    ConversationsQuery,
    JoinRequest,
    NewConversation,
    NewOwner,
    SettingsChange,
    WithReason,
)
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.conversations.shapes.times import parse_time

READ, WRITE = "conversations:read", "conversations:write"
MESSAGES_READ = "messages:read"
PATH = "/conversations/{conversation_id}"

api = Api("Conversations", "Groups, direct conversations, and notes to oneself.")


@api.get("/conversations", scope=READ)
async def list_conversations(call: Call[None, ConversationsQuery]) -> Page[Conversation]:
    """List your conversations.

    Those in which something was said last come first.  Requests of strangers (`state=requested`)
    and conversations that you have left (`state=left`) are listed only if you ask for them;
    `state` may be given several times.
    """
    page = await call.app[CONVERSATIONS].page(call.user_id, call.query)
    return Page(items=[_for_caller(call, item) for item in page.items], next=page.next)


@api.get(PATH, scope=READ)
async def get_conversation(call: Call) -> Conversation:
    """Get a conversation.

    Also one that you are invited to, ask to be let into, or have left: `state` says so.
    """
    return await _get(call)


@api.post("/conversations", scope=WRITE, status=201)
async def create_conversation(call: Call[NewConversation]) -> Conversation:
    """Make a group, or get the direct conversation with somebody, or your notes.

    A `group` is always made anew; its `members` are invited. The first invitations are out when
    this answers; the others go out in the background: the list of members says of each what became
    of it (`inviting`, `not_invited` with the reason). A `direct` conversation with a `peer`, and
    your notes (`self`), are found if you have them already, and made if not.
    """
    if call.body.kind == "group":
        call.app[RATE_LIMITS].check("invite", call.user_id)
    room_id, _ = await call.app[GROUPS].make(call.user_id, call.body)
    return await _found(call, room_id)


@api.patch(PATH, scope=WRITE)
async def update_conversation(call: Call[ConversationChange]) -> Conversation:
    """Change a conversation's name, description, picture, or who may do what.

    Send what is to change; null takes a name, description or picture away. Name, description and
    picture take the permission `change_settings`, all else `administer`. With `If-Match` it is
    changed only if it still is what you got.
    """
    if call.request.headers.get(IF_MATCH) is not None:
        check_unchanged(call.request, await _get(call))
    await call.app[GROUPS].change(call.user_id, call.path("conversation_id"), call.body)
    return await _get(call)


@api.patch(PATH + "/settings", scope=WRITE)
async def update_conversation_settings(call: Call[SettingsChange]) -> Conversation:
    """Mute, pin or archive a conversation.

    These are your own settings: nobody else sees them. `muted` is `true`, `false`, or the time
    until which; then it ends by itself.
    """
    user_id, room_id = call.user_id, call.path("conversation_id")
    change, settings = call.body, call.app[SETTINGS]
    await call.app[CONVERSATIONS].require(user_id, room_id)
    if change.muted is not UNSET:
        until = change.muted
        muted = until if isinstance(until, bool) else parse_time(until, "muted")
        await settings.set_muted(user_id, room_id, muted)
    if change.pinned is not UNSET:
        await settings.set_tag(user_id, room_id, PINNED, change.pinned)
    if change.archived is not UNSET:
        await settings.set_tag(user_id, room_id, ARCHIVED, change.archived)
    return await _get(call)


@api.delete(PATH, scope=WRITE)
async def delete_conversation(call: Call) -> None:
    """Leave a conversation and delete it from your list.

    For the others it stays. A group's last owner hands it over first.
    """
    await call.app[ENTERING].delete(call.user_id, call.path("conversation_id"))


@api.post(PATH + "/leave", scope=WRITE)
async def leave_conversation(call: Call[WithReason]) -> None:
    """Leave a conversation, or take back that you asked to be let in.

    It stays in your list under `state=left`, as it was. A group's last owner hands it over first.
    """
    room_id = call.path("conversation_id")
    await call.app[ENTERING].leave(call.user_id, room_id, call.body.reason)


@api.post(PATH + "/accept", scope=WRITE)
async def accept_invitation(call: Call) -> Conversation:
    """Accept an invitation, or a stranger's request: you are in.

    Whoever invited you may write to you from then on.
    """
    call.app[RATE_LIMITS].check("join", call.user_id)
    await call.app[ENTERING].accept(call.user_id, call.path("conversation_id"))
    return await _get(call)


@api.post(PATH + "/decline", scope=WRITE)
async def decline_invitation(call: Call[WithReason]) -> None:
    """Decline an invitation, or a stranger's request."""
    room_id = call.path("conversation_id")
    await call.app[ENTERING].decline(call.user_id, room_id, call.body.reason)


@api.post(PATH + "/join", scope=WRITE)
async def join_conversation(call: Call[JoinRequest]) -> Conversation:
    """Join an open conversation, by its ID or its alias (`#boats:example.org`).

    `via` names instances that may know it, where yours does not.
    """
    call.app[RATE_LIMITS].check("join", call.user_id)
    room_id = await call.app[ENTERING].join(
        call.user_id,
        call.path("conversation_id"),
        via=call.body.via,
        reason=call.body.message,
    )
    return await _found(call, room_id)


@api.post(PATH + "/ask", scope=WRITE)
async def ask_to_join_conversation(call: Call[JoinRequest]) -> Conversation:
    """Ask to be let into a conversation, by its ID or its alias.

    It is in your list with `state` `asked` until somebody lets you in or refuses. `message` is for
    those who decide.
    """
    call.app[RATE_LIMITS].check("join", call.user_id)
    room_id = await call.app[ENTERING].ask(
        call.user_id,
        call.path("conversation_id"),
        via=call.body.via,
        message=call.body.message,
    )
    return await _found(call, room_id)


@api.post(PATH + "/owner", scope=WRITE)
async def hand_over_conversation(call: Call[NewOwner]) -> Conversation:
    """Hand the conversation over to another member.

    You are an admin from then on. Groups made with another program may have an owner for ever:
    then the answer is the problem `ownership_fixed`.
    """
    successor = parse_person(call.body.person)
    await call.app[GROUPS].hand_over(call.user_id, call.path("conversation_id"), successor)
    return await _get(call)


async def _get(call: Call[Any, Any]) -> Conversation:
    """The conversation in the path, as it is now."""
    return await _found(call, call.path("conversation_id"))


async def _found(call: Call[Any, Any], room_id: str) -> Conversation:
    return _for_caller(call, await call.app[CONVERSATIONS].get(call.user_id, room_id))


def _for_caller(call: Call[Any, Any], conversation: Conversation) -> Conversation:
    """What is said is left out for a token that may not read it."""
    scopes = call.caller.scopes
    if scopes is None or MESSAGES_READ in scopes or conversation.last_message is None:
        return conversation
    return msgspec.structs.replace(conversation, last_message=None)
