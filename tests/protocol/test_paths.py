"""Dot-separated property paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.paths import get_path, set_path, split_path


# Spec: appendices, dot-separated property paths.
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("content.body", ("content", "body")),
        ("content.m\\.relates_to", ("content", "m.relates_to")),
        ("content.m\\\\foo", ("content", "m\\foo")),
        ("content.\\x", ("content", "\\x")),
        ("type", ("type",)),
        ("", ("",)),
        ("a..b", ("a", "", "b")),
        ("a.", ("a", "")),
        ("a\\", ("a\\",)),
        ("a\\\\.b", ("a\\", "b")),
    ],
)
def test_a_path_is_split_at_dots_that_are_not_escaped(path: str, names: tuple[str, ...]) -> None:
    assert split_path(path) == names


@given(st.lists(st.text(st.sampled_from("ab.\\")), min_size=1, max_size=4))
def test_any_names_can_be_written_as_a_path(names: list[str]) -> None:
    path = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)

    assert split_path(path) == tuple(names)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("a", "b"), 1),
        (("a",), {"b": 1, "n": None}),
        (("a", "n"), None),
        (("a", "x"), "nothing"),
        (("a", "b", "c"), "nothing"),
        (("list", "0"), "nothing"),
        (("text", "0"), "nothing"),
    ],
)
def test_a_path_leads_to_a_property_or_to_the_default(path: tuple[str, ...], found: Any) -> None:
    value = {"a": {"b": 1, "n": None}, "list": [1], "text": "t"}

    assert get_path(value, path, "nothing") == found


def test_a_property_is_put_where_its_path_leads() -> None:
    value: dict[str, Any] = {"a": 1}

    set_path(value, ("b", "c", "d"), 2)
    set_path(value, ("b", "e"), 3)
    set_path(value, ("a", "f"), 4)

    assert value == {"a": {"f": 4}, "b": {"c": {"d": 2}, "e": 3}}
