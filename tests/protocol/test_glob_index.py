"""Many globs at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.glob_index import GlobIndex
from homeserver.protocol.globs import glob_to_regex

GLOBS = ["evil.example", "*.evil.example", "spam*", "a?c", "*middle*", "x*y*z"]


@pytest.mark.parametrize(
    ("text", "glob"),
    [
        ("evil.example", "evil.example"),
        ("a.evil.example", "*.evil.example"),
        ("notevil.example", None),
        ("spam1", "spam*"),
        ("abc", "a?c"),
        ("in the middle of it", "*middle*"),
        ("xyz", "x*y*z"),
        ("xz", None),
        ("", None),
    ],
)
def test_a_text_finds_the_glob_that_matches_it(text: str, glob: str | None) -> None:
    index = GlobIndex((glob, glob) for glob in GLOBS)

    assert index.find(text) == glob


def test_the_exact_one_comes_first() -> None:
    index = GlobIndex([("*", "any"), ("evil.example", "that one")])

    assert (index.find("evil.example"), index.find("other")) == ("that one", "any")


def test_an_index_without_globs_is_false() -> None:
    assert not GlobIndex[str]([])
    assert GlobIndex([("*", 1)])


@given(st.lists(st.text("ab*?", max_size=5), max_size=6), st.text("ab", max_size=6))
def test_it_finds_something_exactly_if_one_of_the_globs_matches(
    globs: list[str], text: str
) -> None:
    index = GlobIndex((glob, glob) for glob in globs)

    found = index.find(text)

    assert (found is not None) == any(glob_to_regex(glob).match(text) for glob in globs)
    assert found is None or glob_to_regex(found).match(text)
