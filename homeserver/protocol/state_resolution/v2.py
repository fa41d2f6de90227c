"""State resolution v2 and v2.1.  Spec: room versions 2 and 12.

The names are the spec's: full conflicted set, power events, reverse topological power ordering,
mainline ordering, iterative auth checks.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Mapping, Sequence

from homeserver.protocol.auth_rules import Rejected, auth_event_keys, check_auth
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.power_levels import Level, PowerLevels
from homeserver.protocol.room_versions import RoomVersion, StateResolution
from homeserver.protocol.state_resolution.conflicts import State, auth_chain, conflicted_ids

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
NO_POSITION = 1 << 60


def resolve_v2(
    state_sets: Sequence[State],
    unconflicted: dict[StateKey, str],
    conflicted: set[StateKey],
    events: Mapping[str, Event],
    *,
    unconflicted_chain: Container[str],
    rejected: Container[str],
    version: RoomVersion,
) -> dict[StateKey, str]:
    """Resolve what is in conflict, on top of what is not."""
    v2_1 = version.state_resolution is StateResolution.V2_1
    conflicted_set = conflicted_ids(state_sets, conflicted)
    full = conflicted_set | _auth_difference(state_sets, conflicted, events, unconflicted_chain)
    if v2_1:
        full |= conflicted_state_subgraph(conflicted_set, events)
    full = {event_id for event_id in full if event_id in events and events[event_id].is_state}
    graph = _Graph(events, rejected, _create_event(unconflicted, conflicted_set, events))

    # 1, 2: power events and their auth chains
    power = {event_id for event_id in full if is_power_event(events[event_id])}
    chosen = power | (_chain_within(power, full, events))
    ordered = graph.reverse_topological_power_order(chosen)
    start = {} if v2_1 else unconflicted
    partial = graph.iterative_auth_checks(ordered, start)
    # 3, 4: all others
    remaining = graph.mainline_order(full - chosen, partial.get(POWER_LEVELS))
    resolved = graph.iterative_auth_checks(remaining, partial)
    # 5
    resolved.update(unconflicted)
    return resolved


def is_power_event(event: Event) -> bool:
    """Whether an event might take away somebody's ability to do something."""
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return event.state_key == ""
    return event.membership in ("leave", "ban") and event.sender != event.state_key


def _create_event(
    unconflicted: Mapping[StateKey, str], ids: Iterable[str], events: Mapping[str, Event]
) -> Event | None:
    """The room's create event: in version 12 nothing cites it."""
    event = events.get(unconflicted.get(CREATE, ""))
    if event is not None:
        return event
    found = (events[i] for i in ids if i in events and events[i].type == "m.room.create")
    return next(found, None)


def _auth_difference(
    state_sets: Sequence[State],
    conflicted: set[StateKey],
    events: Mapping[str, Event],
    unconflicted_chain: Container[str],
) -> set[str]:
    """What is in some but not all of the states' full auth chains.

    What unconflicted events cite is in all of them, so only the chains of conflicted events are
    walked, and what the unconflicted cite is taken out.
    """
    chains = [
        auth_chain([state[key] for key in conflicted if key in state], events)
        for state in state_sets
    ]
    difference = set[str]().union(*chains) - chains[0].intersection(*chains[1:])
    return {event_id for event_id in difference if event_id not in unconflicted_chain}


def conflicted_state_subgraph(conflicted_set: set[str], events: Mapping[str, Event]) -> set[str]:
    """All events on paths along auth events between two conflicted events.  Spec: version 12."""
    reachable = conflicted_set | auth_chain(conflicted_set, events)
    cited_by: dict[str, list[str]] = {}
    for event_id in reachable:
        for cited in events[event_id].auth_event_ids if event_id in events else ():
            cited_by.setdefault(cited, []).append(event_id)
    # Backwards from each conflicted event: who leads to it
    leading: set[str] = set()
    stack = list(conflicted_set)
    while stack:
        event_id = stack.pop()
        if event_id not in leading:
            leading.add(event_id)
            stack.extend(cited_by.get(event_id, ()))
    return leading & reachable


def _chain_within(roots: set[str], full: set[str], events: Mapping[str, Event]) -> set[str]:
    """The roots' auth chains as far as they stay in the full conflicted set."""
    found: set[str] = set()
    stack = list(roots)
    while stack:
        for cited in events[stack.pop()].auth_event_ids:
            if cited in full and cited not in found:
                found.add(cited)
                stack.append(cited)
    return found


