"""The one log: everything durable that a client or a peer can notice takes its position here.

Positions come from one sequence, inside the transaction that writes the rows, under one advisory
lock.  So position order is commit order, and a reader that has seen N has seen everything up to N.

What makes one lock fast is group commit: while one transaction is on its way to the disk, all that
arrives waits and goes together in the next, as one statement over arrays per kind of record.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Self

import asyncpg
import structlog
from msgspec import Struct

from homeserver.metrics import LOG_COMMITS, LOG_RECORDS
from homeserver.storage.database import Connection, Database

logger = structlog.get_logger(__name__)

TAKE_POSITIONS = "SELECT take_positions($1)"
SELECT_POSITION = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM log_position"

MAX_BATCH_ENTRIES = 500


class Record(Struct):
    """Something durable that takes a position.  Subclasses write many of their kind at once."""

    @classmethod
    async def write(cls, connection: Connection, batch: Sequence[tuple[int, Self]]) -> None:
        """Write ``(position, record)`` pairs inside the log's transaction."""
        raise TypeError(f"{cls.__name__} does not say how it is written")

    def touched_rooms(self) -> Sequence[str]:
        """The rooms whose readers have something new to see."""
        return ()

    def touched_users(self) -> Sequence[str]:
        """The users who have something new to see, whatever room they are in."""
        return ()

    def sent_by(self) -> tuple[str, str] | None:
        """The local user and the device that wait for an answer to what made the record."""
        return None


class Notice(Struct, frozen=True):
    """What one commit brought: the new position, and the records in their order."""

    position: int
    records: Sequence[tuple[int, Record]]


class _Entry(Struct):
    records: Sequence[Record]
    done: asyncio.Future[list[int]]


class Log:
    """Appends records in groups, and tells listeners what was committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Entry] = []
        self._work = asyncio.Event()
        self._listeners: list[Callable[[Notice], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.position = 0
        """The last committed position."""

    async def start(self) -> None:
        """Read where the log stands and begin to write."""
        self.position = await self._database.fetchval(SELECT_POSITION)
        self._task = asyncio.create_task(self._run(), name="log writer")

    async def close(self) -> None:
        """Write what waits, then stop."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await self._task

    def subscribe(self, listener: Callable[[Notice], None]) -> None:
        """Call ``listener`` after each commit, in the order of positions.  It must not block."""
        self._listeners.append(listener)

    def append(self, *records: Record) -> asyncio.Future[list[int]]:
        """Queue records to be committed together, in this order.

        The order of calls is the order of positions.  The future yields the records' positions
        once they are on disk, or the exception that kept them from it.
        """
        if self._closing:
            raise RuntimeError("The log is closed")
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(records, done))
        self._work.set()
        return done

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                batch = self._waiting[:MAX_BATCH_ENTRIES]
                del self._waiting[:MAX_BATCH_ENTRIES]
                await self._commit(batch)
            if self._closing:
                return

    async def _commit(self, batch: list[_Entry]) -> None:
        try:
            positions = await self._write(batch)
        except Exception as error:
            if len(batch) == 1 or isinstance(error, asyncpg.PostgresConnectionError | OSError):
                for entry in batch:
                    if not entry.done.done():
                        entry.done.set_exception(error)
                return
            # One bad entry must not take the others with it: each goes by itself.
            for entry in batch:
                await self._commit([entry])
            return
        self._announce(batch, positions)

    async def _write(self, batch: list[_Entry]) -> int:
        """Write a batch in one transaction; the position of its first record."""
        total = sum(len(entry.records) for entry in batch)
        async with self._database.transaction() as connection:
            first: int = await connection.fetchval(TAKE_POSITIONS, total)
            by_kind: dict[type[Record], list[tuple[int, Record]]] = defaultdict(list)
            position = first
            for entry in batch:
                for record in entry.records:
                    by_kind[type(record)].append((position, record))
                    position += 1
            for kind, records in by_kind.items():
                await kind.write(connection, records)
        LOG_COMMITS.inc()
        LOG_RECORDS.inc(total)
        return first

    def _announce(self, batch: list[_Entry], first: int) -> None:
        records: list[tuple[int, Record]] = []
        position = first
        for entry in batch:
            count = len(entry.records)
            records.extend(zip(range(position, position + count), entry.records, strict=True))
            if not entry.done.done():
                entry.done.set_result(list(range(position, position + count)))
            position += count
        self.position = position - 1
        notice = Notice(self.position, records)
        for listener in self._listeners:
            try:
                listener(notice)
            except Exception:
                logger.exception("log listener failed")
