"""Sessions of the OAuth 2.0 API that nobody has used for too long end, as by logging out.

Their refresh token is not taken any more, so nobody can go on with them; their devices would stay
in lists, and be sent keys and messages that nobody fetches.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from homeserver.services.devices import DeviceService
from homeserver.storage import oauth_sessions as storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

AT_ONCE = 50
LOOK_EVERY_MS = 3_600_000


class LapsedSessions:
    """A job of the caretaker."""

    def __init__(
        self,
        *,
        database: Database,
        devices: DeviceService,
        lifetime_ms: int | None,
        clock_ms: Callable[[], int],
    ) -> None:
        """``lifetime_ms``: of a refresh token; None: for ever."""
        self._database = database
        self._devices = devices
        self._lifetime_ms = lifetime_ms
        self._clock_ms = clock_ms
        self._next = 0

    async def next_due(self) -> int | None:
        """Every hour (ms); never where sessions do not lapse."""
        return self._next if self._lifetime_ms is not None else None

    async def step(self) -> bool:
        """End some sessions that have lapsed."""
        now = self._clock_ms()
        if self._lifetime_ms is None or now < self._next:
            return False
        lapsed = await storage.get_lapsed(self._database, now - self._lifetime_ms, AT_ONCE)
        for user_id, device_id in lapsed:
            await self._devices.remove(user_id, [device_id])
            logger.info("a session has lapsed", user_id=user_id, device_id=device_id)
        if len(lapsed) < AT_ONCE:
            self._next = now + LOOK_EVERY_MS
        return bool(lapsed)
