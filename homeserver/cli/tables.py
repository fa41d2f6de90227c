"""Tables for people, in plain text."""

from __future__ import annotations

from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their heads, each column as wide as its longest entry; control characters shown
    as escapes, so that no name can play tricks on a terminal."""
    lines = [list(heads), *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _plain(cell: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cell)
