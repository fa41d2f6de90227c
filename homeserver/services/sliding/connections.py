"""The connections of all devices: in memory while they are in use, on disk while they are quiet.

A connection is on disk or in memory, never in both: one that a crash took with it is unknown, and
its client begins anew (``M_UNKNOWN_POS``).  When the server stops in order, all are put away.

One that is being answered stays in memory: what it is told next is not on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from homeserver.errors import MatrixError
from homeserver.services.sliding.connection import Connection
from homeserver.storage import sliding as storage
from homeserver.storage.database import Database
from homeserver.storage.sliding import ConnectionKey

logger = structlog.get_logger(__name__)

ROOMS_IN_MEMORY = 2_000_000  # of all connections together
CONNECTIONS_PER_DEVICE = 16
QUIET_SECONDS = 600.0
SWEEP_SECONDS = 60.0
SAVED_AT_ONCE = 100
KEPT_FOR_MS = 30 * 24 * 3_600_000


class UnknownPos(MatrixError):
    """The connection has expired, or the ``pos`` is not one that the device was given."""

    errcode, status = "M_UNKNOWN_POS", 400

    def __init__(self) -> None:
        super().__init__("The connection has expired: begin a new one, without 'pos'")


class _Kept:
    """A connection with what is known of its use."""

    __slots__ = ("connection", "requests", "size", "used_at")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.size = connection.state.size
        self.used_at = time.monotonic()
        self.requests = 0
        """How many are being answered."""


class Connections:
    """Finds connections, and bounds what they take."""

    def __init__(self, *, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._kept: OrderedDict[ConnectionKey, _Kept] = OrderedDict()
        self._by_device: dict[tuple[str, str], OrderedDict[str, None]] = {}
        self._size = 0
        self._loading: dict[ConnectionKey, asyncio.Lock] = {}
        self._saving: asyncio.Lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to put away what is quiet."""
        self._task = asyncio.create_task(self._sweep_always(), name="sliding sync connections")

    async def close(self) -> None:
        """Put everything away."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.put_away(list(self._kept), at_once=True)
        except Exception:  # their clients begin anew; what else stops must not be held up
            logger.exception("putting sliding sync connections away failed")

    def __len__(self) -> int:
        return len(self._kept)

    # ------------------------------------------------------------ finding

    async def resume(self, key: ConnectionKey, pos: str | None) -> Connection:
        """The connection that a request goes on with; without ``pos``, a new one in its place.

        Raises :class:`UnknownPos`.
        """
        if pos is None:
            # What is on disk under this name is never asked for again: taken out, if it is there.
            if key not in self._kept:
                await self._take(key)
            connection = Connection()
            self._keep(key, connection)
            return connection
        kept = self._kept.get(key)
        if kept is None:
            lock = self._loading.setdefault(key, asyncio.Lock())
            async with lock:
                kept = self._kept.get(key)
                if kept is None:
                    loaded = await self._load(key)
                    if loaded is not None:
                        kept = self._keep(key, loaded)
            self._loading.pop(key, None)
        if kept is None or not kept.connection.resume(pos):
            raise UnknownPos
        self._used(key, kept)
        return kept.connection

    @contextmanager
    def using(self, key: ConnectionKey, connection: Connection) -> Iterator[None]:
        """A request of a connection is being answered, as long as the context lasts.

        To be entered as soon as the connection is resumed.
        """
        kept = self._kept.get(key)
        if kept is None or kept.connection is not connection:
            yield
            return
        kept.requests += 1
        try:
            yield
        finally:
            kept.requests -= 1
            if self._kept.get(key) is kept:
                self._used(key, kept)

    async def _take(self, key: ConnectionKey) -> bytes | None:
        async with self._saving:  # it may be on its way to the disk
            return await storage.take_connection(self._database, key)

    async def _load(self, key: ConnectionKey) -> Connection | None:
        text = await self._take(key)
        if text is None:
            return None
        try:
            return Connection.load(text)
        except (KeyError, TypeError, ValueError, IndexError):
            logger.warning("a stored sliding sync connection is not readable")
            return None

    # ------------------------------------------------------------ keeping

    def _keep(self, key: ConnectionKey, connection: Connection) -> _Kept:
        self._drop(key)
        kept = self._kept[key] = _Kept(connection)
        self._size += kept.size
        names = self._by_device.setdefault(key[:2], OrderedDict())
        names[key[2]] = None
        names.move_to_end(key[2])
        if len(names) > CONNECTIONS_PER_DEVICE:
            self._drop(self._least_wanted(key, names))
        return kept

    def _least_wanted(self, key: ConnectionKey, names: Iterable[str]) -> ConnectionKey:
        """Which connection of a device goes for a new one: the one that was used longest ago, and
        none that is in use, if there is one that is not."""
        others = [(*key[:2], name) for name in names if name != key[2]]
        quiet = [other for other in others if not self._kept[other].requests]
        return (quiet or others)[0]

    def _used(self, key: ConnectionKey, kept: _Kept) -> None:
        kept.used_at = time.monotonic()
        size = kept.connection.state.size
        self._size += size - kept.size
        kept.size = size
        self._kept.move_to_end(key)
        self._by_device[key[:2]].move_to_end(key[2])

    def _drop(self, key: ConnectionKey) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._size -= kept.size
        names = self._by_device[key[:2]]
        names.pop(key[2], None)
        if not names:
            del self._by_device[key[:2]]

    async def forget(self, user_id: str) -> None:
        """An account is gone."""
        await self._forget(user_id, everything=True)

    async def devices_removed(self, user_id: str) -> None:
        """Some devices of a user are gone."""
        await self._forget(user_id, everything=False)

    async def _forget(self, user_id: str, *, everything: bool) -> None:
        async with self._saving:
            left = await storage.forget_removed(self._database, user_id, everything=everything)
            for owner, device_id in list(self._by_device):
                if owner == user_id and (everything or (device_id and device_id not in left)):
                    for name in list(self._by_device[(owner, device_id)]):
                        self._drop((owner, device_id, name))

    # ------------------------------------------------------------ putting away

    async def _sweep_always(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except Exception:
                logger.exception("putting sliding sync connections away failed")

    async def sweep(self, quiet_seconds: float = QUIET_SECONDS) -> None:
        """Put away what has been quiet for so long, and the coldest while there is too much."""
        now, size = time.monotonic(), self._size
        cold: list[ConnectionKey] = []
        for key, kept in self._kept.items():
            if now - kept.used_at < quiet_seconds and size <= ROOMS_IN_MEMORY:
                break
            if not kept.requests:
                cold.append(key)
                size -= kept.size
        await self.put_away(cold)
        await storage.forget_connections(self._database, self._clock_ms() - KEPT_FOR_MS)

    async def put_away(self, keys: list[ConnectionKey], *, at_once: bool = False) -> None:
        """Write connections to disk and forget them here, but none that is in use.

        ``at_once``: even those.
        """
        for start in range(0, len(keys), SAVED_AT_ONCE):
            async with self._saving:
                batch: dict[ConnectionKey, _Kept] = {}
                for key in keys[start : start + SAVED_AT_ONCE]:
                    kept = self._kept.get(key)
                    if kept is not None and (at_once or not kept.requests):
                        batch[key] = kept
                        self._drop(key)
                if batch:
                    await self._save(batch)

    async def _save(self, batch: Mapping[ConnectionKey, _Kept]) -> None:
        rows = [(key, kept.connection.dump()) for key, kept in batch.items()]
        try:
            await storage.save_connections(
                self._database, rows, self._clock_ms(), CONNECTIONS_PER_DEVICE
            )
        except BaseException:
            # They are nowhere else.  One that was begun anew meanwhile is not needed any more.
            for key, kept in batch.items():
                if key not in self._kept:
                    self._keep(key, kept.connection)
            raise
