"""The pool of connections: what is done on one ends with its transaction."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from homeserver.storage.database import Database

ROOT = Path(__file__).parent.parent.parent
SESSION_STATE = re.compile(
    r"pg_(?:try_)?advisory_lock|\bLISTEN\b|\bSET SESSION\b|\bWITH HOLD\b|CREATE TEMP|add_listener"
    r"|set_config\([^)]*false|\"SET (?!LOCAL)"
)


async def test_a_transaction_that_fails_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL work_mem = '1MB'")
            await connection.fetchval("SELECT pg_advisory_xact_lock(1)")
            await connection.execute("SELECT 1 / 0")

    for _ in range(20):
        assert await database.fetchval("SELECT pg_try_advisory_xact_lock(1)")
        assert await database.fetchval("SHOW work_mem") != "1MB"


async def test_a_use_of_a_connection_is_one_statement(database: Database) -> None:
    """asyncpg by itself sends a second one, to reset the session."""
    async with database.pool.acquire() as connection:
        pid = connection.get_server_pid()
    for _ in range(3):
        await database.fetchval("SELECT 1")

    last = await database.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)

    assert "RESET" not in last


def test_nothing_changes_a_session() -> None:
    """For sessions are not reset between uses."""
    sources = [
        *(ROOT / "homeserver").rglob("*.py"),
        *(ROOT / "federation").rglob("*.py"),
        *(ROOT / "client_api").rglob("*.py"),
        *(ROOT / "migrations").glob("*.sql"),
    ]

    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources
        for match in SESSION_STATE.finditer(path.read_text("utf-8"))
    ]

    assert found == []
