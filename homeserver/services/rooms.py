"""The one path by which an event enters a room.

A client's send, an application service and the gate of federation all come through here:
build, authorise, ask policy and consent, give to the log.  See ``docs/architecture.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import asyncpg
import structlog
from msgspec import Struct

from homeserver.errors import Forbidden, MatrixError, NotFound
from homeserver.protocol.auth_rules import Rejected, auth_event_keys, check_auth
from homeserver.protocol.events import (
    BadEvent,
    Event,
    JsonObject,
    build_event,
    check_format,
)
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.room_versions import EventIdFormat
from homeserver.protocol.signing import SigningKey
from homeserver.protocol.stripped import stripped_state_event, stripped_state_keys
from homeserver.services.bad_events import bad_event
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.live_room import CREATE, LiveRoom, LiveRooms
from homeserver.services.message_fields import check_message_end
from homeserver.services.recent_transactions import RecentTransactions
from homeserver.services.unharmed import unharmed
from homeserver.services.unread_rules import UnreadRules
from homeserver.storage import events as event_storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import (
    ClientTransaction,
    EventRecord,
    MembershipChange,
    RoomMoved,
    RoomUpdate,
)
from homeserver.storage.log import Log, Record

logger = structlog.get_logger(__name__)

MAX_PREV_EVENTS = 10
MAX_REBUILDS = 20
INVITED = ("invite", "knock")


class Draft(Struct, frozen=True):
    """An event as its sender wants it, before it has a place in the room."""

    sender: str
    type: str
    content: JsonObject
    state_key: str | None = None
    redacts: str | None = None
    origin_server_ts: int | None = None  # ms; None: now
    by_admin: bool = False  # of this server, who may redact what its users sent


class Sent(Struct, frozen=True):
    """An event that is on disk."""

    event: Event
    position: int
    held: bool = False  # until a moderator releases it
    repeated: bool = False  # an earlier request with the same transaction sent it


class SendGate(Protocol):
    """Policy and consent, asked before a local event is built."""

    async def check_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        """Accept or soft-fail; raise a :class:`MatrixError` if it may not be sent."""


class EventSigner(Protocol):
    """Asks rooms' policy servers for their signatures."""

    async def signed(self, room: LiveRoom, event: Event) -> Event:
        """An event with the signature; raise a :class:`MatrixError` if it may not be sent."""


class DestinationSets(Protocol):
    """Numbers for distinct sets of receiving instances."""

    async def id_for(self, servers: frozenset[str]) -> int:
        """The set's number; made if there is none."""


