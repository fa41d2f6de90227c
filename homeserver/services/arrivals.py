"""Events of other instances entering a room that we are in.

The gate of federation has checked signatures, hashes and format, and fetched what was missing.
Here an event is authorised, judged by content policy, given its place, and forks are resolved.
Spec: server-server API, checks performed on receipt of a PDU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.errors import Forbidden
from homeserver.protocol.auth_rules import (
    Rejected,
    auth_event_keys,
    check_auth,
    check_auth_events,
)
from homeserver.protocol.events import Event, StateKey, redacted_copy
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.stripped import stripped_state_keys
from homeserver.services.event_store import EventStore
from homeserver.services.judgement import (
    ACCEPTED,
    CURRENT_STATE,
    DUPLICATE,
    Action,
    Judgement,
    takes_no_effect,
)
from homeserver.services.live_room import (
    ALWAYS_LOADED,
    CREATE,
    ENTRIES_PER_LINK,
    SHORTEST_CHAIN,
    LiveRoom,
    LiveRooms,
)
from homeserver.services.policy_server import Vetted
from homeserver.services.redaction_rules import may_redact
from homeserver.services.rooms import INVITED, DestinationSets, Rooms
from homeserver.services.state import State, States
from homeserver.services.unread_rules import UnreadRules
from homeserver.storage import events as event_storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, MembershipChange, NewSnapshot
from homeserver.storage.events import StoredEvent

logger = structlog.get_logger(__name__)


class ArrivalPolicy(Protocol):
    """Content policy for events of other instances; it writes its own audit rows."""

    async def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        """Accept, soft-fail or reject."""

    async def record_verdict(self, room: LiveRoom, event: Event, judgement: Judgement) -> None:
        """Leave an audit row for a verdict of the auth rules."""


class ArrivalVetting(Protocol):
    """Rooms' policy servers, for events that arrive."""

    async def vet(self, room: LiveRoom, event: Event) -> Vetted:
        """The event, signed if it was not; the verdict, if there is one already."""


class InvitedUsers(Protocol):
    """The consent of local users to invites."""

    async def invite_arrived(self, event: Event) -> Judgement:
        """Accept an invite of one of ours, or soft-fail it: its sender did not ask us first."""


class _Before(Struct, frozen=True):
    """The state before an event.  ``snapshot_id`` is None if it is not stored yet."""

    state: State
    snapshot_id: int | None
    linear: bool = False


