"""The commands of docs/api/sessions.md, people.md and keys.md do what these pages say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conversations.conftest import ApiUser
from tests.conversations.test_messages_documentation import EXAMPLE, PAGE, run

ANYTHING = "…"
VARYING = ("id", "device_id", "last_seen_at")


def differs(answer: Any, promised: Any, place: str = "") -> list[str]:
    """Where an answer is not what was promised; ``…`` promises no more than that it is there."""
    if promised == ANYTHING or (place.rpartition(".")[2] in VARYING and type(answer) is str):
        return []
    if isinstance(promised, dict) and isinstance(answer, dict) and promised.keys() == answer.keys():
        return [
            d for key in promised for d in differs(answer[key], promised[key], f"{place}.{key}")
        ]
    if isinstance(promised, list) and isinstance(answer, list) and len(promised) == len(answer):
        pairs = zip(answer, promised, strict=True)
        return [problem for pair in pairs for problem in differs(*pair, f"{place}[]")]
    return [] if answer == promised else [f"{place}: {answer!r} for {promised!r}"]


@pytest.mark.parametrize(("page", "least"), [("sessions", 4), ("people", 7), ("keys", 3)])
async def test_the_examples_are_true(alice: ApiUser, bob: ApiUser, page: str, least: int) -> None:
    base = str(alice.instance.client.make_url("/")).rstrip("/")
    variables = {"BASE": base, "TOKEN": alice.token}
    text = (PAGE.parent / f"{page}.md").read_text("utf-8")
    examples = EXAMPLE.findall(text)
    wrong = []

    for script, promised in examples:
        answer = await run(script, variables)
        wrong += [f"{script}: {problem}" for problem in differs(answer, json.loads(promised))]

    assert wrong == []
    assert len(examples) >= least
    assert len(examples) == text.count("```sh\n")
