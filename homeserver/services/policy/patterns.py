"""What a regular expression of an admin's asks for, as far as that can be told without matching."""

from __future__ import annotations

import re

# A word that begins the pattern and ends where the text's word must end: neither may be repeated.
_FIRST_WORD = re.compile(
    r"(?:\(\?i\))?\\b(?P<word>[A-Za-z0-9_]+)(?:\\b(?![*+?{])|(?:\\s| )(?:\+|(?![*?{])))"
)


def first_word(pattern: str) -> str | None:
    """The word, in lower case, that an ASCII text must have for an RE2 pattern to match it.

    None where that is not plain to see: it is of patterns without alternatives that begin with
    ``\\bword\\b`` or ``\\bword\\s``.
    """
    match = _FIRST_WORD.match(pattern) if "|" not in pattern else None
    return match["word"].lower() if match is not None else None
