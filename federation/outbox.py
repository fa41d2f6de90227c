"""The outbox: whatever must reach other instances, durable and per destination.

An event carries the set of instances that it is for (``homeserver/storage/outbox.py``); upon
commit it is handed over in memory, and after a failure or a restart it is read from the database
again.  Implements :class:`homeserver.services.outgoing.EduQueue` and
:class:`homeserver.services.rooms.DestinationSets`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

import structlog

from federation.client import FederationClient
from federation.destination_queue import (
    DATABASE_PAUSE_SECONDS,
    DestinationQueue,
    QueueParts,
)
from federation.health import DestinationHealth
from federation.server_rules import ServerRules
from federation.transactions_out import OutgoingPdu
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.server_names import host_of
from homeserver.storage import outbox as storage
from homeserver.storage.admin_destinations import clear_failure
from homeserver.storage.database import Connection, Database
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice
from homeserver.storage.outbox import DestinationSets

logger = structlog.get_logger(__name__)

AT_ONCE = 256  # transactions under way, to instances that answer
FAILING_AT_ONCE = 32  # and to those that did not
OUTAGE_MS = 10_000  # silent for longer than this: we may have been missed
KNOWN_FOR_MS = 30 * 24 * 3600 * 1000
MOST_GREETED = 2000
GREETING_PAUSE_SECONDS = 0.02
LATE_COMMIT_SECONDS = 1.0
CLOSE_TIMEOUT_SECONDS = 5.0


class Outbox:
    """The queues of all destinations."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        client: FederationClient,
        health: DestinationHealth,
        rules: ServerRules,
        log: Log,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._health = health
        self._rules = rules
        self._sets = DestinationSets(database)
        self._clock_ms = clock_ms
        self._queues: dict[str, DestinationQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._uncommitted: set[str] = set()
        self._undispatched: deque[tuple[int, Event, int]] = deque()
        self._dispatching = False
        self._acks: dict[str, int] = {}
        self._ack_writer: asyncio.Task[None] | None = None
        self._closing = False
        self._parts = QueueParts(
            database=database,
            client=client,
            health=health,
            clock_ms=clock_ms,
            slots=asyncio.Semaphore(AT_ONCE),
            failing_slots=asyncio.Semaphore(FAILING_AT_ONCE),
            acked=self._acked,
            refused=self._refused,
            spawn=self._spawn,
        )
        self.arrivals: Callable[[str, int], None] = lambda _name, _position: None
        """Told of each destination that has got further: its name, and the position."""
        self.refusals: Callable[[str, Mapping[str, str]], None] = lambda _name, _reasons: None
        """Told of events that a destination did not take: its name, event ID -> why."""
        health.subscribe(self._recovered)
        log.subscribe(self.on_notice)

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Take up what waited when the process ended, and tell known peers that we are back."""
        self._spawn(self._resume())

    async def _resume(self) -> None:
        last = await storage.get_last_success(self._database)
        for server_name in await storage.get_backlogged(self._database):
            self._with_queue(server_name, DestinationQueue.schedule)
        now = self._clock_ms()
        if last is None or now - last < OUTAGE_MS:
            return
        peers = await storage.get_recent(self._database, now - KNOWN_FOR_MS, MOST_GREETED)
        logger.info("telling peers that we are back", peers=len(peers), silent_ms=now - last)
        for server_name in peers:
            if self._closing:
                return
            self._with_queue(server_name, DestinationQueue.greet)
            await asyncio.sleep(GREETING_PAUSE_SECONDS)

    async def close(self) -> None:
        """Let transactions under way end.  What has not arrived is in the database."""
        self._closing = True
        for queue in self._queues.values():
            queue.stop()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=CLOSE_TIMEOUT_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._ack_writer is not None:
            await self._ack_writer

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("outbox task failed", exc_info=task.exception())

    # ------------------------------------------------------------ events

    async def id_for(self, servers: frozenset[str]) -> int:
        """The number of a set of receiving instances; made if there is none."""
        return await self._sets.id_for(servers)

    def on_notice(self, notice: Notice) -> None:
        """Listens to the log: hand over the events that were committed."""
        if self._uncommitted:
            # EDUs that were queued inside the transaction that has just been committed
            self.wake(self._uncommitted)
            self._uncommitted = set()
        for position, record in notice.records:
            if isinstance(record, EventRecord) and record.destination_set is not None:
                self._undispatched.append((position, record.event, record.destination_set))
            elif isinstance(record, ErasureRecord):
                self._erase(record)
        if not self._dispatching:
            self._dispatch()

    def _erase(self, record: ErasureRecord) -> None:
        redacted = {event.event_id: event.pdu for event in record.events}
        for queue in self._queues.values():
            queue.erase(redacted)

    def _dispatch(self) -> None:
        """Hand events over in their order; where a set is not in memory, once it has been read.

        None may overtake another: a destination that has got one counts as having all before it.
        """
        while self._undispatched and not self._closing:
            position, event, set_id = self._undispatched[0]
            servers = self._sets.cached_servers_of(set_id)
            if servers is None:
                self._dispatching = True
                self._spawn(self._read_set(set_id))
                return
            self._undispatched.popleft()
            pdu = OutgoingPdu.from_event(position, event)
            for server_name in servers:
                self._with_queue(server_name, DestinationQueue.add_pdu, pdu)

    async def _read_set(self, set_id: int) -> None:
        try:
            while not self._closing:
                try:
                    await self._sets.servers_of(set_id)
                    break
                except Exception:
                    logger.exception("receivers of an event cannot be read", set_id=set_id)
                    await asyncio.sleep(DATABASE_PAUSE_SECONDS)
        finally:
            self._dispatching = False
        self._dispatch()

    def _with_queue(self, server_name: str, act: Callable[..., None], *arguments: Any) -> None:
        """Do something with a destination's queue, unless nothing may be sent there."""
        if self._closing or server_name == self._server_name:
            return
        if not self._rules.allows(server_name):
            return
        queue = self._queues.get(server_name)
        if queue is None:
            queue = self._queues[server_name] = DestinationQueue(server_name, self._parts)
        act(queue, *arguments)

    def _recovered(self, server_name: str) -> None:
        if server_name in self._queues:
            self._queues[server_name].schedule()

    def try_now(self, server_name: str) -> None:
        """Do not wait any longer until a destination that did not answer is tried again."""
        self._health.try_now(server_name)
        self._with_queue(server_name, DestinationQueue.schedule)

    async def reset(self, server_name: str) -> None:
        """Treat a destination as if it had never failed, and try it at once."""
        await clear_failure(self._database, server_name)
        self._health.forget(server_name)
        self._with_queue(server_name, DestinationQueue.schedule)

    def may_send_to(self, server_name: str) -> bool:
        """Whether anything may be sent to an instance at all."""
        return self._rules.allows(server_name)

    def failing_since(self, server_name: str) -> int | None:
        """Since when an instance has not answered (ms); None if it does."""
        return self._health.failing_since(server_name)

    # ------------------------------------------------------------ blocked instances

    def rules_changed(self) -> None:
        """Stop sending to whom nothing may be sent any more; send to whom it may be again."""
        for server_name in [name for name in self._queues if not self._rules.allows(name)]:
            self._queues.pop(server_name).stop()
        if not self._closing:
            self._spawn(self._take_up())

    async def _take_up(self) -> None:
        for server_name in await storage.get_backlogged(self._database):
            if server_name not in self._queues:
                self._with_queue(server_name, DestinationQueue.schedule)

    async def forget(self, server: str) -> None:
        """Drop what waits for the instances that a glob names, with or without their port."""
        pattern = glob_to_regex(server, ignore_case=True)
        names = [
            name
            for name in await storage.get_backlogged(self._database)
            if pattern.match(name) or pattern.match(host_of(name))
        ]
        if names:
            await storage.drop_waiting(self._database, names)
            logger.info("dropped what waited for a blocked instance", servers=names)

    # ------------------------------------------------------------ EDUs

    async def queue_edu(
        self,
        destinations: Collection[str],
        edu_type: str,
        content: JsonObject,
        coalesce_key: str | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Queue an EDU that must arrive, inside the transaction of ``connection`` if given.

        A later one of the same key replaces it.  Inside a transaction of the log it is sent as
        soon as that is committed; inside another one, call :meth:`wake` after the commit.
        """
        allowed = [
            server_name
            for server_name in destinations
            if server_name != self._server_name and self._rules.allows(server_name)
        ]
        if not allowed:
            return
        await storage.add_edu(
            connection or self._database, allowed, edu_type, content, coalesce_key
        )
        if connection is None:
            self.wake(allowed)
            return
        self._uncommitted.update(allowed)
        asyncio.get_running_loop().call_later(LATE_COMMIT_SECONDS, self.wake, allowed)

    def wake(self, destinations: Collection[str]) -> None:
        """There are EDUs in the database for these."""
        for server_name in destinations:
            self._with_queue(server_name, DestinationQueue.edus_waiting)

    def queue_ephemeral(
        self, destinations: Collection[str], edu_type: str, content: JsonObject, key: str
    ) -> None:
        """Queue an EDU that need not arrive; instances that are down do not get it."""
        for server_name in destinations:
            if not self._health.is_failing(server_name):
                self._with_queue(
                    server_name, DestinationQueue.add_ephemeral, edu_type, content, key
                )

    # ------------------------------------------------------------ acknowledgements

    def _acked(self, server_name: str, position: int) -> None:
        """Note how far a destination has got; written together with others' as soon as possible."""
        self._acks[server_name] = position
        self.arrivals(server_name, position)
        if self._ack_writer is None or self._ack_writer.done():
            self._ack_writer = asyncio.create_task(self._write_acks(), name="outbox acks")

    async def _refused(self, server_name: str, reasons: Mapping[str, str]) -> None:
        """Keep why a destination did not take events of ours."""
        await storage.save_refusals(self._database, server_name, reasons, self._clock_ms())
        self.refusals(server_name, reasons)

    async def _write_acks(self) -> None:
        while self._acks:
            acks, self._acks = self._acks, {}
            try:
                await storage.save_acks(self._database, acks, self._clock_ms())
            except Exception:
                # what arrived may be sent again; the other side knows it by its ID
                logger.exception("acknowledgements not saved", count=len(acks))
