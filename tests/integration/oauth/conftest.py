"""One instance for all tests of a file, each with somebody new before a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.oauth_people import Browser, Client, shared_instance, somebody
from tests.integration.single import Instance


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one(
    postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Instance]:
    async with shared_instance(postgres, tmp_path_factory.mktemp("oauth")) as instance:
        yield instance


@pytest.fixture
def database(one: Instance) -> Database:
    return one.wiring.database


@pytest_asyncio.fixture(loop_scope="module")
async def browser(one: Instance) -> AsyncIterator[Browser]:
    async with somebody(one) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def client(one: Instance) -> Client:
    return await Client.register(one)
