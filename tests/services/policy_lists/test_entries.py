"""What becomes of a list's entries."""

from __future__ import annotations

from homeserver.protocol.policy_rules import PolicyRule
from homeserver.services.policy_lists.entries import Change, Key, Wanted, apply, discard, follow
from homeserver.storage.policy_lists import EntryRow

NOW = 1000


def says(*entities: str, action: str | None = None, reason: str = "") -> dict[Key, Wanted]:
    rules = [PolicyRule("server", entity, reason) for entity in entities]
    return {rule.key: Wanted(rule, action) for rule in rules}


class List:
    """A list's entries, changed step by step."""

    def __init__(self) -> None:
        self.entries: dict[Key, EntryRow] = {}

    def take(self, change: Change) -> bool:
        self.entries.update({entry.key: entry for entry in change.saved})
        for key in change.gone:
            del self.entries[key]
        return bool(change)

    def follow(self, wanted: dict[Key, Wanted], *, at_once: bool = False) -> bool:
        return self.take(follow(self.entries, wanted, at_once=at_once, now_ms=NOW))

    def apply(self) -> bool:
        return self.take(apply(self.entries.values(), now_ms=NOW))

    def discard(self) -> bool:
        return self.take(discard(self.entries.values()))

    @property
    def draft(self) -> list[str]:
        return sorted(e.entity for e in self.entries.values() if e.in_draft)

    @property
    def in_effect(self) -> list[str]:
        return sorted(e.entity for e in self.entries.values() if e.applied)


def test_what_a_list_says_stands_as_a_draft_until_it_is_applied() -> None:
    policies = List()
    policies.follow(says("a", "b"))
    before = (policies.draft, policies.in_effect)

    policies.apply()

    assert before == (["a", "b"], [])
    assert (policies.draft, policies.in_effect) == ([], ["a", "b"])


def test_what_is_retracted_stays_in_effect_until_that_is_applied() -> None:
    policies = List()
    policies.follow(says("a", "b"), at_once=True)
    policies.follow(says("a"))
    before = (policies.draft, policies.in_effect)

    policies.apply()

    assert before == (["b"], ["a", "b"])
    assert (policies.draft, policies.in_effect) == ([], ["a"])
    assert list(policies.entries) == [("server", "a")]


def test_at_once_nothing_waits() -> None:
    policies = List()
    policies.follow(says("a", "b"), at_once=True)
    policies.follow(says("b", "c"), at_once=True)

    assert (policies.draft, policies.in_effect) == ([], ["b", "c"])


def test_what_matches_everything_waits_in_any_case() -> None:
    policies = List()

    policies.follow(says("a", "*"), at_once=True)

    assert (policies.draft, policies.in_effect) == (["*"], ["a"])


def test_what_was_declined_stays_so_until_the_list_changes_its_mind() -> None:
    policies = List()
    policies.follow(says("a"))
    policies.discard()
    declined = policies.draft
    policies.follow(says("a"))
    still = policies.draft
    policies.follow({})

    policies.follow(says("a"))

    assert (declined, still, policies.draft) == ([], [], ["a"])


def test_a_declined_retraction_keeps_the_entry() -> None:
    policies = List()
    policies.follow(says("a"), at_once=True)
    policies.follow({})
    policies.discard()

    policies.follow({})

    assert (policies.draft, policies.in_effect) == ([], ["a"])


def test_a_draft_that_is_retracted_leaves_nothing() -> None:
    policies = List()
    policies.follow(says("a"))

    policies.follow({})

    assert policies.entries == {}


def test_a_new_reason_needs_no_approval_and_a_new_action_does() -> None:
    policies = List()
    policies.follow(says("a", action="flag"), at_once=True)
    policies.follow(says("a", action="flag", reason="spam"))
    reason = (policies.draft, policies.entries["server", "a"].reason)

    policies.follow(says("a", action="block"))

    assert reason == ([], "spam")
    assert (policies.draft, policies.in_effect) == (["a"], [])


def test_nothing_changes_when_nothing_is_new() -> None:
    policies = List()
    policies.follow(says("a", "b"), at_once=True)

    assert not policies.follow(says("a", "b"))
    assert not policies.apply()
    assert not policies.discard()
