"""Tells people's connections when a device has few one-time pre-keys left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from homeserver.services.conversations.device_keys import LOW_WATER, SIGNED
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.shapes.updates import KeysLow
from homeserver.services.end_to_end_keys import EndToEndKeyService

logger = structlog.get_logger(__name__)


class Listeners(Protocol):
    """Who is told live; the feed."""

    @property
    def online(self) -> Collection[str]:
        """The users who listen."""

    def send(self, routed: Routed, position: int | None = None) -> None:
        """Hand an update to those whom it reaches."""


class KeysWatch:
    """Follows what becomes of keys, for those who listen."""

    def __init__(self, *, keys: EndToEndKeyService, listeners: Listeners) -> None:
        self._keys = keys
        self._listeners = listeners
        self._waiting: set[tuple[str, str]] = set()
        self._task: asyncio.Task[None] | None = None

    def follow(self, others: Callable[[str, str], None]) -> None:
        """Hear of keys from now on, beside who heard of them before."""

        def changed(user_id: str, device_id: str) -> None:
            others(user_id, device_id)
            self._changed(user_id, device_id)

        self._keys.on_counts_changed = changed

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _changed(self, user_id: str, device_id: str) -> None:
        if user_id not in self._listeners.online:
            return
        self._waiting.add((user_id, device_id))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="keys watch")

    async def _run(self) -> None:
        try:
            while self._waiting:
                user_id, device_id = self._waiting.pop()
                counts = await self._keys.counts(user_id, device_id)
                remaining = counts.one_time_keys.get(SIGNED, 0)
                if remaining < LOW_WATER:
                    update = KeysLow(device_id=device_id, remaining=remaining)
                    self._listeners.send(Routed(Update(update), users=(user_id,)))
        except Exception:
            logger.exception("keys could not be counted")
        finally:
            self._task = None