class Rooms:
    """Appends events to rooms."""

    def __init__(
        self,
        *,
        server_name: str,
        signing_key: SigningKey,
        database: Database,
        log: Log,
        live_rooms: LiveRooms,
        store: EventStore,
        gate: SendGate,
        policy_servers: EventSigner,
        unread: UnreadRules,
        destination_sets: DestinationSets,
        clock_ms: Callable[[], int],
        random_id: Callable[[], str],
    ) -> None:
        self.server_name = server_name
        self.signing_key = signing_key
        self._database = database
        self._log = log
        self._live_rooms = live_rooms
        self._store = store
        self._gate = gate
        self._policy_servers = policy_servers
        self._unread = unread
        self._destination_sets = destination_sets
        self._clock_ms = clock_ms
        self._random_id = random_id
        self._transactions = RecentTransactions()

    # ------------------------------------------------------------ reading

    async def get(self, room_id: str) -> LiveRoom:
        """A room.  Raises :class:`NotFound` if we do not have it."""
        room = await self._live_rooms.get(room_id)
        if room is None:
            raise NotFound("This server does not know that room")
        return room

    async def find(self, room_id: str) -> LiveRoom | None:
        """A room, or None if we do not have it."""
        return await self._live_rooms.get(room_id)

    def is_current(self, room: LiveRoom) -> bool:
        """Whether this is still what memory has of the room."""
        return self._live_rooms.cached(room.room_id) is room

    async def get_joined(self, room_id: str, user_id: str) -> LiveRoom:
        """A room to which the user is joined.  Raises :class:`Forbidden`."""
        room = await self._live_rooms.get(room_id)
        if room is None or not room.is_joined(user_id):
            raise Forbidden("You are not joined to this room")
        return room

    # ------------------------------------------------------------ sending

    async def send(
        self,
        room_id: str,
        draft: Draft,
        *,
        transaction: ClientTransaction | None = None,
        gated: bool = True,
        judgement: Judgement | None = None,
        queued: Callable[[], None] | None = None,
    ) -> Sent:
        """Send an event as a local user; returns when it is on disk.

        The same ``transaction`` again returns the event that it made the first time.  Not
        ``gated``: neither policy nor consent is asked.  ``judgement``: nor are they if they were
        asked before, and said this.  ``queued`` is called once it has its place in the log.
        Raises: :class:`NotFound`, :class:`Forbidden`, :class:`TooLarge`, and what policy and
        consent raise.
        """
        if draft.state_key is None:
            check_message_end(draft.content)
        known = judgement if gated else ACCEPTED
        if transaction is None:
            return await self._send(room_id, draft, None, known, queued)
        return await self._transactions.once(
            transaction, lambda: self._send(room_id, draft, transaction, known, queued)
        )

    async def _send(
        self,
        room_id: str,
        draft: Draft,
        transaction: ClientTransaction | None,
        known: Judgement | None,
        queued: Callable[[], None] | None,
    ) -> Sent:
        for _ in range(MAX_REBUILDS):
            room = await self.get(room_id)
            judgement = known or await self._gate.check_send(room, draft)
            async with room.lock:
                if not self.is_current(room):
                    continue
                record = await self.place(room, draft, judgement, transaction)
                done = self.commit(room, [record])
            if queued is not None:
                queued()
            try:
                position = (await unharmed(done))[0]
            except RoomMoved:
                continue
            except asyncpg.UniqueViolationError:
                sent = await self.sent_before(transaction)
                if sent is None:
                    continue
                return sent
            return Sent(record.event, position, judgement.action is Action.HOLD)
        raise MatrixError("The room is too busy; try again", status=503)

    async def send_state(self, room_id: str, draft: Draft) -> str:
        """Send a state event, unless the state is so already; the event's ID.

        Raises what :meth:`send` raises.
        """
        assert draft.state_key is not None
        room = await self.get(room_id)
        key = (draft.type, draft.state_key)
        if key in room.state and room.is_joined(draft.sender):
            await room.load_events(self._store, (key,))
            current = room.event(key)
            if (
                current is not None
                and current.content == draft.content
                and current.sender == draft.sender
            ):
                return current.event_id
        return (await self.send(room_id, draft)).event.event_id

    async def sent_before(self, transaction: ClientTransaction | None) -> Sent | None:
        """The event that a transaction made, if it was seen before."""
        if transaction is None:
            return None
        event_id = await event_storage.get_transaction_event(
            self._database,
            transaction.user_id,
            transaction.device_id,
            transaction.path,
            transaction.txn_id,
        )
        stored = await self._store.get(event_id) if event_id is not None else None
        if stored is None:
            return None
        return Sent(stored.event, stored.position, stored.withheld is not None, repeated=True)

    async def build(self, room: LiveRoom, draft: Draft) -> Event:
        """Build, hash, sign and authorise an event on the room's present state.

        Call it with the room's lock held.  Raises :class:`Forbidden`, :class:`TooLarge`.
        """
        keys = auth_event_keys(
            draft.type, draft.state_key, draft.sender, draft.content, room.version
        )
        await room.load_events(self._store, keys)
        await self._unread.prepare(room, draft.content)
        if draft.type == "m.room.member" and draft.content.get("membership") in INVITED:
            await room.load_events(self._store, stripped_state_keys(draft.sender))
        state = room.state_events(keys)
        if not room.extremities:
            raise NotFound("This server has no history of that room to build on")
        prev_events = list(room.extremities.values())[-MAX_PREV_EVENTS:]
        assigned = room.version.event_id_format is EventIdFormat.ASSIGNED
        sent_at = self._clock_ms() if draft.origin_server_ts is None else draft.origin_server_ts
        try:
            event = build_event(
                room.version,
                room_id=room.room_id,
                sender=draft.sender,
                type=draft.type,
                content=draft.content,
                state_key=draft.state_key,
                prev_events=prev_events,
                auth_events=list(state.values()),
                depth=min(max(prev.depth for prev in prev_events) + 1, 2**53 - 1),
                origin_server_ts=sent_at,
                redacts=draft.redacts,
                server_name=self.server_name,
                signing_key=self.signing_key,
                event_id=f"${self._random_id()}:{self.server_name}" if assigned else None,
                with_origin=self._goes_by_invite(draft),
            )
            check_format(event.pdu, room.version)
        except BadEvent as error:
            raise bad_event(error) from error
        create = room.event(CREATE)
        verdict = check_auth(event, {**state, CREATE: create} if create is not None else state)
        if isinstance(verdict, Rejected):
            raise Forbidden(verdict.reason)
        return event

    def _goes_by_invite(self, draft: Draft) -> bool:
        """Whether another server has to sign it.  Spec: ``PUT /invite``, where it has an origin."""
        is_invite = draft.type == "m.room.member" and draft.content.get("membership") == "invite"
        return is_invite and server_name_of(draft.state_key or "") != self.server_name

    async def build_signed(self, room: LiveRoom, draft: Draft) -> Event:
        """Build an event to be sent: :meth:`build`, and the signature of the room's policy server.

        The room waits while its policy server is asked, for a few seconds at most, so that its
        events do not fork.  Raises what :meth:`build` raises, and the policy server's refusal.
        """
        event = await self.build(room, draft)
        return await self._policy_servers.signed(room, event)

    async def place(
        self,
        room: LiveRoom,
        draft: Draft,
        judgement: Judgement,
        transaction: ClientTransaction | None = None,
    ) -> EventRecord:
        """Build an event as it was judged, and move the room by it; the record, to be committed.

        What policy soft-failed or holds is kept from everybody, and does not move the room.  Call
        it with the room's lock held.  Raises what :meth:`build_signed` raises.
        """
        if judgement.action is not Action.ACCEPT:
            return self._withheld(room, await self.build(room, draft), judgement, transaction)
        event = await self.build_signed(room, draft)
        redacts = await self._redaction_target(room, event, draft.by_admin)
        await self._live_rooms.prepare_snapshot_ids(1)
        before = room.destinations
        with self.moving(room, event):
            record = self.apply(room, event)
            record.transaction = transaction
            record.redacts = redacts
            record.flags, record.strip_rule = judgement.flags, judgement.strip_rule
            record.destination_set = await self.destination_set(room, event, before)
        return record

    def _withheld(
        self,
        room: LiveRoom,
        event: Event,
        judgement: Judgement,
        transaction: ClientTransaction | None,
    ) -> EventRecord:
        """The record of an event that nobody sees, and nothing builds upon.

        What is held has its place in the timeline, for when it is released.
        """
        if event.is_state:
            judgement = judgement.for_state()
        held = judgement.action is Action.HOLD
        return EventRecord(
            event,
            live=held,
            soft_failed=not held,
            withheld=judgement.withheld,
            unsent=held,
            strip_rule=judgement.strip_rule,
            snapshot_before=room.snapshot_id,
            snapshot_after=room.snapshot_id,
            transaction=transaction,
        )

    async def destination_set(
        self, room: LiveRoom, event: Event, before: frozenset[str]
    ) -> int | None:
        """Who else gets an event of ours: every instance with a member before or after it.

        The number of the set; None for nobody.
        """
        servers = room.destinations
        if event.type == "m.room.member" and event.state_key is not None:
            servers = servers | before
            target = server_name_of(event.state_key)
            if event.membership != "invite" and target != self.server_name:
                servers = servers | {target}  # a kick, ban or withdrawn invite
        if not servers:
            return None
        if servers != room.destinations:
            return await self._destination_sets.id_for(servers)
        if room.destination_set is None:
            room.destination_set = await self._destination_sets.id_for(servers)
        return room.destination_set

    # ------------------------------------------------------------ moving a room

    @contextmanager
    def moving(self, room: LiveRoom, *events: Event) -> Iterator[None]:
        """A room while it is moved by events: should that fail, it is read again, without them."""
        try:
            yield
        except BaseException:
            self._take_back(room, events)
            raise

    def apply(self, room: LiveRoom, event: Event) -> EventRecord:
        """Move the room by an event that follows its present state.

        Returns the record for the log.  Needs a snapshot ID in hand and the room's lock.
        """
        record = EventRecord(event, snapshot_before=room.snapshot_id)
        record.notifications = self._unread.notifications(room, event)
        room.add_extremity(event)
        if event.is_state:
            room.set_state(event.key, event)
            snapshot = room.next_snapshot(
                self._live_rooms.take_snapshot_id(), {event.key: event.event_id}
            )
            record.snapshots = (snapshot,)
            if event.type == "m.room.member":
                record.memberships = (self.membership_change(room, event),)
        record.snapshot_after = room.snapshot_id
        return record

    def membership_change(self, room: LiveRoom, event: Event) -> MembershipChange:
        """The membership row of a member event; invites of ours carry stripped state."""
        assert event.state_key is not None
        local = server_name_of(event.state_key) == self.server_name
        membership = event.membership or "leave"
        stripped = None
        if local and membership in ("invite", "knock"):
            stripped = self.stripped_state(room, event)
        return MembershipChange(
            room.room_id, event.state_key, membership, event.event_id, event.sender, local, stripped
        )

    def stripped_state(self, room: LiveRoom, event: Event) -> list[JsonObject]:
        """What an invited or knocking user may see of a room; events must be loaded."""
        state = room.state_events(stripped_state_keys(event.sender))
        events = [*(e for e in state.values() if e.key != event.key), event]
        return [stripped_state_event(event) for event in events]

    def invite_room_state(self, room: LiveRoom, event: Event) -> list[JsonObject]:
        """What another instance is told of a room with an invite or knock: full PDUs.

        Spec: server-server API, ``PUT /invite`` (v1.16: entries are PDUs, the create event among
        them).
        """
        state = room.state_events(stripped_state_keys(event.sender))
        return [stripped.pdu for stripped in state.values() if stripped.key != event.key]

    def commit(self, room: LiveRoom, records: Sequence[EventRecord]) -> asyncio.Future[list[int]]:
        """Give records that moved a room to the log, guarded by the room's revision."""
        return self.commit_together([(room, records)])

    def commit_together(
        self, moves: Sequence[tuple[LiveRoom, Sequence[EventRecord]]], *others: Record
    ) -> asyncio.Future[list[int]]:
        """The same for several rooms, and what goes with them: all is written, or nothing."""
        for room, records in moves:
            base = room.revision
            room.revision += 1
            assert room.snapshot_id is not None
            records[-1].room = RoomUpdate(
                base, room.revision, room.snapshot_id, tuple(room.extremities)
            )
            for record in records:
                self._store.expect(record)
        done = self._log.append(*(r for _, records in moves for r in records), *others)
        for room, records in moves:
            room.last_append = done
            done.add_done_callback(partial(self._after_commit, room, records))
        return done

    def _after_commit(
        self,
        room: LiveRoom,
        records: Sequence[EventRecord],
        done: asyncio.Future[list[int]],
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            self._take_back(room, [record.event for record in records])

    def _take_back(self, room: LiveRoom, events: Sequence[Event]) -> None:
        if self.is_current(room):
            self._live_rooms.drop(room.room_id)
        for event in events:
            self._store.forget(event.event_id)

    # ------------------------------------------------------------ redactions

    async def _redaction_target(self, room: LiveRoom, event: Event, by_admin: bool) -> str | None:
        """The event that a local redaction redacts.  Raises :class:`Forbidden`."""
        if event.redacts is None:
            return None
        stored = await self._store.get(event.redacts)
        if stored is None or stored.event.room_id != room.room_id:
            raise NotFound("There is no such event in this room")
        # Instances trust each other's word for their own users; among ours the server decides.
        levels = room.power_levels
        is_own = event.sender == stored.event.sender
        is_own |= by_admin and server_name_of(stored.event.sender) == self.server_name
        if not is_own and levels.user(event.sender) < levels.redact:
            raise Forbidden("You may not redact other people's messages in this room")
        return event.redacts
