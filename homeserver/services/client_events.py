"""Events as clients get them: each is serialised once, and spliced as bytes into each answer.

What depends on the reader or the moment (``unsigned``) is appended to the bytes that all share.
Spec: client-server API, room event format.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import orjson
from msgspec import Struct, field

from homeserver.protocol.events import Event, JsonObject, client_event, redacted_copy
from homeserver.protocol.filters import SyncFilter
from homeserver.services.event_store import EventStore
from homeserver.services.state import States
from homeserver.storage import events as storage
from homeserver.storage.database import Database
from homeserver.storage.events import DelayId, StoredEvent

CACHED_BYTES = 32 * 1024 * 1024
CACHED_PREVIOUS = 20_000
_OPTION = orjson.OPT_NON_STR_KEYS  # which also takes keys that are checked identifiers


class Previous(Struct, frozen=True):
    """What a state event replaced."""

    event_id: str
    stored: StoredEvent | None


class Beside(Struct):
    """What goes into the ``unsigned`` of some events, read before they are serialised."""

    previous: dict[str, Previous] = field(default_factory=dict)
    redactions: dict[str, StoredEvent] = field(default_factory=dict)
    transaction_ids: dict[str, str] = field(default_factory=dict)
    relations: dict[str, JsonObject] = field(default_factory=dict)


NOTHING_BESIDE = Beside()


class ClientEvents:
    """Serialises events for clients."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        states: States,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._store = store
        self._states = states
        self._clock_ms = clock_ms
        self._shared: OrderedDict[tuple[str, str | None], bytes] = OrderedDict()
        self._size = 0
        self._previous: OrderedDict[str, str | None] = OrderedDict()

    def forget(self, event_id: str) -> None:
        """Keep no copy of an event as it was before its content was deleted."""
        whole = self._shared.pop((event_id, None), None)
        if whole is not None:
            self._size -= len(whole)

    # ------------------------------------------------------------ what lies beside

    async def beside(
        self,
        events: Iterable[StoredEvent],
        *,
        device: tuple[str, str | None] | None = None,
        replaced: bool = True,
    ) -> Beside:
        """Read what goes into ``unsigned``: what state events replaced (unless not ``replaced``),
        what redacted events, and which transactions made those that a device sent."""
        plain = True
        for stored in events:
            if stored.redacted_by is not None or stored.event.state_key is not None:
                plain = False
                break
        if plain and device is None:
            return NOTHING_BESIDE
        listed = list(events)
        beside = Beside()
        if replaced:
            beside.previous = await self._previous_of(listed)
        if device is not None and device[1] is not None:
            sent = [s.event.event_id for s in listed if s.event.sender == device[0]]
            if sent:
                beside.transaction_ids = await storage.get_transaction_ids(
                    self._database, sent, device[0], device[1]
                )
        beside.redactions = await self._store.get_redactions(listed)
        return beside

    async def _previous_of(self, events: Iterable[StoredEvent]) -> dict[str, Previous]:
        """What state events replaced.

        Where events follow each other, what one replaced is an earlier one of them, or is in the
        state before the first: one look at the state serves them all.
        """
        ordered = sorted(
            (s for s in events if s.snapshot_before is not None), key=lambda s: s.order
        )
        unknown = {
            s.event.event_id
            for s in ordered
            if s.event.is_state and s.event.event_id not in self._previous
        }
        if unknown:
            for run in _runs(ordered):
                if any(stored.event.event_id in unknown for stored in run):
                    await self._look_up(run)
        replaced = {
            stored.event.event_id: previous_id
            for stored in ordered
            if (previous_id := self._previous.get(stored.event.event_id)) is not None
        }
        known = await self._store.get_many(replaced.values()) if replaced else {}
        found = {
            event_id: Previous(previous_id, known.get(previous_id))
            for event_id, previous_id in replaced.items()
        }
        while len(self._previous) > CACHED_PREVIOUS:
            self._previous.popitem(last=False)
        return found

    async def _look_up(self, run: Sequence[StoredEvent]) -> None:
        snapshot = run[0].snapshot_before
        assert snapshot is not None
        keys = {stored.event.key for stored in run if stored.event.is_state}
        state = dict(await self._states.get_keys(snapshot, keys))
        for stored in run:
            event = stored.event
            if event.is_state:
                self._previous[event.event_id] = state.get(event.key)
                state[event.key] = event.event_id
        await self._store.get_many(state.values())

    # ------------------------------------------------------------ serialising

    def serialise(
        self,
        stored: StoredEvent,
        *,
        membership: str | None,
        beside: Beside = NOTHING_BESIDE,
        with_room_id: bool = False,
        may_see_previous: bool = True,
        transaction_id: str | None = None,
    ) -> bytes:
        """An event in JSON.

        ``membership``: the reader's at the event (v1.11).  ``may_see_previous``: whether the
        reader may see what a state event replaced.
        """
        event = stored.event
        parts = [self._without_unsigned(stored)]
        if with_room_id:
            parts.append(b',"room_id":' + orjson.dumps(event.room_id))
        # The common case by hand: it is on the way of every message to every reader.
        parts.append(b',"unsigned":{"age":%d' % (self._clock_ms() - event.origin_server_ts))
        if membership is not None:
            parts.append(b',"membership":"%s"' % membership.encode())
        if transaction_id is None:
            transaction_id = beside.transaction_ids.get(event.event_id)
        if transaction_id is not None:
            parts.append(_transaction(transaction_id))
        if beside.previous or beside.redactions or beside.relations or stored.erased:
            parts.append(self._rare_unsigned(stored, beside, may_see_previous))
        parts.append(b"}}")
        return b"".join(parts)

    def _rare_unsigned(self, stored: StoredEvent, beside: Beside, may_see_previous: bool) -> bytes:
        rare: JsonObject = {}
        previous = beside.previous.get(stored.event.event_id)
        if previous is not None:
            rare["replaces_state"] = previous.event_id
            if may_see_previous and previous.stored is not None:
                rare["prev_content"] = shown_event(previous.stored).content
                # Not in the spec: by it clients know who invited whom to a direct conversation.
                rare["prev_sender"] = previous.stored.event.sender
        redaction = beside.redactions.get(stored.redacted_by or "")
        if redaction is not None:
            rare["redacted_because"] = orjson.Fragment(self._without_unsigned(redaction) + b"}")
        elif stored.erased is not None and stored.redacted_by is None:
            rare["redacted_because"] = _ended(stored)
        relations = beside.relations.get(stored.event.event_id)
        if relations:
            rare["m.relations"] = relations
        return b"," + orjson.dumps(rare)[1:-1] if rare else b""

    def _without_unsigned(self, stored: StoredEvent) -> bytes:
        """An event's JSON up to, and without, the closing brace."""
        key = (stored.event.event_id, stored.redacted_by or stored.erased)
        shared = self._shared.get(key)
        if shared is None:
            event = shown_event(stored)
            shared = orjson.dumps(client_event(event, include_room_id=False), option=_OPTION)[:-1]
            self._shared[key] = shared
            self._size += len(shared)
            while self._size > CACHED_BYTES:
                self._size -= len(self._shared.popitem(last=False)[1])
        return shared


