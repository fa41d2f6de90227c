"""A real browser before a real instance: Chromium by Playwright, all in one event loop.

Playwright's own Chromium is taken if it is installed, else the ``chromium`` of the machine.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from homeserver.storage.database import Database
from tests.browser.reader import Reader
from tests.conftest import TestPostgres
from tests.integration.single import Instance, running

HERE = Path(__file__).parent
ASK = dict.fromkeys(("message", "group", "media", "call"), "ask")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Everything here shares one event loop, since the browser lives as long as the session.

    Modules are marked, before there are tests: each test's loop is chosen as it is found.
    """
    if isinstance(collector, pytest.Module) and HERE in collector.path.parents:
        collector.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a window."""
    async with async_playwright() as playwright:
        path = shutil.which(playwright.chromium.executable_path) or shutil.which("chromium")
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def one(postgres: TestPostgres, tmp_path: Path) -> AsyncIterator[Instance]:
    """A whole instance with a fresh database, where strangers have to ask."""
    dsn = await postgres.create_database()
    database = await Database.connect(dsn, min_size=1, max_size=8)
    async with running(database, tmp_path, consent={"defaults": ASK}) as instance:
        yield instance
    await database.close()


@pytest_asyncio.fixture(loop_scope="session")
async def reader(browser: Browser, one: Instance) -> AsyncIterator[Reader]:
    """Somebody before the page; at the end the console must be empty."""
    reader = await Reader.sit_down(browser, one)
    yield reader
    await reader.context.close()
    assert reader.mishaps == []
