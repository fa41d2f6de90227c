"""The audit trail, written behind the judge's back: nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from homeserver.metrics import POLICY_MATCHES
from homeserver.services.background_batches import BackgroundBatches
from homeserver.services.policy.row_budget import RowBudget
from homeserver.services.policy.rules import Rule
from homeserver.services.policy.subject import Subject
from homeserver.storage import policy as storage
from homeserver.storage.database import Database
from homeserver.storage.policy import VerdictRow

SUM_UP_SECONDS = 600.0


class AuditTrail:
    """Takes in verdicts; rows and figures, never an event's content."""

    def __init__(self, database: Database, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._rows = BackgroundBatches[VerdictRow]("policy_verdicts", self._write)
        self._budget = RowBudget()
        self._summing_up: asyncio.TimerHandle | None = None

    def note_match(self, rule: Rule, subject: Subject) -> None:
        """A rule matched.  One that merely lets pass leaves no row."""
        POLICY_MATCHES.labels(rule.name, rule.action, rule.mode).inc()
        if rule.action != "allow" or not rule.enforced:
            self.note("content", rule.name, rule.action, subject, rule.message, rule.mode)

    def note(
        self,
        stage: str,
        rule: str,
        action: str,
        subject: Subject,
        reason: str,
        mode: str = "enforce",
    ) -> None:
        """Add a row about an event."""
        self.add(
            VerdictRow(
                created_at=self._clock_ms(),
                stage=stage,
                rule=rule,
                action=action,
                direction=subject.direction,
                origin=subject.origin,
                room_id=subject.room_id,
                event_id=subject.event_id,
                event_type=subject.type,
                sender=subject.sender,
                reason=reason,
                mode=mode,
            )
        )

    def add(self, row: VerdictRow) -> None:
        """Add a row; of very many of a kind from one instance, what is said is how many."""
        if self._budget.admits(row):
            self._rows.add(row)
        elif self._summing_up is None:
            loop = asyncio.get_running_loop()
            self._summing_up = loop.call_later(SUM_UP_SECONDS, self._sum_up)

    def _sum_up(self) -> None:
        if self._summing_up is not None:
            self._summing_up.cancel()
            self._summing_up = None
        for row in self._budget.summaries(self._clock_ms()):
            self._rows.add(row)

    async def flush(self) -> None:
        """Wait for what was noted before."""
        await self._rows.flush()

    async def close(self) -> None:
        """Write what is not written yet."""
        self._sum_up()
        await self._rows.close()

    async def _write(self, rows: Sequence[VerdictRow]) -> None:
        await storage.insert_verdicts(self._database, rows)
