"""A real PostgreSQL for all tests: one cluster per run, one fresh database per test."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from homeserver.storage import migrations
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres

TEMPLATE = "comity"


class TestPostgres:
    """The run's cluster; hands out databases that are migrated already."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        # what the tests write need not outlive a power cut
        self.server = EmbeddedPostgres(directory, {"fsync": "off", "full_page_writes": "off"})
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        """Start it, and migrate the template."""
        database = await Database.connect(await self.server.start())
        await migrations.apply(database)
        await database.close()

    async def create_database(self, *, migrated: bool = True) -> str:
        """The DSN of a new database."""
        name = f"test_{next(self._numbers)}"
        template = TEMPLATE if migrated else "template0"
        await self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.server.dsn.replace(f"/{TEMPLATE}?", f"/{name}?")

    async def drop_database(self, dsn: str) -> None:
        """Remove one: each is hundreds of files, and a run makes thousands."""
        name = dsn.partition("?")[0].rpartition("/")[2]
        await self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    async def _administer(self, statement: str) -> None:
        admin = await asyncpg.connect(self.server.dsn.replace(f"/{TEMPLATE}?", "/postgres?"))
        try:
            await admin.execute(statement)
        finally:
            await admin.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestPostgres]:
    """The cluster of this run."""
    directory = Path(tempfile.mkdtemp(prefix="comity-test-", dir="/tmp"))
    directory.chmod(0o755)
    server = TestPostgres(directory / "pg")
    asyncio.run(server.start())
    yield server
    asyncio.run(EmbeddedPostgres(directory / "pg").stop())
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def database(postgres: TestPostgres) -> AsyncIterator[Database]:
    """A fresh, migrated database."""
    dsn = await postgres.create_database()
    database = await Database.connect(dsn, min_size=1, max_size=8)
    yield database
    await database.close()
    await postgres.drop_database(dsn)
