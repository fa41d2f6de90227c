"""Messages that are sent later."""

from __future__ import annotations

from client_api.conversations.answers import check_unchanged
from client_api.conversations.api import Api, Call
from client_api.conversations.keys import SCHEDULED_MESSAGES
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.scheduled import (
    ChangeScheduled,
    NewScheduled,
    Scheduled,
    ScheduledQuery,
)

READ, WRITE = "messages:read", "messages:write"

api = Api("Scheduled messages", "Messages that are sent later.")


@api.post("/scheduled", scope=WRITE, status=201, idempotent=False)
async def schedule_message(call: Call[NewScheduled]) -> Scheduled:
    """Have a message sent at a certain time.

    It is sent once, also if this server is down at that time. Whether it may be sent, by consent,
    policy and your permissions, is asked then.
    """
    return await call.app[SCHEDULED_MESSAGES].add(call.requester, call.body, call.idempotency_key)


@api.get("/scheduled", scope=READ)
async def list_scheduled(call: Call[None, ScheduledQuery]) -> Page[Scheduled]:
    """List your scheduled messages, by when they are sent: those that wait, or those in a state."""
    return await call.app[SCHEDULED_MESSAGES].page(call.user_id, call.query)


@api.get("/scheduled/{scheduled_id}", scope=READ)
async def get_scheduled(call: Call) -> Scheduled:
    """Show a scheduled message, and what became of it: for a week after it was sent, or failed."""
    return await call.app[SCHEDULED_MESSAGES].get(call.user_id, call.path("scheduled_id"))


@api.patch("/scheduled/{scheduled_id}", scope=WRITE)
async def change_scheduled(call: Call[ChangeScheduled]) -> Scheduled:
    """Change the message, or the time. Honours `If-Match`."""
    messages = call.app[SCHEDULED_MESSAGES]
    known = await messages.get(call.user_id, call.path("scheduled_id"))
    check_unchanged(call.request, known)
    return await messages.change(call.user_id, known, call.body)


@api.delete("/scheduled/{scheduled_id}", scope=WRITE)
async def cancel_scheduled(call: Call) -> Scheduled:
    """Never send it."""
    return await call.app[SCHEDULED_MESSAGES].cancel(call.user_id, call.path("scheduled_id"))


@api.post("/scheduled/{scheduled_id}/send", scope=WRITE)
async def send_scheduled_now(call: Call) -> Scheduled:
    """Send it now. If that is refused, the problem says why, and it goes on waiting."""
    return await call.app[SCHEDULED_MESSAGES].send_now(call.user_id, call.path("scheduled_id"))
