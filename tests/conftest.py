"""A real PostgreSQL for all tests: one cluster per run, one empty database per test."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
import uvloop
from aiohttp import web_app
from hypothesis import HealthCheck, settings

from homeserver.app import look_for_cycles_less_often
from homeserver.storage import migrations
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres

from .harness.quick import quick_instances
from .spec.contract import contract
from .spec.events import Malformed

# How long an example takes to make says only how busy the machine is.
settings.register_profile("comity", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# In CI a run says something about the commit, not about its luck: the examples are the same ones.
settings.register_profile("ci", settings.get_profile("comity"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "comity")

TEMPLATE = "comity"
# What the tests write need not outlive a power cut, and each is over before a vacuum would pay.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
}
SELECT_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# Tables that have never been filled have no pages.  The references between tables are not checked,
# so that their order does not matter.
TABLES = """
SELECT oid::regclass FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    AND relname <> 'schema_migrations' AND pg_relation_size(oid) > 0
"""
EMPTY = f"""
DO $$
DECLARE
    name regclass;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN {TABLES} LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
END
$$
"""
TRUNCATE = f"""
DO $$
DECLARE
    names text;
BEGIN
    SELECT string_agg(name::text, ', ') INTO names FROM ({TABLES}) AS filled (name);
    IF names IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || names || ' CASCADE';
    END IF;
    PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
END
$$
"""
USES_OF_A_FILE = 30
"""After so many tests the deleted rows go, too: deleting takes a tenth of the time of a truncation,
and nothing else clears them away."""


class TestPostgres:
    """The run's cluster; hands out databases that are migrated already."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        self.server = EmbeddedPostgres(directory, SETTINGS)
        self._numbers = itertools.count(1)
        self._clean: list[str] = []
        self._uses: Counter[str] = Counter()

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

    async def borrow(self) -> str:
        """The DSN of a database as it is after the migrations, perhaps used before."""
        return self._clean.pop() if self._clean else await self.create_database()

    async def give_back(self, dsn: str) -> None:
        """Empty a database for the next test, which takes a tenth of the time of making one.

        One to which somebody is still connected is left alone.
        """
        connection = await asyncpg.connect(dsn)
        try:
            for _ in range(20):  # whoever has just hung up is gone in a moment
                if await connection.fetchval(SELECT_OTHERS) == 0:
                    self._uses[dsn] += 1
                    is_full = self._uses[dsn] % USES_OF_A_FILE == 0
                    await connection.execute(TRUNCATE if is_full else EMPTY)
                    self._clean.append(dsn)
                    return
                await asyncio.sleep(0.01)
        finally:
            await connection.close()

    async def _administer(self, statement: str) -> None:
        admin = await asyncpg.connect(self.server.dsn.replace(f"/{TEMPLATE}?", "/postgres?"))
        try:
            await admin.execute(statement)
        finally:
            await admin.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is said about all tests is said after all of them."""
    items.sort(key=lambda item: item.path.name == "test_zz_contract.py")


def pytest_collection_finish() -> None:
    """All that is imported lives as long as the run."""
    look_for_cycles_less_often()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop on which servers run."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, scope="session")
def instances_start_quickly() -> Iterator[None]:
    """What does not differ between instances is made once."""
    with quick_instances():
        yield


@pytest.fixture(autouse=True, scope="module")
def malformed_events() -> None:
    """What the clients of other tests sent is no excuse for what is answered in these."""
    contract().malformed = Malformed()


_configure = structlog.configure


def configure(*args: Any, **options: Any) -> None:
    """As :func:`structlog.configure`, but what has logged once takes up what comes after."""
    _configure(*args, **{**options, "cache_logger_on_first_use": False})


structlog.configure = configure


@pytest.fixture(autouse=True)
def logging_ends_with_its_test() -> Iterator[None]:
    """A command that a test runs sets up logging for its process, which here is everybody's."""
    yield
    structlog.reset_defaults()
    for handler in logging.root.handlers[:]:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            logging.root.removeHandler(handler)
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").filters.clear()


def forget_applications() -> None:
    """aiohttp keeps the applications to which the last 1,024 handlers belong, for the process.

    A server has one of them.  Here each is another, and keeps a whole instance in memory.
    """
    web_app._cached_build_middleware.cache_clear()


@pytest.fixture(autouse=True)
def applications_end_with_their_test() -> Iterator[None]:
    """No test's instance stays in memory."""
    yield
    forget_applications()


@pytest.fixture(autouse=True)
def matrix_answers() -> Iterator[None]:
    """Every Matrix answer during a test is one that the specification describes."""
    contract().take_violations()
    yield
    violations = contract().take_violations()
    assert not violations, f"{len(violations)} answers are not the spec's:\n" + "\n".join(
        dict.fromkeys(violations[:20])
    )


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
    dsn = await postgres.borrow()
    database = await Database.connect(dsn, min_size=1, max_size=8)
    yield database
    await database.close()
    await postgres.give_back(dsn)
