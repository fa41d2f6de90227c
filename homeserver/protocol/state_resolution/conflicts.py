"""What several states agree on, and what is in conflict between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from homeserver.protocol.auth_rules import auth_event_keys
from homeserver.protocol.events import Event, StateKey

State = Mapping[StateKey, str]


def separate(state_sets: Sequence[State]) -> tuple[dict[StateKey, str], set[StateKey]]:
    """The unconflicted state map, and the keys that are in conflict.

    A key is unconflicted if every state has it with the same event.
    """
    first, *others = state_sets
    keys: set[StateKey] = set().union(*state_sets)
    unconflicted: dict[StateKey, str] = {}
    conflicted: set[StateKey] = set()
    for key in keys:
        event_id = first.get(key)
        if event_id is not None and all(state.get(key) == event_id for state in others):
            unconflicted[key] = event_id
        else:
            conflicted.add(key)
    return unconflicted, conflicted


def conflicted_ids(state_sets: Sequence[State], keys: Iterable[StateKey]) -> set[str]:
    """The events in conflict: the conflicted state set."""
    return {state[key] for key in keys for state in state_sets if key in state}


def needed_auth_chain_roots(state_sets: Sequence[State]) -> set[str]:
    """The events that :func:`resolve` needs with their auth chains.

    Those in conflict, and what all agree on but for the members: power levels, join rules, ...
    """
    if not state_sets:
        return set()
    unconflicted, conflicted = separate(state_sets)
    if not conflicted:
        return set()
    agreed = {event_id for key, event_id in unconflicted.items() if key[0] != "m.room.member"}
    return conflicted_ids(state_sets, conflicted) | agreed


def needed_unconflicted(state_sets: Sequence[State], events: Mapping[str, Event]) -> set[str]:
    """Agreed state that the auth rules will look at when they judge ``events``.

    :func:`resolve` needs these too, without their auth chains: the present memberships of those
    who sent what is in conflict.
    """
    unconflicted, _ = separate(state_sets)
    keys: set[StateKey] = set()
    for event in events.values():
        keys |= auth_event_keys(
            event.type, event.state_key, event.sender, event.content, event.room_version
        )
    return {unconflicted[key] for key in keys if key in unconflicted} - events.keys()


def auth_chain(event_ids: Iterable[str], events: Mapping[str, Event]) -> set[str]:
    """All that the events cite as auth events, and so on; not the events themselves."""
    chain: set[str] = set()
    stack = [
        cited
        for event_id in event_ids
        if event_id in events
        for cited in events[event_id].auth_event_ids
    ]
    while stack:
        event_id = stack.pop()
        if event_id in chain:
            continue
        chain.add(event_id)
        if event_id in events:
            stack.extend(events[event_id].auth_event_ids)
    return chain
