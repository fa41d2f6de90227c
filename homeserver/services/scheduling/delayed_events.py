"""Delayed events: what a client wants sent later, unless it says otherwise until then.

Spec: MSC4140, cancellable delayed events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from homeserver.errors import BadJson, InvalidParam, MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.rate_limits import RateLimits
from homeserver.services.requester import Requester
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.scheduling.scheduler import Scheduler, new_scheduled_id, outcome
from homeserver.storage import scheduled as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import ClientTransaction
from homeserver.storage.events import DELAYED_DEVICE
from homeserver.storage.scheduled import CANCELLED, EVENT, SCHEDULED, SENDING, SENT, ScheduledSend

SEND, CANCEL, RESTART = "send", "cancel", "restart"
ACTIONS = (SEND, CANCEL, RESTART)
MAX_TYPE_BYTES = 255
MAX_LISTED = 1_000


class Conflict(MatrixError):
    """The delayed event has ended another way."""

    errcode, status = "M_UNKNOWN", 409


class Invites(Protocol):
    """Invites into rooms."""

    async def invite(
        self, inviter: UserId, room_id: str, invitee: UserId, *, content: JsonObject
    ) -> None:
        """Invite somebody, whose instance has to agree."""


class Aliases(Protocol):
    """Room aliases."""

    async def check_canonical_alias(self, room_id: str, content: JsonObject) -> None:
        """Raise a :class:`MatrixError` if a room's canonical alias cannot be that."""


class DelayedEventSender:
    """Sends delayed events, as if their clients sent them now."""

    retries_rate_limits = False  # MSC4140: that is a failure, of which the client can read

    def __init__(
        self, *, rooms: Rooms, invites: Any, aliases: Aliases, rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self._rooms = rooms
        self._invites: Invites = invites
        self._aliases = aliases
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms

    async def send(self, row: ScheduledSend) -> str:
        """Send it now; the event's ID."""
        assert row.room_id is not None and row.event_type is not None
        transaction = ClientTransaction(
            row.user_id, DELAYED_DEVICE, "", row.scheduled_id, self._clock_ms()
        )
        before = await self._rooms.sent_before(transaction)
        if before is not None:
            return before.event.event_id
        self._rate_limits.check("message", row.user_id)
        redacts = None
        if row.state_key is None and row.event_type == "m.room.redaction":
            redacts = row.body.get("redacts")
            if not isinstance(redacts, str):
                raise BadJson("A redaction needs 'redacts'")
        if row.state_key is not None:
            invited = await self._state(row, row.state_key)
            if invited is not None:
                return invited
        draft = Draft(
            row.user_id, row.event_type, row.body, state_key=row.state_key, redacts=redacts
        )
        sent = await self._rooms.send(row.room_id, draft, transaction=transaction)
        return sent.event.event_id

    async def _state(self, row: ScheduledSend, state_key: str) -> str | None:
        """What some types of state need besides; the event's ID if that was all."""
        assert row.room_id is not None
        if row.event_type == "m.room.canonical_alias":
            await self._aliases.check_canonical_alias(row.room_id, row.body)
        if row.event_type != "m.room.member" or row.body.get("membership") != "invite":
            return None
        try:
            target = UserId.parse(state_key)
        except InvalidIdentifier as error:
            raise BadJson("The state key of a member event must be a user ID") from error
        room = await self._rooms.get(row.room_id)
        if room.membership(target) != "invite":
            await self._invites.invite(UserId(row.user_id), row.room_id, target, content=row.body)
            room = await self._rooms.get(row.room_id)
        return room.state[("m.room.member", state_key)]

    def describe(self, error: MatrixError) -> JsonObject:
        """A standard error response."""
        return error.to_json()


class DelayedEvents:
    """What clients ask of delayed events."""

    def __init__(
        self,
        *,
        database: Database,
        scheduler: Scheduler,
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._scheduler = scheduler
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms

    async def schedule(
        self,
        requester: Requester,
        room_id: str,
        event_type: str,
        content: JsonObject,
        *,
        txn_id: str | None,
        delay_ms: int,
        state_key: str | None = None,
    ) -> str:
        """Have an event sent in ``delay_ms``; its delay ID.

        The same transaction ID again gives the same.  Raises :class:`InvalidParam`,
        :class:`Forbidden` if it is too far ahead, :class:`LimitExceeded`.
        """
        self._rate_limits.check("schedule", requester.user_id)
        if delay_ms <= 0:
            raise InvalidParam("The delay must be at least 1 ms")
        if "\0" in event_type or len(event_type.encode()) > MAX_TYPE_BYTES:
            raise InvalidParam(f"A type has at most {MAX_TYPE_BYTES} bytes")
        now = self._clock_ms()
        row = ScheduledSend(
            scheduled_id=new_scheduled_id(),
            user_id=requester.user_id,
            device_id=requester.device_id or "",
            kind=EVENT,
            room_id=room_id,
            event_type=event_type,
            state_key=state_key,
            body=content,
            delay_ms=delay_ms,
            scheduled_at=now,
            due_at=now + delay_ms,
        )
        scope = f"{room_id}/{event_type}/{txn_id}" if txn_id is not None else None
        return (await self._scheduler.add(row, scope)).scheduled_id

    async def get(self, user_id: str, delay_id: str) -> JsonObject:
        """One of a user's.  Raises :class:`NotFound`."""
        return delayed_event(await self._get(user_id, delay_id))

    async def waiting(self, user_id: str) -> list[JsonObject]:
        """All of a user's that wait, by when they are due."""
        rows = await storage.get_page(
            self._database, user_id, EVENT, (SCHEDULED, SENDING), limit=MAX_LISTED
        )
        return [delayed_event(row) for row in sorted(rows, key=lambda row: row.send_at)]

    async def _get(self, user_id: str, delay_id: str) -> ScheduledSend:
        row = await self._scheduler.get(delay_id, user_id, EVENT)
        if row is None:
            raise NotFound("There is no such delayed event")
        return row

    async def act(self, user_id: str, delay_id: str, action: str) -> None:
        """Send, cancel or restart it; again, if it has ended that way, does nothing.

        Raises :class:`NotFound`, :class:`Conflict` if it ended another way; to send it, what
        sending raises.
        """
        self._rate_limits.check("schedule", user_id)
        row = await self._get(user_id, delay_id)
        act = {
            SEND: self._scheduler.send_now,
            CANCEL: self._scheduler.cancel,
            RESTART: self._scheduler.restart,
        }[action]
        if await act(row) is not None:
            return
        row = await self._get(user_id, delay_id)
        if row.state == SENDING and action == SEND:
            return  # it is on its way
        ended = outcome(row) or SENT
        if (action, ended) not in ((SEND, SENT), (CANCEL, CANCELLED)):
            raise Conflict(f"The delayed event was {ended} already")


def delayed_event(row: ScheduledSend) -> JsonObject:
    """A delayed event as clients get it.  Spec: MSC4140, getting a single delayed event."""
    described: JsonObject = {
        "delay_id": row.scheduled_id,
        "room_id": row.room_id,
        "type": row.event_type,
        "delay_ms": row.delay_ms,
        "delayed_since_ts": row.scheduled_at,
        "content": row.body,
    }
    if row.state_key is not None:
        described["state_key"] = row.state_key
    if outcome(row) is not None:
        finalised: JsonObject = {"finalised_ts": row.finished_at}
        if row.state == SENT:
            finalised["event_id"] = row.event_id
        elif row.error is not None:
            finalised["error"] = row.error
        described["finalised"] = finalised
    return described
