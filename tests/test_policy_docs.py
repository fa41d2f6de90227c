"""docs/policy.md is true: its examples can be used, and it names every key and action."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from homeserver.services.policy.rules import ACTIONS, KEYS, MATCH_KEYS, compile_rules

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "policy.md").read_text()


def first_column(heading: str) -> set[str]:
    """The code words in the first column of the table under a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def test_the_examples_can_be_used() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)

    counts = [len(compile_rules(yaml.safe_load(e)["policy"]["rules"], ROOT)) for e in examples]

    assert counts == [2, 7]


def test_every_key_and_action_is_named() -> None:
    assert first_column("A rule") == set(KEYS)
    assert first_column("What a rule may look at") == set(MATCH_KEYS)
    assert first_column("Actions") == set(ACTIONS)


def test_the_samples_rule_can_be_used() -> None:
    sample = (ROOT / "config.sample.yaml").read_text()
    section = sample.split("  rules: []\n")[1].split("  # Services that")[0]
    rules = yaml.safe_load(re.sub(r"^  # ", "", section, flags=re.MULTILINE))

    (rule,) = compile_rules(rules, ROOT)

    assert not rule.decides
