"""The word that a pattern begins with is in every ASCII text that the pattern matches."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from homeserver.services.policy.patterns import first_word
from homeserver.services.policy.text import words_of


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        (r"\bfree\b", "free"),
        (r"(?i)\bFree\s+money[0-9]{2,}", "free"),
        (r"\bfree money", "free"),
        (r"\bfree\s", "free"),
        (r"\bfree_2\b.*$", "free_2"),
    ],
)
def test_a_pattern_that_begins_with_a_whole_word_has_it(pattern: str, word: str) -> None:
    assert first_word(pattern) == word


@pytest.mark.parametrize(
    "pattern",
    [
        "free",
        r"free\b",
        r"\bfree",
        r"\bfree+\b",
        r"\bfree\s*money",
        r"\bfree\s?money",
        r"\bfree\s{0,2}money",
        r"\bfree\b?money",
        r"\bfree ?money",
        r"\bfree\b|casino",
        r"(?:\bfree\b)?casino",
        r"(?s)\bfree\b",
        r"\bnaïve\b",
        r"\b(free)\b",
        r"\Bfree\b",
    ],
)
def test_of_others_nothing_is_said(pattern: str) -> None:
    assert first_word(pattern) is None


PIECES = (r"\b", r"\s", " ", "a", "b", "B", "+", "*", "?", "{0,2}", "|", "(?i)", "(", ")", "[ab]")


@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=7),
    begins=st.sampled_from(("", r"\b", r"(?i)\b")),
    texts=st.lists(st.text("abB _.\n", max_size=10), min_size=1, max_size=10),
)
def test_no_pattern_matches_without_its_first_word(
    pieces: list[str], begins: str, texts: list[str]
) -> None:
    pattern = begins + "".join(pieces)
    word = first_word(pattern)
    try:
        compiled = re2.compile(pattern)
    except re2.error:
        return

    found = [text for text in texts if word is not None and compiled.search(text)]

    assert all(word in words_of(text.lower()) for text in found)
