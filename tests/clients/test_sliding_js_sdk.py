"""matrix-js-sdk's sliding sync against a running instance: the script of ``sliding_js/``."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.integration.single import running

SCRIPTS = Path(__file__).parent / "sliding_js"
NODE = ("node", "--test", "--test-force-exit", "--test-reporter=spec", "sliding.test.mjs")
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def packages() -> None:
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=SCRIPTS, check=True)


@pytest.mark.usefixtures("packages")
async def test_people_sync_with_matrix_js_sdks_sliding_sync(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        process = await asyncio.create_subprocess_exec(
            *NODE,
            cwd=SCRIPTS,
            env={**os.environ, "COMITY_URL": str(one.client.make_url("/"))},
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
