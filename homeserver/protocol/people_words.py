"""The words by which people are found, and a query for them.  Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

WORD = re.compile(r"[^\W_]+")
MAX_WORDS = 24
MAX_WORD_LENGTH = 64
MAX_QUERY_LENGTH = 255
SERVER_MARK = "@"  # before a server name: no word of a name begins so


def fold(text: str) -> str:
    """A text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def split(text: str) -> Iterator[str]:
    """The words of a text, folded."""
    for word in WORD.findall(fold(text)):
        yield word[:MAX_WORD_LENGTH]


def words_of(user_id: str, name: str | None) -> list[str]:
    """The words by which a user is found: of the name and the localpart, and the server's name."""
    localpart, _, server_name = user_id[1:].partition(":")
    words = dict.fromkeys((*split((name or "")[:MAX_QUERY_LENGTH]), *split(localpart)))
    return [*list(words)[:MAX_WORDS], SERVER_MARK + fold(server_name)]


def query_words(text: str) -> list[str]:
    """The beginnings of words that a query asks for, all of which somebody must have.

    An address, a user ID, or the beginning of one is taken for what it is.
    """
    words: dict[str, None] = {}
    for part in text[:MAX_QUERY_LENGTH].split():
        separator = ":" if part.startswith("@") else "@"
        names, _, server_name = part.partition(separator)
        words.update(dict.fromkeys(split(names)))
        if server_name:
            words[SERVER_MARK + fold(server_name)[:MAX_QUERY_LENGTH]] = None
    return list(words)[:MAX_WORDS]
