"""Single tests that rules are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from homeserver.protocol.globs import glob_to_regex


def keyword_pattern(keywords: Sequence[str]) -> re.Pattern[str] | None:
    """One pattern that finds any keyword as a whole word, in any case."""
    if not keywords:
        return None
    words = "|".join(re.escape(word) for word in keywords)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


def glob(pattern: str | None) -> re.Pattern[str] | None:
    """A compiled glob; None for none."""
    return glob_to_regex(pattern) if pattern is not None else None
