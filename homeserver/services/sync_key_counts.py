"""How many keys a device has left: asked with every sync, so kept in memory for a while.

Spec: client-server API, end-to-end encryption, extensions to ``/sync``.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from homeserver.storage.device_lists import DeviceListRecord
from homeserver.storage.log import Log, Notice

CACHED_DEVICES = 20_000
FRESH_SECONDS = 30.0  # keys may be claimed by way of another process

Device = tuple[str, str]


class KeyCounts(Protocol):
    """A device's keys, counted."""

    @property
    def one_time_keys(self) -> Mapping[str, int]:
        """Unclaimed ones, by algorithm."""

    @property
    def unused_fallback_algorithms(self) -> Sequence[str]:
        """Of fallback keys."""


class DeviceKeys(Protocol):
    """Our devices' keys."""

    async def counts(self, user_id: str, device_id: str) -> KeyCounts:
        """What a sync tells a device of its keys."""


class CachedKeyCounts:
    """Keeps counts until keys are uploaded or claimed."""

    def __init__(self, *, keys: DeviceKeys, log: Log) -> None:
        self._keys = keys
        self._counts: OrderedDict[Device, tuple[float, KeyCounts]] = OrderedDict()
        self._changes = 0
        log.subscribe(self._on_notice)

    async def get(self, device: Device) -> KeyCounts:
        """A device's counts."""
        now = time.monotonic()
        known = self._counts.get(device)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        changes = self._changes
        counts = await self._keys.counts(*device)
        if changes == self._changes:
            self._counts[device] = (now, counts)
            self._counts.move_to_end(device)
            if len(self._counts) > CACHED_DEVICES:
                self._counts.popitem(last=False)
        return counts

    def forget(self, user_id: str, device_id: str) -> None:
        """A device's keys were uploaded or claimed."""
        self._changes += 1
        self._counts.pop((user_id, device_id), None)

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, DeviceListRecord) and record.device_id is not None:
                self.forget(record.user_id, record.device_id)
