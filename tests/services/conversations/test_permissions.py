"""Roles and permissions as power levels, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.auth_rules import check_auth
from homeserver.protocol.auth_rules.verdict import ALLOWED
from homeserver.protocol.room_versions import ROOM_VERSIONS, V11, V12, RoomVersion
from homeserver.services.conversations.permissions import (
    PERMISSIONS,
    CannotBe,
    Standing,
    group_levels,
)
from homeserver.services.conversations.shapes.conversations import Permission, Permissions, Role
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room

ROLES = ("member", "admin", "owner")
VERSIONS = [ROOM_VERSIONS[name] for name in ("6", "10", "11", "12")]

roles = st.sampled_from(ROLES)
versions = st.sampled_from(VERSIONS)
level = st.integers(min_value=-10, max_value=200)
changes = st.dictionaries(st.sampled_from(PERMISSIONS), roles).filter(
    lambda found: found.get("administer") != "member"
)
kinds = st.sampled_from(
    ["m.room.message", "m.room.name", "m.room.redaction", "m.reaction", "m.room.power_levels"]
)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Power levels of rooms that others made, in which Alice, the creator, is an owner."""
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "users_default": level,
                "events_default": level,
                "state_default": level,
                "ban": level,
                "kick": level,
                "redact": level,
                "invite": level,
                "events": st.dictionaries(kinds, level),
                "users": st.dictionaries(st.sampled_from([BOB, CAROL]), level),
            },
        )
    )


def standing(content: dict[str, Any] | None, version: RoomVersion) -> Standing:
    if content is not None and not version.privileged_creators:
        content = {**content, "users": {**content.get("users", {}), ALICE: 500}}
    return Standing(content, frozenset({ALICE}), version)


@given(contents(), versions, changes)
def test_what_is_set_is_read_back(
    content: dict[str, Any], version: RoomVersion, wanted: dict[Permission, Role]
) -> None:
    """Each permission that was changed belongs to the role that was named."""
    after = standing(standing(content, version).with_permissions(wanted), version).permissions()

    assert {name: getattr(after, name) for name in wanted} == wanted


@given(contents(), versions, changes)
def test_nothing_else_changes_but_for_what_depends_on_it(
    content: dict[str, Any], version: RoomVersion, wanted: dict[Permission, Role]
) -> None:
    """Deleting takes that one may send a redaction, which goes by who may send."""
    before = standing(content, version)

    after = standing(before.with_permissions(wanted), version)

    for name in PERMISSIONS:
        dependent = name == "delete_messages" and "send" in wanted
        if name not in wanted and not dependent:
            assert after.required(name) == before.required(name)


@given(contents(), versions, changes)
def test_the_owner_is_never_locked_out(
    content: dict[str, Any], version: RoomVersion, wanted: dict[Permission, Role]
) -> None:
    """Whatever is set, the owner may do everything after it."""
    after = standing(standing(content, version).with_permissions(wanted), version)

    assert after.role(ALICE) == "owner"
    assert after.effective(ALICE) == list(PERMISSIONS)


@given(contents(), versions, roles)
def test_a_role_that_is_given_is_read_back(
    content: dict[str, Any], version: RoomVersion, role: Role
) -> None:
    after = standing(standing(content, version).with_role(BOB, role), version)

    assert after.role(BOB) == role
    assert after.role(ALICE) == "owner"


@given(contents(), st.sampled_from(VERSIONS[:-1]))
def test_who_hands_over_is_an_admin_from_then_on(
    content: dict[str, Any], version: RoomVersion
) -> None:
    handed = standing(content, version).handed_over(ALICE, BOB)

    after = Standing(handed, frozenset({ALICE}), version)
    assert (after.role(BOB), after.role(ALICE)) == ("owner", "admin")
    assert after.effective(BOB) == list(PERMISSIONS)


@given(versions, changes)
def test_a_new_group_is_as_it_was_asked_for(
    version: RoomVersion, wanted: dict[Permission, Role]
) -> None:
    made = Standing(group_levels(ALICE, wanted, version), frozenset({ALICE}), version)

    defaults = Permissions()
    expected = {name: wanted.get(name, getattr(defaults, name)) for name in PERMISSIONS}
    assert {name: getattr(made.permissions(), name) for name in PERMISSIONS} == expected
    assert made.role(ALICE) == "owner"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_room_without_power_levels_is_its_creators(version: RoomVersion) -> None:
    before = Standing(None, frozenset({ALICE}), version)

    after = Standing(before.with_permissions({"invite": "admin"}), frozenset({ALICE}), version)

    assert after.role(ALICE) == "owner"
    assert (after.role(BOB), after.permissions().invite) == ("member", "admin")


@given(contents(), versions, changes)
def test_the_auth_rules_allow_an_owner_what_is_set(
    content: dict[str, Any], version: RoomVersion, wanted: dict[Permission, Role]
) -> None:
    """Another server lets the owner's change pass, too."""
    if not version.privileged_creators:
        content = {**content, "users": {**content.get("users", {}), ALICE: 500}}
    room = Room(version.identifier).with_levels(**content)
    changed = Standing(content, frozenset({ALICE}), version).with_permissions(wanted)

    verdict = check_auth(room.event("m.room.power_levels", ALICE, "", changed), room.state)

    assert verdict == ALLOWED


@given(contents(), st.sampled_from(VERSIONS[:-1]))
def test_the_auth_rules_allow_handing_over(content: dict[str, Any], version: RoomVersion) -> None:
    """An owner may raise somebody to their own level, and lower themself."""
    users = {**content.get("users", {}), ALICE: 500}
    content = {**content, "users": users}
    room = Room(version.identifier).with_levels(**content)
    changed = Standing(content, frozenset({ALICE}), version).handed_over(ALICE, CAROL)

    verdict = check_auth(room.event("m.room.power_levels", ALICE, "", changed), room.state)

    assert verdict == ALLOWED


def test_members_answer_where_only_admins_send() -> None:
    """Reactions, votes and answers to events stay open in an announcement group."""
    content = group_levels(ALICE, {"send": "admin"}, V11)

    assert content["events_default"] == 50
    assert content["events"]["m.reaction"] == 0
    assert content["events"]["m.poll.response"] == 0
    assert "send" not in Standing(content, frozenset({ALICE}), V11).effective(BOB)


def test_ownership_cannot_be_handed_over_in_version_12() -> None:
    with pytest.raises(CannotBe, match="stays its owner"):
        standing({}, V12).handed_over(ALICE, BOB)
    with pytest.raises(CannotBe, match="stays its owner"):
        standing({}, V12).with_role(ALICE, "member")


def test_members_cannot_be_made_administrators() -> None:
    with pytest.raises(CannotBe):
        standing({}, V11).with_permissions({"administer": "member"})


def test_where_nobody_is_an_owner_nothing_is_left_to_owners() -> None:
    """In a room whose highest level is 60 a permission of owners would be nobody's."""
    room = Standing({"users": {BOB: 60}}, frozenset({ALICE}), V11)

    with pytest.raises(CannotBe, match="no owner"):
        room.with_permissions({"invite": "owner"})
