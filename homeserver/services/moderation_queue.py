"""The moderators' queue: what content policy held or flagged, and what people reported.

Events that are held or flagged enter it in the transaction that writes them
(:mod:`homeserver.storage.event_marks`); everything else comes through :meth:`ModerationQueue.add`.
What moderators decide is in :mod:`homeserver.services.moderation`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from homeserver.errors import LimitExceeded
from homeserver.metrics import MODERATION_ITEMS, MODERATION_OPEN
from homeserver.storage import moderation_queue as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice
from homeserver.storage.moderation_queue import NewItem, QueueItem

logger = structlog.get_logger(__name__)

HELD = "held"
FLAGGED = "flagged"
REPORT = "report"
REQUEST_ABUSE = "request_abuse"
KINDS = (HELD, FLAGGED, REPORT, REQUEST_ABUSE)
STATES = ("open", "released", "dropped", "resolved")
MAX_NOTE_LENGTH = 2_000  # characters
MOST_OF_REPORTER = 1_000  # open items
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TEND_SECONDS = 60.0
TENDED_AT_ONCE = 1_000


class ModerationQueue:
    """Takes items in, reads them, and forgets what is old."""

    def __init__(
        self,
        *,
        database: Database,
        keep_flagged_days: int,
        keep_decided_days: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._keep_flagged_ms = keep_flagged_days * DAY_MS
        self._keep_decided_ms = keep_decided_days * DAY_MS
        self._clock_ms = clock_ms
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to forget what is old."""
        self._task = asyncio.create_task(self._tend_always(), name="moderation queue")

    async def close(self) -> None:
        """Stop that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ------------------------------------------------------------ items

    async def add(
        self,
        kind: str,
        *,
        sender: str | None = None,
        room_id: str | None = None,
        event_id: str | None = None,
        rule: str | None = None,
        note: str | None = None,
        reporter: str | None = None,
    ) -> int:
        """Add an item; its ID.

        While one of the same kind is open for the same event (without one: user, or room) and
        reporter, it is counted there and no other is made; the newest note stays.  ``sender``: who
        sent the event, or who is reported.  ``note`` is cut to ``MAX_NOTE_LENGTH`` characters.
        Raises :class:`LimitExceeded` if too much of this reporter waits for a moderator.
        """
        subject = event_id or sender or room_id
        if subject is None or kind not in KINDS:
            raise ValueError("An item of the queue needs a kind, and what it is about")
        item = NewItem(
            kind, subject, event_id, room_id, sender, reporter, rule, clean_note(note),
            self._clock_ms(),
        )  # fmt: skip
        added = await storage.add_item(self._database, item, MOST_OF_REPORTER)
        if added is None:
            raise LimitExceeded(HOUR_MS)
        item_id, is_new = added
        if is_new:
            self._note_new(kind)
        return item_id

    async def page(
        self, *, kind: str | None = None, state: str | None = None, after: int = 0, limit: int = 100
    ) -> list[QueueItem]:
        """Items with an ID greater than ``after``, the oldest first."""
        return await storage.get_items(
            self._database, kind=kind, state=state, after=after, limit=limit
        )

    async def get(self, item_id: int) -> QueueItem | None:
        """One item."""
        return await storage.get_item(self._database, item_id)

    # ------------------------------------------------------------ figures

    def on_notice(self, notice: Notice) -> None:
        """Listens to the log: count the events that entered the queue with it."""
        for _, record in notice.records:
            if isinstance(record, EventRecord):
                if record.withheld is not None:
                    self._note_new(HELD)
                if record.flags:
                    self._note_new(FLAGGED)

    def _note_new(self, kind: str) -> None:
        MODERATION_ITEMS.labels(kind).inc()
        MODERATION_OPEN.labels(kind).inc()

    async def refresh_figures(self) -> None:
        """Count what is open."""
        counts = await storage.count_open(self._database)
        for kind in KINDS:
            MODERATION_OPEN.labels(kind).set(counts.get(kind, 0))

    # ------------------------------------------------------------ forgetting

    async def _tend_always(self) -> None:
        while True:
            try:
                await self.tend()
            except Exception:
                logger.exception("the moderators' queue could not be tended")
            await asyncio.sleep(TEND_SECONDS)

    async def tend(self) -> None:
        """Close flags that nobody looked at for long; forget what was decided long ago."""
        now = self._clock_ms()
        while await storage.expire_items(
            self._database, [FLAGGED], now - self._keep_flagged_ms, now, TENDED_AT_ONCE
        ):
            continue
        while await storage.delete_items(
            self._database, now - self._keep_decided_ms, TENDED_AT_ONCE
        ):
            continue
        await self.refresh_figures()


def clean_note(note: str | None) -> str | None:
    """A text for the queue: what the database can hold, of bounded length."""
    return note.replace("\0", "")[:MAX_NOTE_LENGTH] if note is not None else None
