"""PostgreSQL through asyncpg: one pool, typed just enough for the storage modules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
import orjson

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


class Queryable(Protocol):
    """What a storage function needs: a :class:`Database`, or a connection in a transaction."""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row, or None."""

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row, or None."""

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement; its command tag, such as ``UPDATE 1``."""

    async def executemany(self, command: str, args: Iterable[Any]) -> None:
        """Run a statement for each tuple of arguments."""


def encode_json(value: Any) -> str:
    """JSON for the database; keys may be user IDs, which are a kind of text."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


async def _set_up_connection(connection: Any) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind,
            schema="pg_catalog",
            encoder=encode_json,
            decoder=orjson.loads,
        )


async def _leave_as_it_is(connection: Any) -> None:
    """Reset nothing: what is done on a connection ends with its transaction.

    asyncpg would send a statement of its own after every use of a connection, which doubles what a
    query costs.  So nothing may change a session: locks are ``pg_advisory_xact_lock``, settings
    ``SET LOCAL``, and nobody listens.  An open transaction asyncpg rolls back all the same.
    """


def is_unstorable(error: BaseException) -> bool:
    """Whether a statement failed because a text has a NUL character, which no text may have."""
    return isinstance(error, asyncpg.CharacterNotInRepertoireError)


class Database:
    """A pool of connections."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @classmethod
    async def connect(cls, dsn: str, *, min_size: int = 2, max_size: int = 16) -> Database:
        """Open a pool.  Raises what asyncpg raises where the server cannot be reached."""
        pool = await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            init=_set_up_connection,
            reset=_leave_as_it_is,
            max_inactive_connection_lifetime=0,
        )
        return cls(pool)

    async def close(self) -> None:
        """Close all connections once their queries have ended."""
        await self.pool.close()

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        rows: list[Any] = await self.pool.fetch(query, *args)
        return rows

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row, or None."""
        return await self.pool.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        return await self.pool.fetchval(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement; its command tag."""
        return await self.pool.execute(query, *args)

    async def executemany(self, command: str, args: Iterable[Any]) -> None:
        """Run a statement for each tuple of arguments."""
        await self.pool.executemany(command, args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction: committed at the end, rolled back on an exception."""
        async with self.pool.acquire() as connection, connection.transaction():
            yield connection
