"""The words of a text, as search compares them: in any language, without case and accents.  Pure.

Scripts that put no spaces between words are taken by pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

import re2
from msgspec import Struct

MAX_WORD_LENGTH = 64
MAX_WORDS = 4_000  # of one text
MAX_QUERY_WORDS = 16
MAX_QUERY_LENGTH = 500
ASCII_WORD = re.compile("[a-z0-9]+")
WORD = re2.compile(r"[\p{L}\p{N}\p{M}]+")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
RUN = re2.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
UNSPACED = re2.compile(rf"^[{_UNSPACED}]")


class Term(Struct, frozen=True):
    """A word that is searched; ``prefix``: words that begin so are meant as well."""

    word: str
    prefix: bool = False

    def fits(self, word: str) -> bool:
        """Whether a word of a text is meant."""
        return word.startswith(self.word) if self.prefix else word == self.word


def fold(text: str) -> str:
    """A text without case and accents."""
    if text.isascii():
        return text.lower()
    # Taken apart before as well: a mathematical A has no lower case, the A it stands for has.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def words(text: str) -> Iterator[str]:
    """The words of a text, folded, in order."""
    folded = fold(text)
    if folded.isascii():
        for word in ASCII_WORD.findall(folded):
            yield word[:MAX_WORD_LENGTH]
        return
    for part in WORD.findall(folded):
        if part.isascii():
            yield part[:MAX_WORD_LENGTH]
            continue
        for run in RUN.findall(part):
            if UNSPACED.search(run):
                yield from (run[at : at + 2] for at in range(len(run)))
            else:
                yield run[:MAX_WORD_LENGTH]


def index_words(texts: Iterable[str]) -> list[str]:
    """The words of what a message says, in order."""
    found: list[str] = []
    for text in texts:
        for word in words(text):
            found.append(word)
            if len(found) == MAX_WORDS:
                return found
    return found


def query_terms(text: str) -> list[Term]:
    """What a query asks for: all its words, the last one maybe not yet finished."""
    text = text[:MAX_QUERY_LENGTH]
    terms: dict[Term, None] = {}
    parts = WORD.findall(fold(text))
    open_end = bool(parts) and fold(text).endswith(parts[-1])
    for number, part in enumerate(parts):
        for run in RUN.findall(part):
            last = open_end and number == len(parts) - 1 and part.endswith(run)
            if not UNSPACED.search(run):
                terms[Term(run[:MAX_WORD_LENGTH], last and len(run) < MAX_WORD_LENGTH)] = None
            elif len(run) == 1:
                terms[Term(run, prefix=True)] = None
            else:
                terms.update({Term(run[at : at + 2]): None for at in range(len(run) - 1)})
    return list(terms)[:MAX_QUERY_WORDS]


def highlights(text: str, terms: Iterable[Term]) -> list[tuple[int, int]]:
    """Where in a text the words of a query stand: offsets and lengths in characters."""
    wanted = list(terms)
    found: list[tuple[int, int]] = []
    for match in WORD.finditer(text):
        start = match.start()
        for run in RUN.finditer(match.group()):
            at = start + run.start()
            if UNSPACED.search(run.group()):
                _merge(found, _pairs(run.group(), at, wanted))
            elif _fits(run.group(), wanted):
                found.append((at, len(run.group())))
    return found


def _fits(word: str, terms: Iterable[Term]) -> bool:
    folded = [part[:MAX_WORD_LENGTH] for part in WORD.findall(fold(word))]
    return any(term.fits(part) for term in terms for part in folded)


def _pairs(run: str, at: int, terms: list[Term]) -> Iterator[tuple[int, int]]:
    """Where pairs of characters, or single ones, are meant."""
    for place in range(len(run)):
        for length in (2, 1):
            piece = fold(run[place : place + length])
            if piece and any(term.word == piece for term in terms):
                yield at + place, min(length, len(run) - place)


def _merge(found: list[tuple[int, int]], more: Iterable[tuple[int, int]]) -> None:
    for start, length in more:
        if found and start <= sum(found[-1]):
            first = found[-1][0]
            found[-1] = (first, max(sum(found[-1]), start + length) - first)
        else:
            found.append((start, length))
