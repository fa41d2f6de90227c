"""A running instance with two accounts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

PATIENCE_SECONDS = 120.0
TYPESCRIPT = Path(__file__).parents[2] / "clients" / "typescript"


@pytest.fixture
async def instance(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance with Alice and Bob."""
    async with running(database, tmp_path) as instance:
        for name in ("alice", "bob"):
            await instance.register(name)
        yield instance


async def run(*command: str, directory: Path = TYPESCRIPT, **environment: str) -> str:
    """Run a program; what it printed.  It must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
    return output.decode()
