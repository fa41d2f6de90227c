"""A real database, and two who read what is in it; other tests have worlds of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.storage.database import Database
from tests.services.reading_world import Client, ReadingWorld


@pytest.fixture
async def world(database: Database) -> AsyncIterator[ReadingWorld]:
    world = ReadingWorld(database)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def alice(world: ReadingWorld) -> Client:
    return await world.client("alice")


@pytest.fixture
async def bob(world: ReadingWorld) -> Client:
    return await world.client("bob")
