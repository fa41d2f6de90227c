"""matrix-js-sdk, with its Rust crypto, against a running instance: the scripts of ``js/``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.single import Instance

from .conftest import run

SCRIPTS = Path(__file__).parent / "js"
NODE = ("node", "--test", "--test-force-exit", "--test-reporter=spec")


@pytest.fixture(scope="module")
def packages() -> None:
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=SCRIPTS, check=True)


@pytest.mark.usefixtures("packages")
async def test_people_talk_with_matrix_js_sdk_in_the_clear_and_encrypted(
    instance: Instance,
) -> None:
    url = str(instance.client.make_url("/"))
    scripts = sorted(path.name for path in SCRIPTS.glob("*.test.mjs"))

    output = await run(*NODE, *scripts, directory=SCRIPTS, COMITY_URL=url)

    assert "fail 0" in output
