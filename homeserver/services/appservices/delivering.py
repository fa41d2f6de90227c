"""Tells one application service what happens: in order, one transaction at a time.

A transaction is kept, with the position that it reaches, before it is sent; nothing further is
gathered until it is accepted.  So a service that is away costs one row, and misses nothing durable.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from contextlib import suppress

import structlog
from msgspec import Struct, field

from homeserver.protocol.events import JsonObject
from homeserver.services.appservices.bodies import Bodies, Device
from homeserver.services.appservices.client import NoAnswer, ServiceClient
from homeserver.services.appservices.ephemeral import Passing
from homeserver.services.appservices.gathering import Gathered, Gathering
from homeserver.services.appservices.interest import Interest
from homeserver.services.appservices.registration import AppService
from homeserver.storage import appservices as storage
from homeserver.storage.appservices import Transaction
from homeserver.storage.database import Database
from homeserver.storage.device_lists import DeviceListRecord, RemoteDeviceListRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice, Record
from homeserver.storage.receipts import ReceiptRecord
from homeserver.storage.room_listings import RoomListing
from homeserver.storage.to_device import ToDeviceRecord

logger = structlog.get_logger(__name__)

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0
GATHER_SECONDS = 0.02  # how long it rests where there was nothing to tell
WRITE_POSITION_EVERY = 2_000
AFTER_FAILURE_SECONDS = 5.0
MOST_DEVICES = 1_000


class Fare(Struct):
    """How it goes, as the admin is shown; times in ms."""

    position: int = 0
    accepted: int = 0
    failing_since: int | None = None
    last_success_at: int | None = None
    last_error: str | None = None
    waiting_since: int | None = None
    waiting_events: int = 0


class _Passing(Struct):
    """What of a transaction is not kept on disk."""

    ephemeral: list[JsonObject] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)


class Delivering:
    """The worker of one application service."""

    def __init__(
        self,
        service: AppService,
        *,
        database: Database,
        head: Callable[[], int],
        interest: Interest,
        gathering: Gathering,
        passing: Passing,
        bodies: Bodies,
        client: ServiceClient,
        clock_ms: Callable[[], int],
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
    ) -> None:
        """``head``: where the log stands."""
        self.service = service
        self.fare = Fare()
        self.interest = interest
        self._database = database
        self._head = head
        self._gathering = gathering
        self._passing = passing
        self._bodies = bodies
        self._client = client
        self._clock_ms = clock_ms
        self._first_retry_seconds = first_retry_seconds
        self._row_position = 0
        self._pending: Transaction | None = None
        self._devices: dict[Device, None] = {}
        self._wake = asyncio.Event()
        self._retry_now = asyncio.Event()
        self._waiting = False  # for something to happen; all before is told
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin where it was left; a service that is new, with what happens from now on."""
        row = await storage.get_service(self._database, self.service.id, self._head())
        self.fare = Fare(
            row.position, row.accepted, row.failing_since, row.last_success_at, row.last_error
        )
        self._row_position = row.position
        self._pending = await storage.get_transaction(self._database, self.service.id)
        await self._gathering.start()
        self._task = asyncio.create_task(self._run(), name="application service")

    async def close(self) -> None:
        """Stop; what is under way is sent again by the next process."""
        if self._task is not None:
            await self._stop()
            await self._write_position()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def skip(self) -> None:
        """Leave out all that waits: the service is told what happens from now on."""
        await self._stop()
        self._waiting = False
        await storage.skip_to(self._database, self.service.id, self._head())
        self.interest.forget()
        await self.start()

    # ------------------------------------------------------------ hearing

    def on_notice(self, notice: Notice) -> None:
        """The log has grown.  What is certainly of no interest costs a look into memory.

        It is certain only while all before it is told: who comes in now may be on the way.
        """
        matters = not self._waiting
        for _, record in notice.records:
            matters |= self._matters(record)
        if matters:
            self._news()
        elif notice.records and self._is_next(notice):
            self.fare.position = notice.position

    def _is_next(self, notice: Notice) -> bool:
        return notice.records[0][0] == self.fare.position + 1

    def _matters(self, record: Record) -> bool:
        if isinstance(record, EventRecord):
            return bool(record.memberships) or not self._is_indifferent(record.event.room_id)
        if isinstance(record, RoomListing):
            self.interest.forget_aliases(record.room_id)
            return True
        if isinstance(record, ReceiptRecord):
            if not self.service.ephemeral_keys or self._is_indifferent(record.room_id):
                return False
            return self._passing.receipt(record)
        if not self.service.encryption:
            return False
        if isinstance(record, ToDeviceRecord):
            return self._gathering.addressed({message.user_id for message in record.messages})
        return isinstance(record, DeviceListRecord | RemoteDeviceListRecord)

    def _is_indifferent(self, room_id: str) -> bool:
        return self._waiting and self.interest.is_certainly_indifferent(room_id)

    def typing(self, room_id: str) -> None:
        """Who types in a room has changed."""
        if self.service.ephemeral_keys and not self._is_indifferent(room_id):
            self._passing.typing(room_id)
            self._news()

    def presence(self, user_id: str) -> None:
        """How somebody is has changed."""
        if self.service.ephemeral_keys:
            self._passing.presence(user_id)
            self._news()

    def keys_changed(self, user_id: str, device_id: str) -> None:
        """A device's keys were used up or filled."""
        if self.service.encryption and self.interest.is_alone(user_id):
            if len(self._devices) < MOST_DEVICES:
                self._devices[(user_id, device_id)] = None
            self._news()

    def _news(self) -> None:
        self._waiting = False
        self._wake.set()

    def try_now(self) -> None:
        """The service shows that it is there: do not wait any longer."""
        self._retry_now.set()

    # ------------------------------------------------------------ the loop

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                if not await self.step():
                    self._waiting = True
                    await self._wake.wait()
                    self._waiting = False
                    await asyncio.sleep(GATHER_SECONDS)
            except Exception:
                self._waiting = False
                logger.exception("an application service's queue failed", id=self.service.id)
                await asyncio.sleep(AFTER_FAILURE_SECONDS)
                await self._begin_again()

    async def _begin_again(self) -> None:
        """Go back to what is on disk: nothing that was to be told lies between, unless it is.

        It is read again: whoever lost the connection does not know whether the commit was done.
        """
        with suppress(Exception):
            row = await storage.get_service(self._database, self.service.id, self._row_position)
            pending = await storage.get_transaction(self._database, self.service.id)
            self._row_position, self._pending = row.position, pending
            self.fare.accepted = row.accepted
        self.fare.position = self._row_position
        self.interest.forget()
        with suppress(Exception):
            await self._gathering.start()
        self._wake.set()

    async def step(self) -> bool:
        """Tell the next that there is; False if there is nothing."""
        beside = _Passing()
        if self._pending is not None:
            await self._deliver(self._pending, beside, kept=True)
            self._pending = None
            return True
        gathered = await self._gather()
        if self.service.ephemeral_keys and self._passing.any:
            beside.ephemeral = await self._passing.take(self.fare.position)
        beside.devices, self._devices = list(self._devices), {}
        if not gathered.any and not beside.ephemeral and not beside.devices:
            return False
        transaction = self._transaction(gathered)
        if gathered.any:
            async with self._database.transaction() as connection:
                await storage.put_transaction(
                    connection, self.service.id, transaction, gathered.upto
                )
            self._row_position = gathered.upto
            self._pending = transaction
        await self._deliver(transaction, beside, kept=gathered.any)
        self._pending = None
        return True

    async def _gather(self) -> Gathered:
        """What comes next in the log, however long nothing of interest happened."""
        while True:
            head = self._head()
            gathered = await self._gathering.after(self.fare.position, head)
            self.fare.position = gathered.upto
            if gathered.any or gathered.upto >= self._head():
                break
        if not gathered.any and gathered.upto - self._row_position >= WRITE_POSITION_EVERY:
            await self._write_position()
        return gathered

    async def _write_position(self) -> None:
        if self._pending is None and self.fare.position > self._row_position:
            await storage.set_position(self._database, self.service.id, self.fare.position)
            self._row_position = self.fare.position

    def _transaction(self, gathered: Gathered) -> Transaction:
        lists = None
        if gathered.changed or gathered.left:
            lists = {"changed": list(gathered.changed), "left": list(gathered.left)}
        return Transaction(
            f"{gathered.upto}-{secrets.token_hex(6)}",
            gathered.event_ids,
            gathered.to_device,
            lists,
            self._clock_ms(),
        )

    # ------------------------------------------------------------ one transaction

    async def _deliver(self, transaction: Transaction, beside: _Passing, *, kept: bool) -> None:
        """Send a transaction until it is accepted; what is not kept, once."""
        self.fare.waiting_since = transaction.created_at
        self.fare.waiting_events = len(transaction.event_ids)
        wait = self._first_retry_seconds
        while True:
            self._retry_now.clear()
            error = await self._attempt(transaction, beside)
            now = self._clock_ms()
            if error is None:
                break
            if not kept:
                self._note_failure(error, now)
                self.fare.waiting_since = None
                await self._rest(self._first_retry_seconds)
                return
            if error != self.fare.last_error or self.fare.failing_since is None:
                await storage.set_failed(self._database, self.service.id, now, error)
            self._note_failure(error, now)
            if await self._rest(wait):
                wait = self._first_retry_seconds
            wait = min(wait * 2, LONGEST_RETRY_SECONDS)
        if kept:
            await storage.set_accepted(self._database, self.service.id, transaction, now)
            self.fare.accepted += 1
        self.fare.last_success_at, self.fare.last_error = now, None
        if self.fare.failing_since is not None:
            logger.info("an application service answers again", id=self.service.id)
        self.fare.failing_since = self.fare.waiting_since = None
        self.fare.waiting_events = 0

    async def _rest(self, seconds: float) -> bool:
        """Wait before the next attempt; whether the service showed meanwhile that it is there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.8, 1.2)):
                await self._retry_now.wait()
        return self._retry_now.is_set()

    async def _attempt(self, transaction: Transaction, beside: _Passing) -> str | None:
        """None if it was accepted; else why not, in words of ours."""
        body = await self._bodies.make(self.service, transaction, beside.ephemeral, beside.devices)
        try:
            answer = await self._client.send(self.service, transaction.txn_id, body)
        except NoAnswer as failure:
            return failure.text
        return None if answer.ok else f"it answered {answer.status}"

    def _note_failure(self, error: str, now: int) -> None:
        if self.fare.failing_since is None:
            self.fare.failing_since = now
            logger.warning(
                "an application service does not take what it is sent",
                id=self.service.id,
                reason=error,
            )
        self.fare.last_error = error
