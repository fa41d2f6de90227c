"""Drafts: what somebody has begun to write."""

from __future__ import annotations

from client_api.conversations.api import Api, Call
from client_api.conversations.keys import DRAFTS
from homeserver.services.conversations.shapes.base import Empty
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.scheduled import Draft, NewDraft, PageQuery

READ, WRITE = "messages:read", "messages:write"

api = Api("Drafts", "What somebody has begun to write, for all their devices.")


@api.get("/drafts", scope=READ)
async def list_drafts(call: Call[None, PageQuery]) -> Page[Draft]:
    """List your drafts, the last changed first."""
    return await call.app[DRAFTS].page(call.user_id, call.query)


@api.get("/conversations/{conversation_id}/draft", scope=READ)
async def get_draft(call: Call) -> Draft:
    """Show your draft in a conversation."""
    return await call.app[DRAFTS].get(call.user_id, call.path("conversation_id"))


@api.put("/conversations/{conversation_id}/draft", scope=WRITE)
async def put_draft(call: Call[NewDraft]) -> Draft:
    """Keep a draft in the place of what there was. Sending a message does not delete it."""
    return await call.app[DRAFTS].put(call.user_id, call.path("conversation_id"), call.body)


@api.delete("/conversations/{conversation_id}/draft", scope=WRITE)
async def delete_draft(call: Call) -> Empty:
    """Forget your draft in a conversation."""
    await call.app[DRAFTS].delete(call.user_id, call.path("conversation_id"))
    return Empty()
