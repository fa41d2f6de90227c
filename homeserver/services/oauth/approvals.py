"""The stage ``m.oauth``: a user lets a device reset their cross-signing keys, on the account page.

Spec: client-server API, OAuth authentication; MSC4312.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from homeserver.errors import Forbidden
from homeserver.protocol.events import JsonObject
from homeserver.services.oauth.metadata import ACCOUNT, CROSS_SIGNING_RESET
from homeserver.storage import oauth_sessions as storage
from homeserver.storage.database import Database

STAGE = "m.oauth"
OLDER_STAGE = "org.matrix.cross_signing_reset"
LIFETIME_MS = 10 * 60_000


class Approvals:
    """Keeps what users have approved until a device makes use of it."""

    def __init__(
        self, *, public_base_url: str, database: Database, clock_ms: Callable[[], int]
    ) -> None:
        self._account = public_base_url.rstrip("/") + ACCOUNT
        self._database = database
        self._clock_ms = clock_ms

    def params(self, device_id: str) -> JsonObject:
        """What the stage shows, by both of its names: where the user can approve."""
        query = urlencode({"action": CROSS_SIGNING_RESET, "device_id": device_id})
        params = {"url": f"{self._account}?{query}"}
        return {STAGE: params, OLDER_STAGE: params}

    async def approve(self, user_id: str, device_id: str | None) -> None:
        """Let a device, or any of the user's, do it once in the next ten minutes."""
        now = self._clock_ms()
        await storage.approve(self._database, user_id, device_id, now + LIFETIME_MS, now)

    async def take(self, user_id: str, device_id: str) -> bool:
        """Whether a device may do it now; used up by this."""
        return await storage.take_approval(self._database, user_id, device_id, self._clock_ms())


async def stage(_auth: JsonObject, _user_id: str | None) -> bool:
    """The stage as a client cannot complete it: its user completes it on the account page."""
    raise Forbidden("Open the URL of this stage: you confirm it there")
