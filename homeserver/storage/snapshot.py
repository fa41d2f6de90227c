"""All tables as of one moment: written to files while the server runs, and read back."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator

from msgspec import Struct

from homeserver.storage.database import Database

SELECT_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname
"""
SELECT_SEQUENCES = """
SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'
ORDER BY sequencename
"""
SET_SEQUENCE = "SELECT setval($1::regclass, $2)"
COUNT_ACCOUNTS = "SELECT count(*) FROM accounts"
# Foreign keys would want an order of the tables; the snapshot is whole, so none can be broken.
NO_FOREIGN_KEYS = "SET LOCAL session_replication_role = replica"
# One-time keys may have been handed out since the snapshot: given out twice, a session breaks.
VOID_KEYS = ("DELETE FROM one_time_keys", "DELETE FROM fallback_keys")

_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


class TableDump(Struct, frozen=True):
    """One table in PostgreSQL's binary COPY format."""

    name: str
    data: bytes


async def dump(database: Database) -> AsyncIterator[TableDump | dict[str, int]]:
    """Each table, then the sequences' values, all as of one moment."""
    async with (
        database.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        for row in await connection.fetch(SELECT_TABLES):
            buffer = io.BytesIO()
            await connection.copy_from_table(row["relname"], output=buffer, format="binary")
            yield TableDump(row["relname"], buffer.getvalue())
        rows = await connection.fetch(SELECT_SEQUENCES)
        yield {row["sequencename"]: row["last_value"] or 1 for row in rows}


async def is_empty(database: Database) -> bool:
    """Whether the database has no accounts: only then may a backup be restored into it."""
    count: int = await database.fetchval(COUNT_ACCOUNTS)
    return count == 0


async def load(database: Database, tables: dict[str, bytes], sequences: dict[str, int]) -> None:
    """Put a dump in the place of whatever the tables hold, in one transaction.

    One-time and fallback keys are left out.  The schema must be the dump's own.
    """
    async with database.transaction() as connection:
        await connection.execute(NO_FOREIGN_KEYS)
        for name in tables:
            if not _NAME.match(name):
                raise ValueError(f"{name!r} is not a table's name")
            await connection.execute(f'TRUNCATE "{name}" CASCADE')
        for name, data in tables.items():
            await connection.copy_to_table(name, source=io.BytesIO(data), format="binary")
        for name, value in sequences.items():
            await connection.execute(SET_SEQUENCE, name, value)
        for statement in VOID_KEYS:
            await connection.execute(statement)