class _Graph:
    """The events, with what sorting them needs."""

    def __init__(
        self, events: Mapping[str, Event], rejected: Container[str], create: Event | None
    ) -> None:
        self._events = events
        self._rejected = rejected
        self._create = create
        self._levels: dict[str, PowerLevels] = {}

    # ------------------------------------------------------------ reverse topological power order

    def _sender_level(self, event: Event) -> Level:
        """The sender's power level by the event's own auth events."""
        power_levels = self._power_levels_of(event)
        create = self._create
        for event_id in event.auth_event_ids:
            cited = self._events.get(event_id)
            if cited is not None and cited.type == "m.room.create":
                create = cited
        cache_key = power_levels.event_id if power_levels is not None else ""
        levels = self._levels.get(cache_key)
        if levels is None:
            levels = PowerLevels.from_state(create, power_levels, event.room_version)
            self._levels[cache_key] = levels
        return levels.user(event.sender)

    def _power_levels_of(self, event: Event) -> Event | None:
        for event_id in event.auth_event_ids:
            cited = self._events.get(event_id)
            if cited is not None and cited.type == "m.room.power_levels" and cited.state_key == "":
                return cited
        return None

    def reverse_topological_power_order(self, ids: set[str]) -> list[Event]:
        """Kahn's algorithm; of several candidates the one whose sender is mightiest comes first."""

        def rank(event_id: str) -> tuple[Level, int, str]:
            event = self._events[event_id]
            return -self._sender_level(event), event.origin_server_ts, event_id

        cites = {i: {c for c in self._events[i].auth_event_ids if c in ids} for i in ids}
        cited_by: dict[str, list[str]] = {event_id: [] for event_id in ids}
        for event_id, cited in cites.items():
            for other in cited:
                cited_by[other].append(event_id)
        heap = [rank(event_id) for event_id, cited in cites.items() if not cited]
        heapq.heapify(heap)
        ordered: list[Event] = []
        while heap:
            event_id = heapq.heappop(heap)[2]
            ordered.append(self._events[event_id])
            for successor in cited_by[event_id]:
                cites[successor].discard(event_id)
                if not cites[successor]:
                    heapq.heappush(heap, rank(successor))
        return ordered

    # ------------------------------------------------------------ mainline order

    def mainline_order(self, ids: set[str], power_levels_id: str | None) -> list[Event]:
        """By how early in the history of power levels they stand, then by time, then by ID."""
        mainline: dict[str, int] = {}
        current = self._events.get(power_levels_id or "")
        while current is not None and current.event_id not in mainline:
            mainline[current.event_id] = len(mainline)
            current = self._power_levels_of(current)
        known: dict[str, int] = {}
        return sorted(
            (self._events[event_id] for event_id in ids),
            key=lambda event: (
                -self._mainline_position(event, mainline, known),
                event.origin_server_ts,
                event.event_id,
            ),
        )

    def _mainline_position(
        self, event: Event, mainline: Mapping[str, int], known: dict[str, int]
    ) -> int:
        walked: list[str] = []
        current = self._power_levels_of(event)
        position = NO_POSITION
        while current is not None:
            if current.event_id in mainline:
                position = mainline[current.event_id]
                break
            if current.event_id in known:
                position = known[current.event_id]
                break
            walked.append(current.event_id)
            current = self._power_levels_of(current)
        known.update(dict.fromkeys(walked, position))
        return position

    # ------------------------------------------------------------ iterative auth checks

    def iterative_auth_checks(
        self, ordered: Sequence[Event], start: Mapping[StateKey, str]
    ) -> dict[StateKey, str]:
        """Apply events in order, each if the state so far allows it."""
        state = dict(start)
        for event in ordered:
            if not isinstance(check_auth(event, self._auth_state(event, state)), Rejected):
                state[event.key] = event.event_id
        return state

    def _auth_state(self, event: Event, state: Mapping[StateKey, str]) -> dict[StateKey, Event]:
        """What the auth rules look at: the state, or else the event's own auth events."""
        found: dict[StateKey, Event] = {}
        if self._create is not None:
            found[CREATE] = self._create
        for event_id in event.auth_event_ids:
            cited = self._events.get(event_id)
            if cited is not None and cited.is_state and event_id not in self._rejected:
                found[cited.key] = cited
        keys = auth_event_keys(
            event.type, event.state_key, event.sender, event.content, event.room_version
        )
        for key in keys:
            current = self._events.get(state.get(key, ""))
            if current is not None:
                found[key] = current
        return found
