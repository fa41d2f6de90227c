"""The commands of docs/api/messages.md do what it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

from tests.conversations.conftest import ApiUser, new_user

PAGE = Path(__file__).parents[2] / "docs" / "api" / "messages.md"
EXAMPLE = re.compile(r"```sh\n(.*?)```\n```json\n(.*?)```", re.DOTALL)


async def run(script: str, variables: dict[str, str]) -> Any:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error
    return json.loads(out)


def lacks(answer: Any, promised: Any, place: str = "") -> list[str]:
    """Where an answer does not have what was promised."""
    if isinstance(promised, dict):
        if not isinstance(answer, dict):
            return [place]
        missing = [f"{place}.{key}" for key in promised if key not in answer]
        return missing + [
            problem
            for key in promised.keys() & answer.keys()
            for problem in lacks(answer[key], promised[key], f"{place}.{key}")
        ]
    if isinstance(promised, list):
        if not isinstance(answer, list) or len(answer) != len(promised):
            return [place]
        return [
            problem
            for number, (one, other) in enumerate(zip(answer, promised, strict=True))
            for problem in lacks(one, other, f"{place}[{number}]")
        ]
    is_same = answer == promised
    varies = place.endswith(("id", "_at", ".position", ".previous", ".next", ".state"))
    return [] if is_same or varies else [f"{place}: {answer!r} for {promised!r}"]


async def test_the_examples_are_true(alice: ApiUser, bob: ApiUser) -> None:
    await new_user(alice.instance, "carol")
    url = alice.instance.client.make_url("/")
    variables = {"BASE": str(url).rstrip("/"), "TOKEN": alice.token}
    examples = EXAMPLE.findall(PAGE.read_text("utf-8"))
    wrong = []

    for script, promised in examples:
        answer = await run(script, variables)
        wrong += [f"{script}: {problem}" for problem in lacks(answer, json.loads(promised))]
        if "message" in answer:
            variables["CONVERSATION"] = answer["conversation"]["id"]
            variables["MESSAGE"] = answer["message"]["id"]

    assert len(examples) > 5
    assert wrong == []
