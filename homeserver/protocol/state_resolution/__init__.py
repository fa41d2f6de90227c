"""State resolution: one state where the graph of a room forks.

Spec: room versions 1 (v1), 2 (v2) and 12 (v2.1).  Sans I/O: states map keys to event IDs, and the
caller brings the events of what is in conflict, with their auth chains
(:func:`needed_auth_chain_roots`).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import RoomVersion, StateResolution
from homeserver.protocol.state_resolution.conflicts import (
    auth_chain,
    conflicted_ids,
    needed_auth_chain_roots,
    needed_unconflicted,
    separate,
)
from homeserver.protocol.state_resolution.v1 import resolve_v1
from homeserver.protocol.state_resolution.v2 import resolve_v2

__all__ = [
    "auth_chain",
    "conflicted_ids",
    "needed_auth_chain_roots",
    "needed_unconflicted",
    "resolve",
    "separate",
]


def resolve(
    version: RoomVersion,
    state_sets: Sequence[Mapping[StateKey, str]],
    events: Mapping[str, Event],
    *,
    unconflicted_chain: Container[str] | None = None,
    rejected: Container[str] = (),
) -> dict[StateKey, str]:
    """The state in which several states meet.

    ``events`` has the auth chains of :func:`needed_auth_chain_roots`.  ``unconflicted_chain``: IDs
    of the auth chains of what is not in conflict; by default read off ``events`` as far as they
    go.  ``rejected``: events whose auth rules failed, left out as auth events.  The order of
    ``state_sets`` does not matter.
    """
    if not state_sets:
        return {}
    unconflicted, conflicted = separate(state_sets)
    if not conflicted:
        return unconflicted
    if version.state_resolution is StateResolution.V1:
        return resolve_v1(state_sets, events)
    if unconflicted_chain is None:
        unconflicted_chain = auth_chain(unconflicted.values(), events)
    return resolve_v2(
        state_sets,
        unconflicted,
        conflicted,
        events,
        unconflicted_chain=unconflicted_chain,
        rejected=rejected,
        version=version,
    )
