"""Character references of HTML, as hostile people write them."""

from __future__ import annotations

import html
import re

_NO_CHARACTER = re.compile(r"&#[0-9]{8,};?")


def unescape(text: str) -> str:
    """A text with its references resolved; those with more digits than any character has are none.

    Never fails: Python's own refuses numbers of thousands of digits.
    """
    return html.unescape(_NO_CHARACTER.sub("\ufffd", text)) if "&" in text else text
