"""Conversations: the list of them, and what can be done with each."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from client_api.conversations.api import Api, Call
from client_api.conversations.keys import CONVERSATIONS, SETTINGS
from homeserver.services.conversations.own_settings import ARCHIVED, PINNED
from homeserver.services.conversations.shapes.conversations import (
    Conversation,
    ConversationsQuery,
    SettingsChange,
)
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.times import parse_time

READ, WRITE = "conversations:read", "conversations:write"
MESSAGES_READ = "messages:read"
PATH = "/conversations/{conversation_id}"

api = Api("Conversations")


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


@api.patch(PATH + "/settings", scope=WRITE)
async def change_settings(call: Call[SettingsChange]) -> Conversation:
    """Mute, pin or archive a conversation.

    These are your own settings: nobody else sees them.  `muted` is `true`, `false`, or the time
    until which; then it ends by itself.
    """
    user_id, room_id = call.user_id, call.path("conversation_id")
    conversations, settings = call.app[CONVERSATIONS], call.app[SETTINGS]
    await conversations.get(user_id, room_id)
    change = call.body
    if change.muted is not UNSET:
        muted = (
            change.muted if isinstance(change.muted, bool) else parse_time(change.muted, "muted")
        )
        await settings.set_muted(user_id, room_id, muted)
    if change.pinned is not UNSET:
        await settings.set_tag(user_id, room_id, PINNED, change.pinned)
    if change.archived is not UNSET:
        await settings.set_tag(user_id, room_id, ARCHIVED, change.archived)
    return await _get(call)


async def _get(call: Call[Any, Any]) -> Conversation:
    """The conversation in the path, as it is now."""
    found = await call.app[CONVERSATIONS].get(call.user_id, call.path("conversation_id"))
    return _for_caller(call, found)


def _for_caller(call: Call[Any, Any], conversation: Conversation) -> Conversation:
    """What is said is left out for a token that may not read it."""
    scopes = call.caller.scopes
    if scopes is None or MESSAGES_READ in scopes or conversation.last_message is None:
        return conversation
    return msgspec.structs.replace(conversation, last_message=None)
