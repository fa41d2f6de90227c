"""Messages that are sent later: what people ask of them, and the sending when their time comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from homeserver.errors import MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.contents import invalid, write
from homeserver.services.conversations.problems import Problem, problem_json
from homeserver.services.conversations.sending import PATH, Sending
from homeserver.services.conversations.shapes.messages import NewMessage
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.conversations.shapes.scheduled import (
    ChangeScheduled,
    NewScheduled,
    Scheduled,
    ScheduledMessage,
    ScheduledQuery,
)
from homeserver.services.conversations.shapes.times import parse_time, rfc3339
from homeserver.services.event_store import EventStore
from homeserver.services.rate_limits import RateLimits
from homeserver.services.requester import Requester
from homeserver.services.rooms import Rooms
from homeserver.services.scheduling.scheduler import Scheduler, new_scheduled_id
from homeserver.storage import scheduled as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import ClientTransaction
from homeserver.storage.scheduled import FINISHED, MESSAGE, SCHEDULED, SENDING, ScheduledSend

DEVICE = "dev.comity.scheduled"  # no client's: under which scheduled messages are sent
STATES = (SCHEDULED, SENDING, *FINISHED)


class MessageSender:
    """Sends scheduled messages, as if their senders sent them now."""

    retries_rate_limits = True

    def __init__(self, *, sending: Sending, rooms: Rooms, clock_ms: Callable[[], int]) -> None:
        self._sending = sending
        self._rooms = rooms
        self._clock_ms = clock_ms

    async def send(self, row: ScheduledSend) -> str:
        """Send it now; the message's ID."""
        transaction = ClientTransaction(
            row.user_id, DEVICE, PATH, row.scheduled_id, self._clock_ms()
        )
        before = await self._rooms.sent_before(transaction)
        if before is not None:
            return before.event.event_id
        requester = Requester(UserId(row.user_id), DEVICE)
        message = await self._sending.send(requester, stored_message(row.body), row.scheduled_id)
        return message.sent.event.event_id

    def describe(self, error: MatrixError) -> JsonObject:
        """A problem's JSON."""
        return problem_json(error)


