"""The REST operations, one module per family.  ``ALL`` is the API in the order of its reference."""

from __future__ import annotations

from client_api.conversations.api import Api
from client_api.conversations.rest import (
    application,
    consent,
    conversations,
    devices,
    drafts,
    events,
    incoming,
    keys,
    media,
    members,
    messages,
    meta,
    oauth,
    people,
    presence,
    requests,
    scheduled,
    sessions,
    status,
    tokens,
    uploads,
    webhooks,
)

ALL: tuple[Api, ...] = (
    meta.api,
    sessions.api,
    oauth.api,
    devices.api,
    people.api,
    presence.api,
    consent.api,
    requests.api,
    keys.api,
    conversations.api,
    members.api,
    messages.api,
    events.api,
    media.api,
    uploads.api,
    status.api,
    scheduled.api,
    drafts.api,
    tokens.api,
    application.api,
    webhooks.api,
    incoming.api,
)
