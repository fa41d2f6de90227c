"""Glob-style matching."""

from __future__ import annotations

import re
import time
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.globs import glob_to_regex, star_source, word_matcher

GLOBS = st.text(st.sampled_from("ab.*?"), max_size=8)
TEXTS = st.text(st.sampled_from("ab.\n"), max_size=12)


@given(GLOBS, TEXTS)
def test_a_glob_matches_as_the_naive_translation_does(glob: str, text: str) -> None:
    """The standard library's translation is right, but slow for many stars."""
    naive = re.compile(translate(glob))

    assert bool(glob_to_regex(glob).match(text)) == bool(naive.match(text))


@given(GLOBS, TEXTS)
def test_in_types_only_the_star_is_a_wildcard(glob: str, text: str) -> None:
    naive = re.compile(translate(glob.replace("?", "[?]")))

    assert bool(re.match(star_source(glob), text, re.DOTALL)) == bool(naive.match(text))


@given(GLOBS, st.text(st.sampled_from("ab.- _"), max_size=12))
def test_a_word_glob_matches_some_part_between_word_boundaries(glob: str, text: str) -> None:
    whole = re.compile(translate(glob))
    starts_and_ends = [place for place in range(len(text) + 1) if is_boundary(text, place)]
    expected = any(
        whole.match(text[start:end])
        for start in starts_and_ends
        for end in starts_and_ends
        if start <= end
    )

    assert word_matcher(glob)(text) == expected


def is_boundary(text: str, place: int) -> bool:
    """Whether the place is not between two word characters."""
    around = text[max(place - 1, 0) : place + 1]
    return not (0 < place < len(text) and re.fullmatch(r"\w\w", around, re.ASCII))


# Spec: push module, event_match, the examples.
@pytest.mark.parametrize(
    ("glob", "text", "matches"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("cake", "pancakes", False),
        ("cake", "a cake, please", True),
        ("cake", "cake", True),
        ("cake", "cake_shop", False),
        ("cake", "Ücake", True),
        ("cake", "cupcake cake", True),
        ("*cake", "cupcake", True),
        ("cake*", "cupcakes", False),
        ("c?ke", "a coke", True),
        ("@room", "hello @room!", True),
        ("", "", True),
        ("*", "anything", True),
        ("line", "first\nline", True),
        ("first*line", "first\nline", True),
    ],
)
def test_a_word_glob_matches_words(glob: str, text: str, matches: bool) -> None:
    assert word_matcher(glob)(text) is matches


@pytest.mark.parametrize(
    "glob", ["*a" * 30 + "*b", "a*" * 30 + "b", "?*" * 30 + "b", "*" * 200 + "b"]
)
def test_no_glob_makes_matching_slow(glob: str) -> None:
    text = "a" * 65_000
    started = time.process_time()

    glob_to_regex(glob).match(text)
    word_matcher(glob)(text)
    word_matcher(glob)(text + "b")

    assert time.process_time() - started < 5
