"""What other instances send is only taken where it is fit for clients."""

from __future__ import annotations

import pytest

from homeserver.services.values import is_compliant_user_id


@pytest.mark.parametrize("user_id", ["@bob:two.example", "@Bob!~:two.example", "@b:2.example:80"])
def test_users_may_have_any_visible_ascii_characters(user_id: str) -> None:
    assert is_compliant_user_id(user_id)


@pytest.mark.parametrize(
    "user_id", ["@:two.example", "@jürgen:two.example", "@a b:two.example", "@\x7f:two.example", 3]
)
def test_historical_users_are_not_for_clients(user_id: object) -> None:
    assert not is_compliant_user_id(user_id)
