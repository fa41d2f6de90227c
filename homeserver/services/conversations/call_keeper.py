"""What the caller's instance does for calls made through the API: it takes the first answer, and
ends what nobody answers.  And for all calls: who leaves a conversation leaves its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.calls import (
    ANSWER,
    HANGUP,
    INVITE,
    REJECT,
    SELECT_ANSWER,
    VERSION,
    CallStep,
    read_step,
)
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.rooms import Draft, Rooms
from homeserver.storage import calls as storage
from homeserver.storage.calls import CallRow
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice

logger = structlog.get_logger(__name__)

AT_ONCE = 20
LEFT_AT_ONCE = 500
GONE = ("leave", "ban")


class CallKeeper:
    """Follows calls; a job of the caretaker's, too."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        log: Log,
        rooms: Rooms,
        clock_ms: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._rooms = rooms
        self._clock_ms = clock_ms
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        log.subscribe(self._on_notice)

    async def close(self) -> None:
        """Stop."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_busy(self) -> bool:
        """Whether what was committed still has to be followed."""
        return bool(self._tasks)

    async def caught_up(self) -> None:
        """Wait until what was committed has been followed."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ following

    def _on_notice(self, notice: Notice) -> None:
        left: list[tuple[str, str]] = []
        for _, record in notice.records:
            if not isinstance(record, EventRecord):
                continue
            if record.event.type == INVITE and record.visible:
                self._wake()
            elif record.event.type in (ANSWER, REJECT) and record.visible:
                step = read_step(record.event)
                if step is not None:
                    self._spawn(self._select(record.event.sender, step))
            left += [
                (change.room_id, change.user_id)
                for change in record.memberships
                if change.membership in GONE
            ]
        if left:
            self._spawn(self._end_of_those_who_left(left))

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self._logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _logged(self, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except MatrixError as error:
            logger.info("a call could not be followed", error=error.errcode)
        except Exception:
            logger.exception("a call could not be followed")

    async def _select(self, sender: str, step: CallStep) -> None:
        """Tell the others' devices which of them has the call.  Spec: ``m.call.select_answer``."""
        row = await storage.get(self._database, step.key)
        if row is None or not row.managed or server_name_of(row.caller) != self._server_name:
            return
        answered = (row.answered_by, row.answered_party) == (sender, step.party_id)
        if answered or (row.outcome == "declined" and row.ended_by == sender):
            await self._send(row, SELECT_ANSWER, selected_party_id=step.party_id)

    async def _end_of_those_who_left(self, left: list[tuple[str, str]]) -> None:
        for at in range(0, len(left), LEFT_AT_ONCE):
            some = left[at : at + LEFT_AT_ONCE]
            await storage.end_of_those_who_left(self._database, some, self._clock_ms())

    # ------------------------------------------------------------ what nobody answers

    async def step(self) -> bool:
        """End what has rung long enough; False if nothing has."""
        rows = await storage.get_unanswered(
            self._database, self._server_name, self._clock_ms(), AT_ONCE
        )
        for row in rows:
            try:
                await self._send(row, HANGUP, reason="invite_timeout")
            except MatrixError as error:
                logger.info("a call could not be ended", error=error.errcode)
            await storage.give_up(self._database, row.call_key)
        return bool(rows)

    async def next_due(self) -> int | None:
        """When the next call stops ringing (ms)."""
        due = await storage.next_unanswered(self._database, self._server_name)
        return due + 1 if due is not None else None

    async def _send(self, row: CallRow, kind: str, **more: str) -> None:
        content = {
            "call_id": row.call_id,
            "party_id": row.party_id,
            "version": VERSION,
            **more,
        }
        await self._rooms.send(row.room_id, Draft(row.caller, kind, content), gated=False)
