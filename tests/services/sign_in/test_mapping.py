"""User names made of what an issuer says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.identifiers import is_new_localpart
from homeserver.services.sign_in.mapping import display_name, localpart
from homeserver.services.sign_in.tokens import TokenRefused


@pytest.mark.parametrize(
    ("template", "claims", "wanted"),
    [
        ("{sub}", {"sub": "alice"}, "alice"),
        ("shop-{sub}", {"sub": "17"}, "shop-17"),
        ("shop-{sub}", {"sub": 17}, "shop-17"),
        ("{first}.{last}", {"first": "Alice", "last": "O'Hara"}, "alice.o=27hara"),
        ("{sub}", {"sub": "a=b@c"}, "a=3db=40c"),
        ("{sub}", {"sub": "jürgen"}, "j=c3=bcrgen"),
    ],
)
def test_a_template_is_filled_with_claims(
    template: str, claims: dict[str, str], wanted: str
) -> None:
    assert localpart(template, claims) == wanted


@pytest.mark.parametrize(
    "claims", [{}, {"sub": ""}, {"sub": None}, {"sub": ["a"]}, {"sub": True}, {"sub": "_a"}]
)
def test_without_a_usable_claim_there_is_no_name(claims: dict[str, object]) -> None:
    with pytest.raises(TokenRefused):
        localpart("{sub}", claims)


@given(st.text(min_size=1, max_size=30))
def test_whatever_the_claim_the_name_can_be_one(text: str) -> None:
    try:
        name = localpart("x{sub}", {"sub": text})
    except TokenRefused:
        assert len(text.encode("utf-8", "replace")) * 3 > 120
    else:
        assert is_new_localpart(name)


def test_a_display_name_that_lacks_a_claim_is_none() -> None:
    assert display_name("{name}", {}) is None
    assert display_name("{given} {family}", {"given": "Ada", "family": "L\0 "}) == "Ada L"
    assert display_name(None, {"name": "x"}) is None
