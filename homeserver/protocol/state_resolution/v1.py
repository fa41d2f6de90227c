"""State resolution v1.  Spec: room version 1."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from homeserver.protocol.auth_rules import Rejected, check_auth
from homeserver.protocol.events import Event, StateKey

State = Mapping[StateKey, str]
FIRST = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve_v1(state_sets: Sequence[State], events: Mapping[str, Event]) -> dict[StateKey, str]:
    """Power levels first, then join rules, then members, then all else."""
    candidates: dict[StateKey, set[str]] = {}
    for state in state_sets:
        for key, event_id in state.items():
            candidates.setdefault(key, set()).add(event_id)
    resolved = {key: next(iter(ids)) for key, ids in candidates.items() if len(ids) == 1}
    in_conflict = sorted(key for key, ids in candidates.items() if len(ids) > 1)
    for kind in FIRST:
        # The passes of one kind are all judged by the state that the earlier kinds left.
        so_far = _Lookup(dict(resolved), events)
        for key in in_conflict:
            if key[0] == kind:
                resolved[key] = _resolve_auth_events(key, candidates[key], so_far, events)
    so_far = _Lookup(dict(resolved), events)
    for key in in_conflict:
        if key[0] not in FIRST:
            resolved[key] = _resolve_other(candidates[key], so_far, events)
    return resolved


class _Lookup(dict[StateKey, Event]):
    """The resolved state as a state map for the auth rules."""

    def __init__(self, state: dict[StateKey, str], events: Mapping[str, Event]) -> None:
        super().__init__(
            (key, events[event_id]) for key, event_id in state.items() if event_id in events
        )


def _order(event: Event) -> tuple[int, int]:
    """Ascending depth, then descending SHA-1 of the event ID."""
    digest = hashlib.sha1(event.event_id.encode(), usedforsecurity=False).digest()
    return event.depth, -int.from_bytes(digest, "big")


def _sorted(ids: set[str], events: Mapping[str, Event]) -> list[Event]:
    return sorted((events[event_id] for event_id in ids if event_id in events), key=_order)


def _resolve_auth_events(
    key: StateKey, ids: set[str], state: _Lookup, events: Mapping[str, Event]
) -> str:
    """The last of the events, from the earliest on, that each allows the next."""
    ordered = _sorted(ids, events)
    if not ordered:
        return min(ids)
    trial = dict(state)
    chosen = ordered[0]
    trial[key] = chosen
    for event in ordered[1:]:
        if isinstance(check_auth(event, trial), Rejected):
            break
        trial[key] = chosen = event
    return chosen.event_id


def _resolve_other(ids: set[str], state: _Lookup, events: Mapping[str, Event]) -> str:
    """The highest depth, lowest hash that is allowed; the lowest of all if none is."""
    ordered = _sorted(ids, events)
    if not ordered:
        return min(ids)
    for event in reversed(ordered):
        if not isinstance(check_auth(event, state), Rejected):
            return event.event_id
    return ordered[0].event_id
