"""The commands of docs/api/applications.md and docs/api/webhooks.md do what they say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver.protocol.signing import format_signing_key
from homeserver.storage.database import Database
from tests.conversations.conftest import new_user
from tests.integration.single import Instance, running
from tests.services.conversations.webhook_world import receiving

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "api"
EXAMPLE = re.compile(r"```sh\n(.*?)```\n(?:\n```json\n(.*?)```)?", re.DOTALL)
ANYTHING = "…"


class Reader:
    """Somebody who follows a page, with the shell's variables."""

    def __init__(self, instance: Instance, directory: Path) -> None:
        self._saved = directory / "environment"
        config = directory / "cli.yaml"
        key = directory / "signing.key"
        url = instance.client.make_url("/")
        key.write_text(format_signing_key(instance.wiring.signing_key))
        config.write_text(
            yaml.safe_dump(
                {
                    "server_name": "chat.example",
                    "signing_key_file": str(key),
                    "listen": {"client": f"127.0.0.1:{url.port}"},
                }
            )
        )
        run = f'"{sys.executable}" -c "from homeserver.cli import main; main()"'
        self._prelude = f'set -euo pipefail; comity() {{ {run} "$@" --config "{config}"; }}\n'
        self.variables = {"BASE": str(url).rstrip("/")}

    async def run(self, script: str) -> str:
        """What a script prints; what it exports stays."""
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f'{self._prelude}{script}\nenv -0 > "{self._saved}"',
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        after = dict(each.split("=", 1) for each in self._saved.read_text().split("\0") if each)
        self.variables |= {name: after[name] for name in ("APP", "TOKEN") if name in after}
        return out.decode()


def differs(answer: Any, promised: Any, place: str = "") -> list[str]:
    """Where an answer is not as promised."""
    if isinstance(promised, dict) and isinstance(answer, dict):
        return [
            problem
            for key in promised
            for problem in differs(answer.get(key, "nothing"), promised[key], f"{place}.{key}")
        ]
    if isinstance(promised, str) and isinstance(answer, str) and promised.endswith(ANYTHING):
        good = answer.startswith(promised.removesuffix(ANYTHING)) and answer != promised
        return [] if good else [f"{place}: {answer!r} for {promised!r}"]
    return [] if answer == promised else [f"{place}: {answer!r} for {promised!r}"]


async def follow(reader: Reader, page: str, replaced: dict[str, str]) -> int:
    """Run each command of a page, and compare its answer; how many there were."""
    examples = EXAMPLE.findall((PAGES / page).read_text("utf-8"))
    for example, promised in examples:
        script = example
        for old, new in replaced.items():
            script = script.replace(old, new)
        out = await reader.run(script)
        if not promised:
            continue
        answer = json.loads(out)
        assert differs(answer, json.loads(promised)) == [], script
        names = {
            "CONVERSATION": answer.get("conversation", {}).get("id"),
            "WEBHOOK": answer.get("info", {}).get("id"),
            "ACCESS_TOKEN": answer.get("access_token"),
        }
        url = answer.get("url", "").replace("https://chat.example", reader.variables["BASE"])
        names["URL"] = url or None
        reader.variables |= {name: value for name, value in names.items() if value is not None}
    return len(examples)


@pytest.mark.parametrize("page", ["applications.md", "webhooks.md"])
async def test_the_examples_are_true(database: Database, tmp_path: Path, page: str) -> None:
    settings = {
        "server_name": "chat.example",
        "public_base_url": "https://chat.example",
        "webhooks": {"allow_private_networks": True},
    }
    async with running(database, tmp_path, **settings) as instance, receiving() as receiver:
        reader = Reader(instance, tmp_path)
        bob = await new_user(instance, "bob")
        await reader.run(
            'export APP=$(comity application create "Test")\n'
            "export TOKEN=$(comity application token create $APP)"
        )

        count = await follow(reader, page, {"https://shop.example/hooks/chat": receiver.url})

    assert count >= 3
    assert bob.address == "bob@chat.example"


async def test_the_command_line_shows_and_ends_what_it_made(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, server_name="chat.example") as instance:
        reader = Reader(instance, tmp_path)

        before = await reader.run("comity application list")
        await reader.run(
            "export APP=$(comity application create Shop --users 'shop_*' --users 'a*' --bot abot"
            " --scope messages:read --scope webhooks)\n"
            "export TOKEN=$(comity application token create $APP --name one --days 3)"
        )
        listed = await reader.run("comity application list")
        shown = await reader.run("comity application show $APP")
        (token_line,) = [line for line in shown.splitlines() if line.startswith("tok_")]
        token_id = token_line.split()[0]
        revoked = await reader.run(f"comity application token revoke $APP {token_id}")
        without = await reader.run("comity application token list $APP")
        deleted = await reader.run("comity application delete --yes $APP")
        gone = await reader.run("comity application show $APP 2>&1 || true")
        refused = await reader.run("comity application create X --scope all 2>&1 || true")

    app, token = reader.variables["APP"], reader.variables["TOKEN"]
    assert before == "There are no applications.\n"
    assert listed.splitlines()[1].split() == [
        app,
        "Shop",
        "shop_*",
        "a*",
        "no",
        "abot@chat.example",
    ]
    assert "messages:read webhooks" in shown
    assert f"{token[:10]}...  one" in token_line
    assert token not in shown
    assert (revoked, without, deleted) == ("revoked\n", "It has no tokens.\n", "deleted\n")
    assert "There is no such application" in gone
    assert "There is no scope 'all'" in refused
