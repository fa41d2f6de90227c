"""Numbered SQL migrations, forward only, each in a transaction of its own and checked by hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib import resources

from msgspec import Struct

from homeserver.storage.database import Database

LOCK = "SELECT pg_advisory_xact_lock(5497172)"
CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number int PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
SELECT_APPLIED = "SELECT number, name, sha256 FROM schema_migrations ORDER BY number"
INSERT_APPLIED = "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)"

FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


class MigrationError(Exception):
    """The database's schema is not one that this release can use."""


class Migration(Struct, frozen=True):
    """One file of ``migrations/``."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The file's hash."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def available() -> list[Migration]:
    """The migrations that this release ships, in order."""
    found = []
    for entry in resources.files("migrations").iterdir():
        match = FILE_NAME.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), entry.name, entry.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def apply(database: Database) -> list[str]:
    """Bring the schema up to this release; the names of what was applied.

    Raises: :class:`MigrationError` if the database is newer than the code, or a file that was
    applied has changed since.
    """
    await database.execute(CREATE_TABLE)
    done = []
    for migration in available():
        async with database.transaction() as connection:
            await connection.execute(LOCK)
            applied = {row["number"]: row for row in await connection.fetch(SELECT_APPLIED)}
            _check({number: row["sha256"] for number, row in applied.items()}, migration)
            if migration.number in applied:
                continue
            await connection.execute(migration.sql)
            await connection.execute(
                INSERT_APPLIED, migration.number, migration.name, migration.sha256
            )
            done.append(migration.name)
    return done


def _check(applied: Mapping[int, str], migration: Migration) -> None:
    newest = max(item.number for item in available())
    if applied and max(applied) > newest:
        raise MigrationError(
            f"The database is at migration {max(applied)}, newer than this release ({newest}): "
            "install the newer release"
        )
    if applied.get(migration.number, migration.sha256) != migration.sha256:
        raise MigrationError(
            f"{migration.name} is not the file that was applied to this database: "
            "restore the original"
        )
