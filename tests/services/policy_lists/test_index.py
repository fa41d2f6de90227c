"""Users, servers and rooms judged by the lists in effect."""

from __future__ import annotations

import pytest

from homeserver.services.policy_lists.index import REMEMBERED, ListIndex, ListVerdict


def verdict(kind: str, entity: str, action: str = "block") -> ListVerdict:
    return ListVerdict(action, "the list", "!list:two.test", kind, entity, "spam", 0)


INDEX = ListIndex(
    "one.test",
    [
        verdict("user", "@spam*:*"),
        verdict("user", "@bad:two.test"),
        verdict("user", "@bad:one.test"),
        verdict("user", "@*:*.example", "flag"),
        verdict("user", "@spamassassin:two.test", "allow"),
        verdict("server", "watched.test", "flag"),
        verdict("room", "!trap:two.test"),
        verdict("room", "#trap*:two.test"),
        verdict("room", "!odd:two.test", "flag"),
    ],
)


@pytest.mark.parametrize(
    ("user_id", "action", "entity"),
    [
        ("@spam1:two.test", "block", "@spam*:*"),
        ("@bad:two.test", "block", "@bad:two.test"),
        ("@x:a.example", "flag", "@*:*.example"),
        ("@spam:a.example", "block", "@spam*:*"),
        ("@x:Watched.test", "flag", "watched.test"),
        ("@bad:one.test", "block", "@bad:one.test"),
    ],
)
def test_a_user_meets_the_strongest_entry(user_id: str, action: str, entity: str) -> None:
    for _ in range(2):  # the second time from memory
        found = INDEX.user(user_id)

        assert found is not None
        assert (found.action, found.entity) == (action, entity)


@pytest.mark.parametrize("user_id", ["@good:two.test", "@spamassassin:two.test", "@spam:one.test"])
def test_who_is_not_named_or_allowed_or_ours_by_a_glob_is_left_alone(user_id: str) -> None:
    assert INDEX.user(user_id) is None


def test_rooms_are_known_by_id_or_alias() -> None:
    found = [INDEX.room(name) for name in ("!trap:two.test", "#trap1:two.test", "!odd:two.test")]

    assert [v and v.action for v in found] == ["block", "block", "flag"]
    assert INDEX.room("!fine:two.test") is None
    assert INDEX.room("!fine:two.test", "#trap1:two.test") is found[1]


def test_without_lists_nothing_is_looked_up() -> None:
    index = ListIndex("one.test", [])

    assert not index
    assert index.user("@spam:two.test") is None
    assert index.room("!trap:two.test") is None


def test_memory_is_bounded() -> None:
    index = ListIndex("one.test", [verdict("user", "@spam*:*")])

    for number in range(REMEMBERED + 10):
        index.user(f"@user{number}:two.test")

    assert len(index._users) <= REMEMBERED


def test_our_users_read_why() -> None:
    found = INDEX.room("!trap:two.test")

    assert found is not None
    assert found.text == "This server blocks this room: spam"
    assert found.rule == "list:the list"
