"""Addresses, times and cursors as the API spells them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.errors import InvalidParam
from homeserver.services.conversations.shapes.pages import make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import address, parse_person
from homeserver.services.conversations.shapes.times import LATEST_MS, parse_time, rfc3339


@given(st.integers(0, LATEST_MS))
def test_a_time_is_read_back_to_the_millisecond(ms: int) -> None:
    assert parse_time(rfc3339(ms)) == ms


@given(st.integers())
def test_any_number_of_milliseconds_is_some_time(ms: int) -> None:
    assert rfc3339(ms).endswith("Z")


@pytest.mark.parametrize("text", ["", "2026-11-21", "2026-11-21T09:41:16", "noon"])
def test_a_time_without_its_offset_is_refused(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_time(text)


@given(
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100),
)
def test_a_cursor_bears_what_was_put_in(number: int, text: str) -> None:
    number %= 2**62

    assert parse_cursor(make_cursor(number, text), int, str) == (number, text)


@given(st.text(max_size=60))
def test_any_other_text_is_no_cursor(text: str) -> None:
    if text == make_cursor(1):
        return
    try:
        (value,) = parse_cursor(text, int)
    except InvalidParam:
        return
    assert isinstance(value, int)


@pytest.mark.parametrize("text", ["bob@other.example", "@bob:other.example"])
def test_an_address_and_a_user_id_mean_the_same(text: str) -> None:
    assert address(parse_person(text)) == "bob@other.example"


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(InvalidParam):
        parse_person("bob")