def _transaction(transaction_id: str) -> bytes:
    """A transaction ID in ``unsigned``; of a delayed event (MSC4140), its delay ID."""
    if isinstance(transaction_id, DelayId):
        quoted = orjson.dumps(str(transaction_id))
        return b',"delay_id":%b,"org.matrix.msc4140.delay_id":%b' % (quoted, quoted)
    return b',"transaction_id":' + orjson.dumps(transaction_id)


def _ended(stored: StoredEvent) -> JsonObject:
    """What takes the place of a redaction where a message ended without one, for clients that go
    by ``redacted_because``.  There is no event of this ID."""
    event = stored.event
    return {
        "type": "m.room.redaction",
        "event_id": f"$ended.{event.event_id[1:]}",
        "sender": event.sender,
        "origin_server_ts": event.origin_server_ts,
        "redacts": event.event_id,
        "content": {"reason": stored.erased, "redacts": event.event_id},
    }


def _runs(events: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    """Events in order, parted where one does not follow the state after the one before."""
    run: list[StoredEvent] = []
    for stored in events:
        if run and run[-1].snapshot_after != stored.snapshot_before:
            yield run
            run = []
        run.append(stored)
    if run:
        yield run


def shown_event(stored: StoredEvent) -> Event:
    """The event as readers may see it: redacted, if it was."""
    return stored.event if stored.redacted_by is None else redacted_copy(stored.event)


def as_filtered(event: bytes, stored: StoredEvent, sync_filter: SyncFilter) -> bytes:
    """An event in the format, and with the fields, that a filter asks for.

    Spec: client-server API, filtering (``event_format``, ``event_fields``).
    """
    if sync_filter.event_format == "federation":
        pdu = shown_event(stored).pdu
        unsigned: Mapping[str, object] = orjson.loads(event)["unsigned"]
        return orjson.dumps({**pdu, "event_id": stored.event.event_id, "unsigned": unsigned})
    if sync_filter.event_fields is not None:
        return orjson.dumps(sync_filter.select_fields(orjson.loads(event)))
    return event
