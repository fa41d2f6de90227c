"""What happens, and a server that is told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.storage.database import Database
from tests.services.conversations.webhook_world import Receiver, World, receiving, webhook_world


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with webhook_world(database) as world:
        yield world


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver
