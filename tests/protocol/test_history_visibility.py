"""Who may see an event.  Spec: room history visibility."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.history_visibility import server_may_see, user_may_see, visibility_of


@pytest.mark.parametrize(
    ("visibility", "membership", "joined_later", "sees"),
    [
        ("world_readable", "leave", False, True),
        ("shared", "leave", False, False),
        ("shared", "leave", True, True),
        ("shared", "join", False, True),
        ("invited", "invite", False, True),
        ("invited", "leave", True, False),
        ("invited", "join", False, True),
        ("joined", "invite", True, False),
        ("joined", "join", False, True),
        ("joined", "ban", True, False),
    ],
)
def test_a_user_sees_what_the_setting_lets_them(
    visibility: str, membership: str, joined_later: bool, sees: bool
) -> None:
    assert user_may_see(visibility, membership, joined_later=joined_later) == sees


@pytest.mark.parametrize(
    ("visibility", "memberships", "in_room", "sees"),
    [
        ("world_readable", [], False, True),
        ("shared", [], True, True),
        ("shared", [], False, False),
        ("shared", ["invite"], False, False),
        ("shared", ["join"], False, True),
        ("invited", ["leave"], True, False),
        ("invited", ["leave", "invite"], True, True),
        ("invited", ["leave", "invite"], False, True),
        ("joined", ["invite"], True, False),
        ("joined", ["join"], False, True),
    ],
)
def test_a_server_sees_what_one_of_its_users_may(
    visibility: str, memberships: list[str], in_room: bool, sees: bool
) -> None:
    assert server_may_see(visibility, memberships, in_room=in_room) == sees


@pytest.mark.parametrize(
    "content", [None, {}, {"history_visibility": 1}, {"history_visibility": ""}]
)
def test_what_is_not_a_setting_is_shared(content: Any) -> None:
    assert visibility_of(content) == "shared"
