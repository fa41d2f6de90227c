"""Incoming webhooks as JSON."""

from __future__ import annotations

from homeserver.services.conversations.shapes.base import Input, Shape
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage.incoming_webhooks import IncomingWebhook


class IncomingInfo(Shape, frozen=True, kw_only=True):
    """An address to post messages to, without its secret.

    ``prefix``: what the secret begins with; ``person``: as whom it writes.
    """

    id: str
    conversation_id: str
    label: str
    prefix: str
    person: str
    created_at: str
    last_used_at: str | None


class MadeIncoming(Shape, frozen=True, kw_only=True):
    """A new address to post messages to: ``url`` is shown this once."""

    url: str
    info: IncomingInfo


class NewIncoming(Input, frozen=True, kw_only=True):
    """``label``: where messages come from, as their readers are told, such as ``Build server``."""

    label: str


def incoming_info(incoming: IncomingWebhook) -> IncomingInfo:
    """An address as JSON."""
    used = incoming.last_used_at
    return IncomingInfo(
        id=incoming.incoming_id,
        conversation_id=incoming.room_id,
        label=incoming.label,
        prefix=incoming.prefix,
        person=address(incoming.user_id),
        created_at=rfc3339(incoming.created_at),
        last_used_at=rfc3339(used) if used is not None else None,
    )
