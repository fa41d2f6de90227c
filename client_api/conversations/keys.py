"""The parts of the Conversations API, by the key under which a handler finds each."""

from __future__ import annotations

from aiohttp import web

from homeserver.services.conversations.api_tokens import ApiTokens
from homeserver.services.conversations.applications import Applications
from homeserver.services.conversations.conversations import Conversations
from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.idempotency import Idempotency
from homeserver.services.conversations.own_settings import Settings
from homeserver.services.conversations.sending import Sending

API_TOKENS = web.AppKey("API_TOKENS", ApiTokens)
APPLICATIONS = web.AppKey("APPLICATIONS", Applications)
FEED = web.AppKey("FEED", Feed)
IDEMPOTENCY = web.AppKey("IDEMPOTENCY", Idempotency)
CONVERSATIONS = web.AppKey("CONVERSATIONS", Conversations)
DIRECT = web.AppKey("DIRECT", Direct)
SENDING = web.AppKey("SENDING", Sending)
SETTINGS = web.AppKey("SETTINGS", Settings)