class Arrivals:
    """Takes in events of other instances, one at a time for each room."""

    def __init__(
        self,
        *,
        database: Database,
        rooms: Rooms,
        live_rooms: LiveRooms,
        store: EventStore,
        states: States,
        policy: ArrivalPolicy,
        policy_servers: ArrivalVetting,
        unread: UnreadRules,
        destination_sets: DestinationSets,
        invited: InvitedUsers,
    ) -> None:
        self._invited = invited
        self._database = database
        self._rooms = rooms
        self._live_rooms = live_rooms
        self._store = store
        self._states = states
        self._policy = policy
        self._policy_servers = policy_servers
        self._unread = unread
        self._destination_sets = destination_sets

    async def receive(
        self,
        event: Event,
        *,
        inbox_id: int | None = None,
        state_before: State | None = None,
        relay_from: str | None = None,
        wait: bool = True,
    ) -> Judgement:
        """Take in one event; returns when it is on disk, or, without ``wait``, on its way there.

        Only an event that is in the inbox need not be waited for: should the commit fail, it is
        still there.

        ``state_before`` is what another instance said, for an event whose ancestors we lack.
        ``relay_from``: pass it on to every instance in the room but this one (a join or knock
        that came in by ``send_join`` or ``send_knock``).
        """
        room = await self._rooms.get(event.room_id)
        vetted = await self._policy_servers.vet(room, event)
        event = vetted.event
        async with room.lock:
            known = await self._store.get(event.event_id)
            if known is not None and (
                known.timeline_order is not None or known.snapshot_after or known.erased
            ):
                return DUPLICATE
            await self._live_rooms.prepare_snapshot_ids(4)
            before = await self._state_before(room, event, state_before)
            redacted_by = None if before.linear else await self._redacted_before(room, event)
            if redacted_by is not None:
                event = redacted_copy(event)  # before anybody sees it
            judgement = await self._judge(room, event, before)
            if judgement.action is Action.ACCEPT:
                judgement = await self._ask(room, event, vetted)
            if event.is_state:
                judgement = judgement.for_state()
            done = await self._place(
                room, event, before, judgement, inbox_id, relay_from, redacted_by
            )
        if wait or redacted_by is not None:
            await asyncio.shield(done)
        if redacted_by is not None:
            await event_storage.set_redacted(self._database, event.event_id, redacted_by)
            self._store.forget(event.event_id)
        if judgement.action is not Action.ACCEPT:
            await self._policy.record_verdict(room, event, judgement)
        return judgement

    async def let_in(self, room: LiveRoom, held: StoredEvent) -> EventRecord:
        """Give an event of ours that was held before anybody got it its place in the graph.

        Call it with the room's lock held.  Raises :class:`Forbidden` if the room's present state
        does not allow the event any more.
        """
        event = held.event
        verdict = check_auth(event, await self._auth_state(event, room.state))
        if isinstance(verdict, Rejected):
            raise Forbidden(f"The room's state does not allow it any more: {verdict.reason}")
        if set(event.prev_event_ids) == room.extremities.keys():
            return self._rooms.apply(room, event)
        await room.settle()
        await self._live_rooms.prepare_snapshot_ids(4)
        assert held.snapshot_before is not None
        state = await self._states.get(held.snapshot_before)
        return await self._merge(room, event, _Before(state, held.snapshot_before))

    # ------------------------------------------------------------ judging

    async def _state_before(self, room: LiveRoom, event: Event, given: State | None) -> _Before:
        if set(event.prev_event_ids) == room.extremities.keys():
            return _Before(room.state, room.snapshot_id, linear=True)
        await room.settle()
        prevs = await self._store.get_many(event.prev_event_ids)
        snapshots = {s.snapshot_after for s in prevs.values() if s.snapshot_after is not None}
        if given is None and snapshots:
            snapshot_id, state = await self._states.resolve_snapshots(room.version, snapshots)
            return _Before(state, snapshot_id)
        states = [await self._states.get(snapshot_id) for snapshot_id in sorted(snapshots)]
        if given is not None:
            states.append(given)
        if not states:
            return _Before({}, None)
        return _Before(await self._states.resolve(room.version, states), None)

    async def _judge(self, room: LiveRoom, event: Event, before: _Before) -> Judgement:
        """What the auth rules say."""
        auth = await self._store.get_many(event.auth_event_ids)
        if len(auth) != len(set(event.auth_event_ids)):
            return Judgement(Action.REJECT, "auth_events", "some of its auth events are unknown")
        rejected = {event_id for event_id, stored in auth.items() if stored.rejected is not None}
        auth_events = [auth[event_id].event for event_id in event.auth_event_ids]
        verdict = check_auth_events(event, auth_events, rejected)
        if isinstance(verdict, Rejected):
            return Judgement(Action.REJECT, "auth_events", verdict.reason)
        create = room.event(CREATE)
        by_key = {auth_event.key: auth_event for auth_event in auth_events}
        if create is not None:
            by_key.setdefault(CREATE, create)
        verdict = check_auth(event, by_key)
        if isinstance(verdict, Rejected):
            return Judgement(Action.REJECT, "auth_events", verdict.reason)
        if not before.linear:
            verdict = check_auth(event, await self._auth_state(event, before.state))
            if isinstance(verdict, Rejected):
                return Judgement(Action.REJECT, "state_before", verdict.reason)
        verdict = check_auth(event, await self._auth_state(event, room.state))
        if isinstance(verdict, Rejected):
            action = Action.REJECT if before.linear else Action.SOFT_FAIL
            return Judgement(action, CURRENT_STATE, verdict.reason)
        return ACCEPTED

    async def _ask(self, room: LiveRoom, event: Event, vetted: Vetted) -> Judgement:
        """What the room's policy server, content policy and consent say of an event."""
        judgement = vetted.judgement or await self._policy.judge_arrival(room, event)
        if event.membership == "invite" and judgement.action is Action.ACCEPT:
            judgement = await self._invited.invite_arrived(event)
        return judgement

    async def _auth_state(self, event: Event, state: State) -> dict[StateKey, Event]:
        """The events of a state that the auth rules may look at for this event."""
        keys = auth_keys(event)
        ids = {key: state[key] for key in keys if key in state}
        found = await self._store.get_many(ids.values())
        return {key: found[event_id].event for key, event_id in ids.items() if event_id in found}

    # ------------------------------------------------------------ placing

    async def _place(
        self,
        room: LiveRoom,
        event: Event,
        before: _Before,
        judgement: Judgement,
        inbox_id: int | None,
        relay_from: str | None,
        redacted_by: str | None,
    ) -> asyncio.Future[list[int]]:
        servers_before = room.destinations
        await self._unread.prepare(room, event.content)
        held = judgement.withheld is not None
        with self._rooms.moving(room, event):
            if judgement.action is not Action.ACCEPT and not held:
                record = await self._refused(room, event, before, judgement)
            elif before.linear:
                await room.load_events(self._store, stripped_keys(event))
                record = self._rooms.apply(room, event)
            else:
                record = await self._merge(room, event, before)
            record.inbox_id, record.redacted_by = inbox_id, redacted_by
            record.flags, record.strip_rule = judgement.flags, judgement.strip_rule
            if held:
                record.withheld, record.notifications = judgement.withheld, ()
                record.missing_prev_event_ids = await self._missing_prevs(event, before)
            elif judgement.action is Action.ACCEPT:
                record.redacts = await self.redaction_target(room, event)
                record.soft_failed = takes_no_effect(event, record.redacts)
                record.missing_prev_event_ids = await self._missing_prevs(event, before)
                if relay_from is not None:
                    servers = (room.destinations | servers_before) - {relay_from}
                    if servers:
                        record.destination_set = await self._destination_sets.id_for(servers)
        return self._rooms.commit(room, [record])

    async def _missing_prevs(self, event: Event, before: _Before) -> Sequence[str]:
        if before.linear:
            return ()
        known = await self._store.get_many(event.prev_event_ids)
        return [
            event_id
            for event_id in event.prev_event_ids
            if event_id not in known or known[event_id].snapshot_after is None
        ]

    async def redaction_target(self, room: LiveRoom, event: Event) -> str | None:
        """The event that it redacts, if it may; remembered if that has not arrived yet."""
        if event.redacts is None:
            return None
        target = await self._store.get(event.redacts)
        if target is None:
            await event_storage.add_pending_redaction(
                self._database, event.redacts, event.event_id, room.room_id
            )
            return None
        return event.redacts if may_redact(room, event, target.event) else None

    async def _redacted_before(self, room: LiveRoom, event: Event) -> str | None:
        """The redaction that came before an event, if it may redact it."""
        pending = await event_storage.take_pending_redactions(self._database, [event.event_id])
        redaction_id = pending.get(event.event_id)
        redaction = await self._store.get(redaction_id) if redaction_id is not None else None
        if redaction is None or redaction.rejected is not None:
            return None
        return redaction_id if may_redact(room, redaction.event, event) else None

    def _snapshot_before(self, room: LiveRoom, before: _Before) -> tuple[int, list[NewSnapshot]]:
        """The stored snapshot of the state before, written now if there was none."""
        if before.snapshot_id is not None:
            return before.snapshot_id, []
        snapshot_id = self._live_rooms.take_snapshot_id()
        return snapshot_id, [NewSnapshot(snapshot_id, room.room_id, None, 0, dict(before.state))]

    async def _refused(
        self, room: LiveRoom, event: Event, before: _Before, judgement: Judgement
    ) -> EventRecord:
        """A record for an event that does not show; later events may still cite it.

        What the present state alone forbids takes part in state resolution all the same, else
        instances that were not told in the same order would never agree.
        Spec: server-server API, soft failure.
        """
        snapshot_before, snapshots = self._snapshot_before(room, before)
        snapshot_after = snapshot_before
        soft_failed = judgement.action is Action.SOFT_FAIL
        if soft_failed and judgement.rule == CURRENT_STATE and event.is_state:
            new = await self._snapshot_with(room, event, before, snapshot_before)
            snapshots.append(new)
            snapshot_after = new.snapshot_id
        return EventRecord(
            event,
            live=False,
            snapshot_before=snapshot_before,
            snapshot_after=snapshot_after,
            snapshots=snapshots,
            rejected=None if soft_failed else judgement.reason or judgement.rule,
            soft_failed=soft_failed,
        )

    async def _merge(self, room: LiveRoom, event: Event, before: _Before) -> EventRecord:
        """Place an event beside others: its own state after, and the room's resolved anew."""
        snapshot_before, snapshots = self._snapshot_before(room, before)
        snapshot_after, state_after = snapshot_before, before.state
        if event.is_state:
            state_after = {**before.state, event.key: event.event_id}
            new = await self._snapshot_with(room, event, before, snapshot_before)
            snapshots.append(new)
            snapshot_after = new.snapshot_id
        record = EventRecord(
            event,
            snapshot_before=snapshot_before,
            snapshot_after=snapshot_after,
            notifications=self._unread.notifications(room, event),
        )
        self._store.expect(record)
        room.add_extremity(event)
        if snapshot_after != room.snapshot_id:
            extra, record.memberships = await self._settle_state(room, snapshot_after, state_after)
            snapshots.extend(extra)
        record.snapshots = snapshots
        return record

    async def _snapshot_with(
        self, room: LiveRoom, event: Event, before: _Before, snapshot_before: int
    ) -> NewSnapshot:
        """A new snapshot of the state after a state event."""
        snapshot_id, chain = self._live_rooms.take_snapshot_id(), 0
        if before.snapshot_id is not None:
            chain = await room_storage.get_chain_length(self._database, before.snapshot_id)
        delta = {event.key: event.event_id}
        if chain >= max(SHORTEST_CHAIN, (len(before.state) + 1) // ENTRIES_PER_LINK):
            return NewSnapshot(snapshot_id, room.room_id, None, 0, {**before.state, **delta})
        return NewSnapshot(snapshot_id, room.room_id, snapshot_before, chain + 1, delta)

    async def _settle_state(
        self, room: LiveRoom, snapshot_after: int, state_after: State
    ) -> tuple[list[NewSnapshot], list[MembershipChange]]:
        """The room's current state from all its extremities; what changes thereby."""
        stored = await self._store.get_many(room.extremities)
        by_snapshot: dict[int, State] = {snapshot_after: state_after}
        for extremity in stored.values():
            snapshot_id = extremity.snapshot_after
            if snapshot_id is not None and snapshot_id not in by_snapshot:
                by_snapshot[snapshot_id] = await self._states.get(snapshot_id)
        states = list(by_snapshot.values())
        resolved: Mapping[StateKey, str] = states[0]
        if any(state != states[0] for state in states[1:]):
            resolved = await self._states.resolve(room.version, states)
        changed = room.replace_state(dict(resolved))
        memberships = await self._follow_members(room, changed)
        await room.load_events(self._store, ALWAYS_LOADED)
        for snapshot_id, state in by_snapshot.items():
            if state == resolved:
                room.snapshot_id = snapshot_id
                room.chain_length = SHORTEST_CHAIN  # unknown: the next one is written in full
                return [], memberships
        room.snapshot_id = self._live_rooms.take_snapshot_id()
        room.chain_length = 0
        return [NewSnapshot(room.snapshot_id, room.room_id, None, 0, dict(resolved))], memberships

    async def _follow_members(
        self, room: LiveRoom, changed: set[StateKey]
    ) -> list[MembershipChange]:
        """Memberships after the state changed as a whole."""
        keys = {key for key in changed if key[0] == "m.room.member"}
        found = await self._store.get_many([room.state[key] for key in keys if key in room.state])
        changes = []
        for key in keys:
            user_id = key[1]
            event_id = room.state.get(key, "")
            stored = found.get(event_id)
            membership = (stored.event.membership if stored else None) or "leave"
            local = server_name_of(user_id) == self._rooms.server_name
            if room.membership(user_id) != membership or stored is not None:
                sender = stored.event.sender if stored else user_id
                changes.append(
                    MembershipChange(room.room_id, user_id, membership, event_id, sender, local)
                )
            room.set_membership(user_id, membership)
        return changes


def auth_keys(event: Event) -> set[StateKey]:
    """The keys of the state that the auth rules may look at for an event."""
    keys = auth_event_keys(
        event.type, event.state_key, event.sender, event.content, event.room_version
    )
    return keys | {CREATE}


def stripped_keys(event: Event) -> Sequence[StateKey]:
    """The state that goes with an event as stripped state: for invites and knocks."""
    return stripped_state_keys(event.sender) if event.membership in INVITED else ()
