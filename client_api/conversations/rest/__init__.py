"""The REST operations, one module per family.  ``ALL`` is the API in the order of its reference."""

from __future__ import annotations

from client_api.conversations.api import Api
from client_api.conversations.rest import application, conversations, messages, meta, tokens

ALL: tuple[Api, ...] = (
    meta.api,
    conversations.api,
    messages.api,
    tokens.api,
    application.api,
)
