"""Vectors for the authorisation rules: who becomes a member, and who ends that."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.room_builder import ALICE, BOB, CAROL, Room
from tests.protocol.rule_cases import ALL, MEMBER, RULES, allowed, before, member_key, since


@pytest.mark.parametrize("version", ALL)
def test_the_first_join_is_the_creators_right_after_the_create_event(version: str) -> None:
    room = Room(version)
    del room.state[member_key(ALICE)]
    room.with_join_rule("invite")
    first = (room.create.event_id,)

    assert allowed(room, room.event(MEMBER, ALICE, ALICE, {"membership": "join"}, prevs=first))
    assert not allowed(room, room.event(MEMBER, BOB, BOB, {"membership": "join"}, prevs=first))
    two = (room.create.event_id, "$other")
    assert not allowed(room, room.event(MEMBER, ALICE, ALICE, {"membership": "join"}, prevs=two))


def test_before_version_11_the_first_to_join_is_whom_the_content_names() -> None:
    for version in before(11):
        room = Room(version, creator=BOB)
        first = (room.create.event_id,)
        joins = {
            user: allowed(room, room.event(MEMBER, user, user, {"membership": "join"}, prevs=first))
            for user in (BOB, CAROL)
        }
        assert joins == {BOB: True, CAROL: False}, version
    for version in since(11):
        room = Room(version, creator=BOB)
        join = room.event(MEMBER, BOB, BOB, {"membership": "join"}, prevs=(room.create.event_id,))
        assert not allowed(room, join), version


# join rule -> (since which version it lets the invited and joined in, the others)
JOINS: list[tuple[Any, int | None, int | None]] = [
    ("invite", 1, None),
    ("public", 1, 1),
    ("knock", 7, None),
    ("restricted", 8, None),
    ("knock_restricted", 10, None),
    ("private", None, None),
    ("", None, None),
    (None, None, None),
    (7, None, None),
    (["public"], None, None),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("rule", "invited", "others"), JOINS)
def test_whom_each_join_rule_lets_in(
    version: str, rule: Any, invited: int | None, others: int | None
) -> None:
    room = Room(version).with_state(RULES, "", {"join_rule": rule})
    number = int(version)

    for membership in ("invite", "join"):
        room.with_member(BOB, membership)
        assert allowed(room, room.join(BOB)) == (invited is not None and number >= invited)
    for membership in ("leave", "knock"):
        room.with_member(BOB, membership)
        assert allowed(room, room.join(BOB)) == (others is not None and number >= others)
    assert not allowed(room.with_member(BOB, "ban"), room.join(BOB))


@pytest.mark.parametrize("version", ALL)
def test_without_a_join_rule_a_room_is_for_the_invited(version: str) -> None:
    room = Room(version)
    nameless = Room(version).with_state(RULES, "", {})

    for place in (room, nameless):
        assert not allowed(place, place.join(BOB))
        assert allowed(place.with_member(BOB, "invite"), place.join(BOB))


@pytest.mark.parametrize("version", since(8))
@pytest.mark.parametrize(
    ("membership", "level", "voucher", "verdict"),
    [
        ("join", 50, CAROL, True),
        ("join", 49, CAROL, False),
        ("invite", 50, CAROL, False),
        ("leave", 50, CAROL, False),
        ("ban", 50, CAROL, False),
        ("join", 50, None, False),
        ("join", 50, 7, False),
        ("join", 50, [CAROL], False),
        ("join", 50, "carol", False),
    ],
)
def test_who_vouches_for_a_restricted_join(
    version: str, membership: str, level: int, voucher: Any, verdict: bool
) -> None:
    room = Room(version).with_levels(invite=50, users={CAROL: level}).with_join_rule("restricted")
    room.with_member(CAROL, membership)

    join = room.join(BOB, join_authorised_via_users_server=voucher)

    assert allowed(room, join) == verdict


@pytest.mark.parametrize("version", since(12))
def test_a_creator_vouches_whatever_the_invite_level(version: str) -> None:
    room = Room(version).with_levels(invite=2**53 - 1).with_join_rule("restricted")

    assert allowed(room, room.join(BOB, join_authorised_via_users_server=ALICE))


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("inviter", "target", "verdict"),
    [
        ("join", "leave", True),
        ("join", "invite", True),
        ("join", "knock", True),
        ("join", "join", False),
        ("join", "ban", False),
        ("leave", "leave", False),
        ("invite", "leave", False),
        ("ban", "leave", False),
    ],
)
def test_who_invites_whom(version: str, inviter: str, target: str, verdict: bool) -> None:
    room = Room(version).with_levels(users={})
    room.with_member(CAROL, inviter).with_member(BOB, target)

    assert allowed(room, room.member(CAROL, BOB, "invite")) == verdict


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("current", "verdict"),
    [("invite", True), ("join", True), ("leave", False), ("ban", False), ("knock", None)],
)
def test_from_where_one_leaves(version: str, current: str, verdict: bool | None) -> None:
    room = Room(version).with_member(BOB, current)
    expected = verdict if verdict is not None else version in since(7)

    assert allowed(room, room.member(BOB, BOB, "leave")) == expected


# ban level, kick level, sender's level, target's level, target's membership -> verdict
REMOVALS: list[tuple[int, int, int, int, str, bool]] = [
    (50, 50, 50, 0, "join", True),
    (50, 50, 49, 0, "join", False),
    (50, 50, 50, 50, "join", False),
    (50, 50, 50, 51, "join", False),
    (60, 50, 50, 0, "join", True),
    (60, 50, 50, 0, "ban", False),
    (60, 50, 60, 0, "ban", True),
    (50, 60, 50, 0, "ban", False),
    (50, 60, 60, 0, "ban", True),
    (50, 50, 60, 60, "ban", False),
    (50, 50, 50, 0, "invite", True),
    (50, 50, 50, 0, "knock", True),
    (50, 50, 50, 0, "leave", True),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("ban", "kick", "own", "other", "target", "verdict"), REMOVALS)
def test_who_removes_whom(
    version: str, ban: int, kick: int, own: int, other: int, target: str, verdict: bool
) -> None:
    room = Room(version).with_levels(ban=ban, kick=kick, users={CAROL: own, BOB: other})
    room.with_member(CAROL, "join").with_member(BOB, target)

    assert allowed(room, room.member(CAROL, BOB, "leave")) == verdict


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("target", ["join", "invite", "knock", "leave", "ban"])
@pytest.mark.parametrize(
    ("own", "other", "verdict"), [(50, 0, True), (49, 0, False), (50, 50, False), (60, 59, True)]
)
def test_who_bans_whom(version: str, target: str, own: int, other: int, verdict: bool) -> None:
    room = Room(version).with_levels(users={CAROL: own, BOB: other})
    room.with_member(CAROL, "join").with_member(BOB, target)

    assert allowed(room, room.member(CAROL, BOB, "ban")) == verdict


@pytest.mark.parametrize("version", ["12"])
@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_no_creator_removes_a_creator(version: str, membership: str) -> None:
    room = Room(version, additional_creators=[BOB]).with_levels().with_member(BOB, "join")

    assert not allowed(room, room.member(ALICE, BOB, membership))
    assert not allowed(room, room.member(BOB, ALICE, membership))


@pytest.mark.parametrize("version", since(7))
@pytest.mark.parametrize(
    ("current", "verdict"),
    [("leave", True), ("knock", True), ("ban", False), ("invite", False), ("join", False)],
)
def test_who_knocks(version: str, current: str, verdict: bool) -> None:
    room = Room(version).with_join_rule("knock").with_member(BOB, current)

    assert allowed(room, room.member(BOB, BOB, "knock")) == verdict
    assert not allowed(room, room.member(ALICE, BOB, "knock"))
