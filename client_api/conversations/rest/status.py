"""How far messages have come; taking back and trying again those that are on their way."""

from __future__ import annotations

from client_api.conversations.api import Api, Call
from client_api.conversations.keys import CANCELLING, DELIVERY
from homeserver.services.conversations.shapes.delivery import Cancelled, DeliveryReport, Retried
from homeserver.services.conversations.shapes.scheduled import PageQuery

READ, WRITE = "messages:read", "messages:write"
MESSAGE = "/conversations/{conversation_id}/messages/{message_id}"

api = Api("Delivery", "How far messages have come, to whom.")


@api.get(f"{MESSAGE}/status", scope=READ)
async def get_message_status(call: Call[None, PageQuery]) -> DeliveryReport:
    """Tell how far a message of yours has come, to each recipient.

    The statuses, each further than the one before: `pending`: something stands in its way, which
    `reason` names; `sent`: it is safe on this instance, and on its way; `delivered_to_instance`;
    `delivered_to_device`; `read`. `status` is the least of all recipients'.
    """
    return await call.app[DELIVERY].report(
        call.user_id,
        call.path("conversation_id"),
        call.path("message_id"),
        cursor=call.query.cursor,
        limit=call.query.limit,
    )


@api.post(f"{MESSAGE}/cancel", scope=WRITE)
async def cancel_message(call: Call) -> Cancelled:
    """Take back a message of yours that is not everywhere yet.

    Its content is deleted at once: instances that do not have it never get it. Those that have it
    are asked to delete it, and are named in `reached`. Where every instance has it, this is the
    problem `already_delivered`: delete it instead.
    """
    return await call.app[CANCELLING].cancel(
        call.user_id, call.path("conversation_id"), call.path("message_id")
    )


@api.post(f"{MESSAGE}/retry", scope=WRITE)
async def retry_message(call: Call) -> Retried:
    """Try again now to deliver a message of yours.

    It is tried by itself as well, at growing intervals, for as long as it takes.
    """
    return await call.app[CANCELLING].retry(
        call.user_id, call.path("conversation_id"), call.path("message_id")
    )
