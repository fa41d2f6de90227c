"""How many rows of the audit trail one instance may cause: the rest is counted.

Otherwise whoever is refused a hundred times a second fills the disk with it.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec.structs import replace

from homeserver.services.policy.rates import Rate
from homeserver.storage.policy import VerdictRow

CONTENT = "content"
HOUR_SECONDS = 3600.0
ROWS_OF_CONTENT = 1_000  # in an hour, of one rule: each is of an event that is on disk, too
ROWS = 30  # of what was refused before it became an event here
MAX_KINDS = 10_000

Key = tuple[str, str, str, str, str]


class RowBudget:
    """Lets rows about what other instances send through, so many of each kind."""

    def __init__(self) -> None:
        self._content = Rate(ROWS_OF_CONTENT, HOUR_SECONDS)
        self._other = Rate(ROWS, HOUR_SECONDS)
        self._left_out: OrderedDict[Key, tuple[int, VerdictRow]] = OrderedDict()

    def admits(self, row: VerdictRow) -> bool:
        """Whether a row is to be written; if not, it is counted."""
        if row.direction != "in":
            return True
        key = (row.origin, row.stage, row.rule, row.action, row.mode)
        rate = self._content if row.stage == CONTENT else self._other
        if not rate.take(" ".join(key), row.created_at / 1000):
            return True
        count, first = self._left_out.get(key, (0, row))
        self._left_out[key] = (count + 1, first)
        if len(self._left_out) > MAX_KINDS:
            self._left_out.popitem(last=False)
        return False

    def summaries(self, now_ms: int) -> list[VerdictRow]:
        """A row for each kind of which some were left out, which says how many."""
        left_out, self._left_out = self._left_out, OrderedDict()
        return [
            replace(
                row,
                created_at=now_ms,
                room_id=None,
                event_id=None,
                sender=None,
                reason=f"{count} more like this: {row.reason or ''}".removesuffix(": "),
            )
            for count, row in left_out.values()
        ]
