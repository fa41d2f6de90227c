"""JSON bodies: how deep they may be nested, whatever is in their strings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.errors import BadJson, NotJson
from homeserver.web import MAX_JSON_DEPTH, parse_json

TRICKY = st.text('\\"[]{}a', max_size=8)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
)


def depth_of(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, inner), default=0)


@given(VALUES, st.integers(0, 2 * MAX_JSON_DEPTH))
def test_json_is_taken_up_to_a_depth_whatever_its_strings_hold(value, levels):
    for level in range(levels):
        value = [value] if level % 2 else {'"]': value}
    # more brackets than levels are allowed, so that they are looked at
    body = json.dumps([value, ["[[{"] * 200, [[]] * 200]).encode()
    depth = max(2, depth_of(value)) + 1

    if depth <= MAX_JSON_DEPTH:
        assert parse_json(body) == json.loads(body)
    else:
        with pytest.raises(BadJson):
            parse_json(body)


@pytest.mark.parametrize("body", [b"", b"[" * 500, b"]" * 500, b'"[' + b"[" * 500, b"[" * 99_999])
def test_what_is_no_json_is_said_to_be_none(body):
    with pytest.raises(NotJson):
        parse_json(body)
