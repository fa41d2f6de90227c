"""A world whose people listen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.storage.database import Database

from .world import Person, World, new_world


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """An instance."""
    async with new_world(database, tmp_path) as world:
        yield world


@pytest.fixture
async def alice(world: World) -> Person:
    """Somebody."""
    return await world.person("alice")


@pytest.fixture
async def bob(world: World) -> Person:
    """Somebody else."""
    return await world.person("bob")
