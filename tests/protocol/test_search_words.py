"""The words by which messages are found."""

from __future__ import annotations

import sys

from hypothesis import example, given
from hypothesis import strategies as st

from homeserver.protocol.search_words import (
    MAX_WORD_LENGTH,
    Term,
    fold,
    highlights,
    index_words,
    query_terms,
)


def test_case_and_accents_do_not_matter() -> None:
    assert index_words(["Crème BRÛLÉE, naïve"]) == ["creme", "brulee", "naive"]


def test_scripts_without_spaces_are_taken_by_pairs() -> None:
    assert index_words(["東京都 2020年"]) == ["東京", "京都", "都", "2020", "年"]
    assert query_terms("東京都") == [Term("東京"), Term("京都")]
    assert query_terms("都") == [Term("都", prefix=True)]


def test_only_the_last_word_may_be_unfinished() -> None:
    assert query_terms("two wor") == [Term("two"), Term("wor", prefix=True)]
    assert query_terms("two words ") == [Term("two"), Term("words")]


def test_places_are_counted_in_characters_of_the_text_as_it_was() -> None:
    text = "💡 Größe: größer"

    assert highlights(text, query_terms("große")) == [(2, 5), (9, 6)]
    assert highlights("今日は東京です", query_terms("東京")) == [(3, 2)]


def test_what_is_folded_stays_as_it_is() -> None:
    letters = [letter for letter in map(chr, range(sys.maxunicode + 1)) if letter.isprintable()]

    assert [letter for letter in letters if fold(fold(letter)) != fold(letter)] == []


@given(st.text(max_size=60))
@example("»𝐴")
def test_every_word_of_a_text_finds_it(text: str) -> None:
    words = index_words([text])

    for word in words:
        (term, *_) = query_terms(word) or [Term(word)]
        assert any(term.fits(other) for other in words)


@given(st.text(max_size=80), st.text(max_size=20))
def test_places_lie_within_the_text(text: str, query: str) -> None:
    for start, length in highlights(text, query_terms(query)):
        assert 0 <= start < start + length <= len(text)


@given(st.text(max_size=200))
def test_no_word_bears_anything_but_letters_and_digits(text: str) -> None:
    for word in [*index_words([text]), *(term.word for term in query_terms(text))]:
        assert 0 < len(word) <= MAX_WORD_LENGTH
        assert not set(word) & set("'\\~:@#&|!()<> \0")
