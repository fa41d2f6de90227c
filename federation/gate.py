"""The way in for events of other instances.

``signed request -> written to the inbox -> 200 -> per room, in order: hashes, signatures ->
missing ancestors fetched -> authorised, judged, placed (homeserver/services/arrivals.py)``.

Nothing that was acknowledged is lost: what the process had not placed when it died is read from
the inbox when it starts again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson
import structlog
from msgspec import Struct, field

from federation.errors import FederationFailure
from federation.fetching import Fetching
from federation.pacing import Pacing, is_ephemeral
from federation.pdus import PduChecker
from homeserver.errors import BadJson, InvalidParam, MatrixError
from homeserver.metrics import EVENTS_RECEIVED
from homeserver.protocol.events import BadEvent, Event, JsonObject, parse_event
from homeserver.protocol.room_versions import RoomVersion
from homeserver.services.arrivals import Arrivals
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Rooms
from homeserver.services.values import is_text
from homeserver.storage import inbox
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

MAX_PDUS = 50
MAX_EDUS = 100
MAX_RECURSION = 2
RETRY_SECONDS = 5.0
MAX_ATTEMPTS = 4
TAKEN = ""
REASONS_LOGGED, MAX_REASON = 3, 200
MAX_TXN_ID = 255  # characters
KEEP_ANSWERS_MS = 24 * 3_600_000
TIDY_SECONDS = 3600.0
FORGOTTEN_AT_ONCE = 1_000
MAX_QUEUE = 500  # events of one room held in memory; the rest waits in the database

EduHandler = Callable[[str, dict[str, Any]], Awaitable[None]]


class _Waiting(Struct, frozen=True):
    inbox_id: int
    origin: str
    event: Event


class JoinInProgress(Struct, frozen=True):
    """A room that we are about to be in: others may send us its events already."""

    version: RoomVersion
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Elsewhere(Protocol):
    """Rooms that we are not in, or not yet."""

    @property
    def in_progress(self) -> Mapping[str, JoinInProgress]:
        """Rooms that we are about to be in; what comes for them is kept."""

    async def taken_back(self, origin: str, pdu: JsonObject) -> str | None:
        """Note that an invite or knock of one of ours is no more; the ID of the event that says
        so, None for any other event.  Raises :class:`BadEvent`, :class:`FederationFailure`."""


class Gate:
    """Takes transactions in, and places their events one room at a time."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        store: EventStore,
        arrivals: Arrivals,
        checker: PduChecker,
        fetching: Fetching,
        handle_edu: EduHandler,
        pacing: Pacing,
        elsewhere: Elsewhere,
        clock_ms: Callable[[], int],
    ) -> None:
        self._elsewhere = elsewhere
        self._overflowed: set[str] = set()
        self._attempts: Counter[int] = Counter()
        self._database = database
        self._rooms = rooms
        self._store = store
        self._arrivals = arrivals
        self._checker = checker
        self._fetching = fetching
        self._handle_edu = handle_edu
        self._pacing = pacing
        self._clock_ms = clock_ms
        self._queues: dict[str, deque[_Waiting]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._in_flight: dict[tuple[str, str], asyncio.Task[dict[str, Any]]] = {}
        self._tidying: asyncio.Task[None] | None = None
        self._closing = False

    async def start(self) -> None:
        """Take up what waited in the inbox when the process ended."""
        for room_id in await inbox.rooms_waiting(self._database):
            self._overflowed.add(room_id)
            self._wake(room_id)
        self._tidying = asyncio.create_task(self._tidy(), name="gate tidying")

    async def close(self) -> None:
        """Finish the events in hand; the rest stays in the inbox."""
        self._closing = True
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        if self._workers:
            await asyncio.wait(list(self._workers.values()), timeout=10)

    async def _tidy(self) -> None:
        """Forget the answers to transactions that will not be sent again."""
        while True:
            try:
                before = self._clock_ms() - KEEP_ANSWERS_MS
                while await inbox.delete_old_transactions(
                    self._database, before, FORGOTTEN_AT_ONCE
                ):
                    continue
            except Exception:
                logger.exception("old transactions could not be forgotten")
            await asyncio.sleep(TIDY_SECONDS)

    # ------------------------------------------------------------ transactions

    async def receive(self, origin: str, txn_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Acknowledge a transaction once it is on disk; the same one again gets the same answer.

        Spec: server-server API, ``PUT /send/{txnId}``.
        """
        if len(txn_id) > MAX_TXN_ID:
            raise InvalidParam(f"A transaction ID has at most {MAX_TXN_ID} characters")
        key = (origin, txn_id)
        task = self._in_flight.get(key)
        if task is None:
            task = asyncio.create_task(self._receive(origin, txn_id, body))
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return await asyncio.shield(task)

    async def _receive(self, origin: str, txn_id: str, body: dict[str, Any]) -> dict[str, Any]:
        pdus, edus = body.get("pdus", []), body.get("edus", [])
        if not isinstance(pdus, list) or not isinstance(edus, list):
            raise BadJson("'pdus' and 'edus' must be arrays")
        if len(pdus) > MAX_PDUS or len(edus) > MAX_EDUS:
            raise BadJson(f"A transaction holds at most {MAX_PDUS} PDUs and {MAX_EDUS} EDUs")
        before = await inbox.get_response(self._database, origin, txn_id)
        if before is not None:
            return before
        await self._pacing.wait(origin, pdus, edus)

        results: dict[str, Any] = {}
        accepted: list[Event] = []
        dropped: Counter[str] = Counter()
        for pdu in pdus:
            dropped[await self._take(origin, pdu, accepted, results)] += 1
        for edu in edus:
            dropped[await self._take_edu(origin, edu)] += 1
        del dropped[TAKEN]
        if dropped:  # one line, however much it is
            logger.info("dropped of a transaction", origin=origin, **_in_words(dropped))
        response = {"pdus": results}
        rows = [(e.room_id, e.event_id, orjson.dumps(e.pdu)) for e in accepted]
        ids = await inbox.add_transaction(
            self._database, origin, txn_id, rows, response, self._clock_ms()
        )
        for event in accepted:
            self._queue(event.room_id, _Waiting(ids[event.event_id], origin, event))
        return response

    async def _take(
        self, origin: str, pdu: Any, accepted: list[Event], results: dict[str, Any]
    ) -> str:
        """Decide whether a PDU goes to the inbox; why not.

        What is no event is answered with an error.
        """
        room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
        room = await self._rooms.find(room_id) if is_text(room_id) else None
        if room is not None and not room.joined_local:
            room = None
        joining = self._elsewhere.in_progress.get(str(room_id))
        version = joining.version if joining is not None else None
        if room is not None:
            version = room.version
        if version is None:
            return await self._take_elsewhere(origin, pdu, results)
        try:
            event = parse_event(pdu, version)
        except BadEvent as error:
            return f"pdu: {error}"
        if room is not None and not room.allows_server(origin):
            results[event.event_id] = {"error": "Your server is not allowed in this room"}
            return "not allowed by the room's ACL"
        results[event.event_id] = {}
        if all(event.event_id != other.event_id for other in accepted):
            accepted.append(event)
        return TAKEN

    async def _take_elsewhere(self, origin: str, pdu: Any, results: dict[str, Any]) -> str:
        """Of rooms that we are not in, only what becomes of our invites and knocks matters."""
        try:
            is_member = isinstance(pdu, dict) and pdu.get("type") == "m.room.member"
            event_id = await self._elsewhere.taken_back(origin, pdu) if is_member else None
        except (BadEvent, FederationFailure) as error:
            return f"pdu: {error}"
        if event_id is None:
            return "for a room that we are not in"
        results[event_id] = {}
        return TAKEN

    async def _take_edu(self, origin: str, edu: Any) -> str:
        if not isinstance(edu, dict):
            return "edu: no object"
        if is_ephemeral(edu) and not self._pacing.takes(origin, edu):
            return "edu: too many"
        try:
            await self._handle_edu(origin, edu)
        except (MatrixError, ValueError, KeyError, TypeError) as error:
            return f"edu: {error}"
        return TAKEN

    # ------------------------------------------------------------ rooms

    def _queue(self, room_id: str, waiting: _Waiting) -> None:
        queue = self._queues.setdefault(room_id, deque())
        if len(queue) >= MAX_QUEUE:
            self._overflowed.add(room_id)
        if room_id not in self._overflowed:  # else it follows those that wait in the database
            queue.append(waiting)
        self._wake(room_id)

    def _wake(self, room_id: str) -> None:
        if room_id not in self._workers and not self._closing:
            task = asyncio.create_task(self._work(room_id), name=f"gate {room_id}")
            self._workers[room_id] = task

    async def _work(self, room_id: str) -> None:
        """Place a room's waiting events, in the order of the inbox, until none is left."""
        try:
            joining = self._elsewhere.in_progress.get(room_id)
            if joining is not None:
                await joining.over.wait()
            room = None
            while not self._closing:
                before, room = room, await self._rooms.find(room_id)
                if before is not None and room is not before:
                    self._start_over(room_id)  # a commit failed: what it held is still waiting
                queue = self._queues.get(room_id)
                if queue:
                    await self._place(room_id, queue.popleft())
                elif not await self._refill(room_id):
                    return
        except Exception:
            logger.exception("room worker failed", room_id=room_id)
            self._start_over(room_id)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._workers.pop(room_id, None)
            if self._queues.get(room_id) or room_id in self._overflowed:
                self._wake(room_id)
            else:
                self._queues.pop(room_id, None)

    def _start_over(self, room_id: str) -> None:
        """Read a room's waiting events anew from the inbox, so that none overtakes another."""
        self._queues.pop(room_id, None)
        self._overflowed.add(room_id)

    async def _refill(self, room_id: str) -> bool:
        """Read what waits in the database and not in memory; False if nothing does."""
        room = await self._rooms.find(room_id)
        if room is not None:
            await room.settle()  # what is on its way to the disk still has its row
        rows = await inbox.get_waiting(self._database, room_id)
        queue = self._queues.setdefault(room_id, deque())
        if len(rows) < inbox.PAGE:
            self._overflowed.discard(room_id)
        held = {waiting.inbox_id for waiting in queue}
        for row in rows:
            if row.inbox_id in held:
                continue
            if room is None:
                await inbox.delete(self._database, row.inbox_id)
                continue
            event = parse_event(orjson.loads(row.pdu), room.version)
            queue.append(_Waiting(row.inbox_id, row.origin, event))
        return bool(rows)

    async def _place(self, room_id: str, waiting: _Waiting) -> None:
        event = waiting.event
        with structlog.contextvars.bound_contextvars(
            room_id=room_id, event_id=event.event_id, origin=waiting.origin
        ):
            room = await self._rooms.get(room_id)
            try:
                event = await self._checker.check(event.pdu, room.version)
                judgement = await self.accept(
                    room, event, waiting.origin, inbox_id=waiting.inbox_id
                )
            except (BadEvent, MatrixError) as error:
                logger.info("pdu dropped", reason=str(error))
                await inbox.delete(self._database, waiting.inbox_id)
                return
            except FederationFailure as error:
                await self._put_off(waiting, error)
                return
            if judgement is None:
                await self._drop_duplicate(room, waiting)

    async def _put_off(self, waiting: _Waiting, error: FederationFailure) -> None:
        """Its signer's keys cannot be had: try again, and drop it after some attempts.

        A later event that cites it brings it back, by way of ``get_missing_events``.
        """
        self._attempts[waiting.inbox_id] += 1
        if self._attempts[waiting.inbox_id] < MAX_ATTEMPTS:
            logger.info("pdu put off", reason=str(error))
            self._start_over(waiting.event.room_id)
            await asyncio.sleep(RETRY_SECONDS)
            return
        logger.warning("pdu dropped, unverified", reason=str(error))
        del self._attempts[waiting.inbox_id]
        await inbox.delete(self._database, waiting.inbox_id)

    async def _drop_duplicate(self, room: LiveRoom, waiting: _Waiting) -> None:
        """Drop what came twice, once the first one is on disk: until then it is not safe."""
        await room.settle()
        stored = await self._store.get(waiting.event.event_id)
        if stored is not None and stored.position:
            await inbox.delete(self._database, waiting.inbox_id)
        else:
            self._start_over(room.room_id)

    async def accept(
        self,
        room: LiveRoom,
        event: Event,
        origin: str,
        *,
        inbox_id: int | None = None,
        recursion: int = 0,
    ) -> Judgement | None:
        """Have what a verified event needs, then place it; the verdict, None if it was here."""
        known = await self._store.get(event.event_id)
        if known is not None and (known.timeline_order is not None or known.snapshot_after):
            return None
        missing = await self._missing_prevs(event)
        if missing and recursion < MAX_RECURSION:
            for ancestor in await self._fetching.missing_events(room, event, origin):
                await self.accept(room, ancestor, origin, recursion=MAX_RECURSION)
            missing = await self._missing_prevs(event)
        await self._fetching.ensure_auth_events(room, event, origin)
        state_before = None
        if missing:
            state_before = await self._fetching.state_before(room, event, origin)
        judgement = await self._arrivals.receive(
            event, inbox_id=inbox_id, state_before=state_before, wait=inbox_id is None
        )
        EVENTS_RECEIVED.labels(judgement.action.value).inc()
        logger.info("pdu", verdict=judgement.action.value, rule=judgement.rule, type=event.type)
        return None if judgement.action is Action.DUPLICATE else judgement

    async def _missing_prevs(self, event: Event) -> list[str]:
        """The prev events that we lack, or have only as outliers."""
        known = await self._store.get_many(event.prev_event_ids)
        return [
            event_id
            for event_id in event.prev_event_ids
            if event_id not in known or known[event_id].snapshot_after is None
        ]


def _in_words(dropped: Counter[str]) -> dict[str, Any]:
    """How many were dropped, and the most frequent reasons."""
    most = {reason[:MAX_REASON]: count for reason, count in dropped.most_common(REASONS_LOGGED)}
    return {"count": dropped.total(), "reasons": most}
