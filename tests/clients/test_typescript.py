"""The TypeScript client: as it is generated, type-checked, and against a running instance."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from client_api.conversations.openapi import document
from client_api.conversations.rest import ALL
from tests.integration.single import Instance

from .conftest import TYPESCRIPT, run


@pytest.fixture(scope="module")
def built() -> Path:
    for command in (["npm", "ci"], ["npm", "run", "build"]):
        subprocess.run(command, cwd=TYPESCRIPT, check=True)
    return TYPESCRIPT / "dist"


async def test_the_types_are_those_of_the_api(built: Path) -> None:
    (TYPESCRIPT / "openapi.json").write_text(json.dumps(document(ALL, "https://chat.example")))
    committed = (TYPESCRIPT / "src" / "schema.ts").read_text()

    await run("npm", "run", "generate")

    assert (TYPESCRIPT / "src" / "schema.ts").read_text() == committed


async def test_it_works_with_a_running_instance(built: Path, instance: Instance) -> None:
    url = str(instance.client.make_url("/"))

    output = await run("npm", "test", COMITY_URL=url)

    assert "# fail 0" in output