class ScheduledMessages:
    """Keeps what people want sent later."""

    def __init__(
        self,
        *,
        database: Database,
        scheduler: Scheduler,
        sending: Sending,
        store: EventStore,
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._scheduler = scheduler
        self._sending = sending
        self._store = store
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms

    async def add(self, requester: Requester, new: NewScheduled, key: str | None) -> Scheduled:
        """Have a message sent later.

        The same ``key`` of the same device again gives the same.  Raises :class:`Problem` for what
        makes no sense, :class:`Forbidden` if it is too far ahead, :class:`LimitExceeded`; whether
        it may be sent is asked when it is.
        """
        self._rate_limits.check("schedule", requester.user_id)
        await self._check(requester.user_id, new.message)
        now, send_at = self._clock_ms(), self._time(new.send_at)
        row = ScheduledSend(
            scheduled_id=new_scheduled_id(),
            user_id=requester.user_id,
            device_id=requester.device_id or "",
            kind=MESSAGE,
            room_id=new.message.conversation_id,
            event_type=None,
            state_key=None,
            body=msgspec.to_builtins(new.message),
            delay_ms=send_at - now,
            scheduled_at=now,
            due_at=send_at,
        )
        kept = await self._scheduler.add(row, key)
        if kept.body != row.body:
            raise Problem(
                "idempotency_mismatch",
                "This key was used for another message: make a new one",
                status=422,
            )
        return await self._shown(kept)

    async def _check(self, user_id: UserId, message: NewMessage) -> None:
        """Raise what can be known now to be wrong with a message."""
        if (message.to is None) == (message.conversation_id is None):
            raise invalid("message.to", "Say where to: 'to' or 'conversation_id'")
        if message.to is not None:
            parse_person(message.to, "message.to")
        if message.conversation_id is not None:
            await self._sending.member_room(user_id, message.conversation_id)
        write(message)

    def _time(self, text: str) -> int:
        send_at = parse_time(text, "send_at")
        if send_at <= self._clock_ms():
            raise invalid("send_at", "'send_at' must be in the future")
        return send_at

    async def page(self, user_id: UserId, query: ScheduledQuery) -> Page[Scheduled]:
        """A user's, by when they are sent; without a state, those that are not done with."""
        after = parse_cursor(query.cursor, int, str) if query.cursor else (0, "")
        states = (query.state,) if query.state is not None else (SCHEDULED, SENDING)
        rows = await storage.get_page(
            self._database,
            user_id,
            MESSAGE,
            states,
            after=(after[0], after[1]),
            limit=query.limit + 1,
            room_id=query.conversation_id,
        )
        more, rows = len(rows) > query.limit, rows[: query.limit]
        cursor = make_cursor(rows[-1].due_at, rows[-1].scheduled_id) if more else None
        return Page(items=[await self._shown(row) for row in rows], next=cursor)

    async def get(self, user_id: UserId, scheduled_id: str) -> Scheduled:
        """One of a user's.  Raises :class:`NotFound`."""
        return await self._shown(await self._get(user_id, scheduled_id))

    async def _get(self, user_id: UserId, scheduled_id: str) -> ScheduledSend:
        row = await self._scheduler.get(scheduled_id, user_id, MESSAGE)
        if row is None:
            raise NotFound("There is no such scheduled message")
        return row

    async def change(
        self, user_id: UserId, known: Scheduled, changes: ChangeScheduled
    ) -> Scheduled:
        """Give it another message or time.

        ``known``: what the caller wants changed.  Raises what :meth:`add` raises, and
        :class:`Problem` ``not_scheduled`` if it does not wait any more.
        """
        self._rate_limits.check("schedule", user_id)
        row = await self._get(user_id, known.id)
        if row.state != SCHEDULED or await self._shown(row) != known:
            raise await self._too_late(user_id, known.id)
        send_at = row.send_at
        if changes.message is not None:
            await self._check(user_id, changes.message)
            body = msgspec.to_builtins(changes.message)
            row = replace(row, body=body, room_id=changes.message.conversation_id)
        if changes.send_at is not None:
            send_at = self._time(changes.send_at)
        changed = await self._scheduler.change(row, send_at, expected_revision=row.revision)
        if changed is None:
            raise await self._too_late(user_id, known.id)
        return await self._shown(changed)

    async def cancel(self, user_id: UserId, scheduled_id: str) -> Scheduled:
        """Never send it; a second time it does nothing.

        Raises :class:`NotFound`, :class:`Problem` ``not_scheduled`` if it was sent.
        """
        row = await self._get(user_id, scheduled_id)
        cancelled = await self._scheduler.cancel(row)
        if cancelled is None:
            row = await self._get(user_id, scheduled_id)
            if row.state not in ("cancelled", "failed"):
                raise await self._too_late(user_id, scheduled_id)
            cancelled = row
        return await self._shown(cancelled)

    async def send_now(self, user_id: UserId, scheduled_id: str) -> Scheduled:
        """Send it without waiting any longer.

        Raises what sending raises; it goes on waiting then.
        """
        row = await self._get(user_id, scheduled_id)
        if await self._scheduler.send_now(row) is None and row.state != "sent":
            raise await self._too_late(user_id, scheduled_id)
        return await self.get(user_id, scheduled_id)

    async def _too_late(self, user_id: UserId, scheduled_id: str) -> Problem:
        row = await self._get(user_id, scheduled_id)
        if row.state == SCHEDULED:
            return Problem(
                "precondition_failed",
                "It was changed meanwhile: read it again",
                status=412,
            )
        return Problem(
            "not_scheduled",
            f"It does not wait any more: it is {row.state}",
            status=409,
            state=row.state,
        )

    async def _shown(self, row: ScheduledSend) -> Scheduled:
        room_id = row.room_id
        if row.event_id is not None and room_id is None:
            stored = await self._store.get(row.event_id)
            room_id = stored.event.room_id if stored is not None else None
        state: Any = row.state
        return Scheduled(
            id=row.scheduled_id,
            state=state,
            send_at=rfc3339(row.send_at),
            scheduled_at=rfc3339(row.scheduled_at),
            message=stored_message(row.body),
            conversation_id=room_id,
            message_id=row.event_id,
            finished_at=rfc3339(row.finished_at) if row.finished_at is not None else None,
            problem=row.error,
        )


def stored_message(body: JsonObject) -> ScheduledMessage:
    """A message as it was scheduled.  Raises :class:`Problem` if that is none any more."""
    try:
        return msgspec.convert(body, ScheduledMessage)
    except msgspec.ValidationError as error:
        raise Problem(
            "invalid_body", f"The message is not what this version takes: {error}", status=422
        ) from error
