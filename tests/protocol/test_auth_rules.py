"""The authorisation rules, rule by rule, for every version in which they differ."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.auth_rules import Allowed, Rejected, check_auth
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room
from tests.protocol.rule_cases import (
    ALL,
    BEFORE_6,
    BEFORE_12,
    SINCE_7,
    SINCE_8,
    SINCE_10,
    SINCE_11,
    allowed,
    cited,
    with_moderator,
)

# ---------------------------------------------------------------- 1: m.room.create


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_is_allowed(version: str) -> None:
    assert isinstance(check_auth(Room(version).create, {}), Allowed)


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_has_no_prev_events(version: str) -> None:
    room = Room(version)
    again = room.event("m.room.create", ALICE, "", room.create.content)

    assert not allowed(room, again)


@pytest.mark.parametrize("version", BEFORE_12)
def test_the_room_id_is_of_the_senders_server(version: str) -> None:
    room = Room(version)
    create = room.event("m.room.create", BOB, "", room.create.content, prevs=())

    assert not allowed(room, create)


def test_a_version_12_create_event_bears_no_room_id() -> None:
    room = Room("12")
    create = room.event("m.room.create", ALICE, "", {"room_version": "12"}, prevs=())
    create.pdu["room_id"] = "!room:one.test"

    assert not allowed(room, create)


@pytest.mark.parametrize("version", ALL)
def test_the_room_version_is_known(version: str) -> None:
    room = Room(version)
    content = {**room.create.content, "room_version": "unheard-of"}

    assert not allowed(room, room.event("m.room.create", ALICE, "", content, prevs=()))


@pytest.mark.parametrize("version", ALL)
def test_a_creator_is_named_before_version_11(version: str) -> None:
    room = Room(version)
    create = room.event("m.room.create", ALICE, "", {"room_version": version}, prevs=())

    assert allowed(room, create) == (version in SINCE_11)


@pytest.mark.parametrize("creators", ["@bob:two.test", ["bob"], [1], {"a": 1}])
def test_additional_creators_are_user_ids(creators: Any) -> None:
    content = {"room_version": "12", "additional_creators": creators}
    room = Room("12")

    assert not allowed(room, room.event("m.room.create", ALICE, "", content, prevs=()))


# ---------------------------------------------------------------- 2, 3: auth events


@pytest.mark.parametrize("version", ALL)
def test_the_selected_auth_events_are_right(version: str) -> None:
    room = Room(version).with_levels(users={}).with_join_rule("public")
    message = room.message(ALICE)
    by_id = {event.event_id: event for event in room.state.values()}

    assert cited(room, message, *(by_id[event_id] for event_id in message.auth_event_ids))


@pytest.mark.parametrize("version", ALL)
def test_the_create_event_is_cited_before_version_12_only(version: str) -> None:
    room = Room(version)
    member = room.state[("m.room.member", ALICE)]
    message = room.message(ALICE)

    assert cited(room, message, member) == (version == "12")
    assert cited(room, message, member, room.create) == (version != "12")


@pytest.mark.parametrize("version", ALL)
def test_no_auth_event_is_cited_twice(version: str) -> None:
    room = Room(version)
    base = [] if version == "12" else [room.create]
    member = room.state[("m.room.member", ALICE)]
    other = room.join(ALICE)

    assert not cited(room, room.message(ALICE), *base, member, other)


@pytest.mark.parametrize("version", ALL)
def test_nothing_else_is_cited(version: str) -> None:
    room = Room(version).with_state("m.room.topic", "", {"topic": "tea"})
    base = [] if version == "12" else [room.create]

    assert not cited(room, room.message(ALICE), *base, room.state[("m.room.topic", "")])


@pytest.mark.parametrize("version", ALL)
def test_no_rejected_event_is_cited(version: str) -> None:
    room = Room(version)
    base = [] if version == "12" else [room.create]
    member = room.state[("m.room.member", ALICE)]

    assert not cited(room, room.message(ALICE), *base, member, rejected=(member.event_id,))


@pytest.mark.parametrize("version", ALL)
def test_no_event_of_another_room_is_cited(version: str) -> None:
    room = Room(version)
    base = [] if version == "12" else [room.create]
    stranger = room.event("m.room.member", ALICE, ALICE, {"membership": "join"})
    stranger.room_id = "!other:one.test"

    assert not cited(room, room.message(ALICE), *base, stranger)


@pytest.mark.parametrize("version", ALL)
def test_a_room_without_create_event_allows_nothing(version: str) -> None:
    room = Room(version)
    message = room.message(ALICE)

    assert isinstance(check_auth(message, {}), Rejected)


# ---------------------------------------------------------------- 4: m.federate; aliases


@pytest.mark.parametrize("version", ALL)
def test_a_closed_room_takes_no_other_servers(version: str) -> None:
    room = Room(version, **{"m.federate": False}).with_join_rule("public")

    assert not allowed(room, room.join(BOB))
    assert allowed(room, room.join("@dave:one.test"))


@pytest.mark.parametrize("version", ALL)
def test_aliases_have_a_rule_of_their_own_before_version_6(version: str) -> None:
    room = Room(version)
    own = room.event("m.room.aliases", BOB, "two.test", {"aliases": []})
    others = room.event("m.room.aliases", BOB, "one.test", {"aliases": []})

    assert allowed(room, own) == (version in BEFORE_6)
    assert not allowed(room, others)


# ---------------------------------------------------------------- 5: m.room.member


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("content", [{}, {"membership": 1}, {"membership": "visitor"}])
def test_a_membership_is_one_that_is_known(version: str, content: dict[str, Any]) -> None:
    room = Room(version)

    assert not allowed(room, room.event("m.room.member", ALICE, ALICE, content))


@pytest.mark.parametrize("version", ALL)
def test_the_creator_joins_first(version: str) -> None:
    room = Room(version)
    del room.state[("m.room.member", ALICE)]
    prevs = (room.create.event_id,)
    content = {"membership": "join"}

    assert allowed(room, room.event("m.room.member", ALICE, ALICE, content, prevs=prevs))
    assert not allowed(room, room.event("m.room.member", BOB, BOB, content, prevs=prevs))


@pytest.mark.parametrize("version", ALL)
def test_nobody_joins_for_somebody_else(version: str) -> None:
    room = Room(version).with_join_rule("public")

    assert not allowed(room, room.member(ALICE, BOB, "join"))


@pytest.mark.parametrize("version", ALL)
def test_a_ban_outlives_a_public_join_rule(version: str) -> None:
    room = Room(version).with_join_rule("public")
    assert allowed(room, room.join(BOB))

    room.with_member(BOB, "ban")

    assert not allowed(room, room.join(BOB))


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("rule", ["invite", "knock"])
def test_who_is_invited_may_join(version: str, rule: str) -> None:
    room = Room(version).with_join_rule(rule)
    assert not allowed(room, room.join(BOB))

    room.with_member(BOB, "invite")

    assert allowed(room, room.join(BOB)) == (rule == "invite" or version in SINCE_7)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("rule", "since"), [("restricted", SINCE_8), ("knock_restricted", SINCE_10)]
)
def test_a_member_with_power_to_invite_vouches(version: str, rule: str, since: list[str]) -> None:
    room = Room(version).with_join_rule(rule).with_member(CAROL, "join")
    vouched = room.join(BOB, join_authorised_via_users_server=ALICE)
    by_a_stranger = room.join(BOB, join_authorised_via_users_server="@dave:one.test")

    assert allowed(room, vouched) == (version in since)
    assert not allowed(room, by_a_stranger)
    assert not allowed(room, room.join(BOB))


@pytest.mark.parametrize("version", SINCE_8)
def test_who_vouches_needs_the_power_to_invite(version: str) -> None:
    room = Room(version).with_join_rule("restricted").with_member(CAROL, "join")
    room.with_levels(invite=50)

    assert not allowed(room, room.join(BOB, join_authorised_via_users_server=CAROL))


@pytest.mark.parametrize("version", ALL)
def test_an_unknown_join_rule_lets_nobody_in(version: str) -> None:
    room = Room(version).with_join_rule("private").with_member(BOB, "invite")

    assert not allowed(room, room.join(BOB))


@pytest.mark.parametrize("version", ALL)
def test_a_member_invites(version: str) -> None:
    room = Room(version)

    assert allowed(room, room.member(ALICE, BOB, "invite"))
    assert not allowed(room, room.member(CAROL, BOB, "invite"))
    for membership in ("join", "ban"):
        room.with_member(BOB, membership)
        assert not allowed(room, room.member(ALICE, BOB, "invite"))


@pytest.mark.parametrize("version", ALL)
def test_inviting_needs_the_invite_level(version: str) -> None:
    room = Room(version).with_member(CAROL, "join").with_levels(invite=10)

    assert not allowed(room, room.member(CAROL, BOB, "invite"))


@pytest.mark.parametrize("version", ALL)
def test_one_leaves_from_where_one_is(version: str) -> None:
    room = Room(version)
    for membership, may in (
        ("join", True),
        ("invite", True),
        ("knock", version in SINCE_7),
        ("ban", False),
        ("leave", False),
    ):
        room.with_member(BOB, membership)
        assert allowed(room, room.member(BOB, BOB, "leave")) == may


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_a_moderator_removes_those_below(version: str, membership: str) -> None:
    room = with_moderator(version)

    assert allowed(room, room.member(CAROL, BOB, membership))
    assert not allowed(room, room.member(BOB, CAROL, membership))


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_nobody_removes_an_equal(version: str, membership: str) -> None:
    room = with_moderator(version).with_levels(users={CAROL: 50, BOB: 50})

    assert not allowed(room, room.member(CAROL, BOB, membership))


@pytest.mark.parametrize("version", ALL)
def test_unbanning_needs_both_levels(version: str) -> None:
    room = with_moderator(version).with_member(BOB, "ban")
    assert allowed(room, room.member(CAROL, BOB, "leave"))

    room.with_levels(users={CAROL: 50}, ban=60)

    assert not allowed(room, room.member(CAROL, BOB, "leave"))


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_who_left_removes_nobody(version: str, membership: str) -> None:
    room = with_moderator(version).with_member(CAROL, "leave")

    assert not allowed(room, room.member(CAROL, BOB, membership))


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("rule", "since"),
    [("knock", SINCE_7), ("knock_restricted", SINCE_10), ("public", []), ("invite", [])],
)
def test_knocking_needs_its_join_rule(version: str, rule: str, since: list[str]) -> None:
    room = Room(version).with_join_rule(rule)

    assert allowed(room, room.member(BOB, BOB, "knock")) == (version in since)


@pytest.mark.parametrize("version", SINCE_7)
@pytest.mark.parametrize("membership", ["ban", "invite", "join"])
def test_who_is_banned_or_in_does_not_knock(version: str, membership: str) -> None:
    room = Room(version).with_join_rule("knock").with_member(BOB, membership)

    assert not allowed(room, room.member(BOB, BOB, "knock"))
    assert not allowed(room, room.member(ALICE, CAROL, "knock"))


# ---------------------------------------------------------------- 6 to 9: all other events


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("membership", ["invite", "leave", "ban", "knock"])
def test_only_who_is_joined_sends(version: str, membership: str) -> None:
    room = Room(version).with_member(BOB, membership)

    assert allowed(room, room.message(ALICE))
    assert not allowed(room, room.message(BOB))


@pytest.mark.parametrize("version", ALL)
def test_state_needs_the_state_level(version: str) -> None:
    room = with_moderator(version)

    assert allowed(room, room.event("m.room.topic", CAROL, "", {}))
    assert not allowed(room, room.event("m.room.topic", BOB, "", {}))
    assert allowed(room, room.message(BOB))


@pytest.mark.parametrize("version", ALL)
def test_without_power_levels_anybody_sets_state(version: str) -> None:
    room = Room(version).with_member(BOB, "join")

    assert allowed(room, room.event("m.room.topic", BOB, "", {}))


@pytest.mark.parametrize("version", ALL)
def test_an_event_type_can_have_its_own_level(version: str) -> None:
    room = with_moderator(version).with_levels(users={CAROL: 50}, events={"m.room.message": 60})

    assert not allowed(room, room.message(CAROL))


@pytest.mark.parametrize("version", ALL)
def test_state_with_a_user_id_as_key_is_that_users(version: str) -> None:
    room = Room(version).with_member(BOB, "join")

    assert allowed(room, room.event("org.example", BOB, BOB, {}))
    assert not allowed(room, room.event("org.example", BOB, ALICE, {}))


@pytest.mark.parametrize("version", ALL)
def test_a_third_party_invite_needs_the_invite_level(version: str) -> None:
    room = with_moderator(version).with_levels(invite=50, state_default=0)

    assert not allowed(room, room.event("m.room.third_party_invite", BOB, "token", {}))


@pytest.mark.parametrize("version", ALL)
def test_redacting_others_is_an_auth_rule_in_versions_1_and_2(version: str) -> None:
    room = with_moderator(version)
    others = {"redacts": "$x:one.test"}
    if version in SINCE_11:
        event = room.event("m.room.redaction", BOB, None, others)
    else:
        event = room.event("m.room.redaction", BOB, None, {}, **others)

    assert allowed(room, event) == (version not in ("1", "2"))
