"""The parts of the Conversations API, by the key under which a handler finds each."""

from __future__ import annotations

from aiohttp import web

from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.idempotency import Idempotency

IDEMPOTENCY = web.AppKey("IDEMPOTENCY", Idempotency)
DIRECT = web.AppKey("DIRECT", Direct)
