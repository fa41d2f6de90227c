"""Virtual servers that share a room over a bad network; everything follows from a seed.

Each server has its own copy of the event graph.  It authorises what arrives by its auth events and
by the state before it, and computes states by resolution alone.  The network delays, reorders,
duplicates and partitions, and loses nothing for good.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

from homeserver.protocol.auth_rules import (
    Rejected,
    auth_event_keys,
    check_auth,
    check_auth_events,
)
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.state_resolution import resolve

State = dict[StateKey, str]
CREATE: StateKey = ("m.room.create", "")


def make_event(
    version: RoomVersion,
    kind: str,
    sender: str,
    state_key: str | None,
    content: dict[str, Any],
    *,
    prevs: list[str],
    auths: list[str],
    depth: int,
    ts: int,
    room_id: str | None,
) -> Event:
    """An event with a cheap ID and no signature: the rules look at neither."""
    references: list[Any] = [*prevs]
    auth_references: list[Any] = [*auths]
    if version.identifier in ("1", "2"):
        references = [[event_id, {}] for event_id in prevs]
        auth_references = [[event_id, {}] for event_id in auths]
    pdu: dict[str, Any] = {
        "type": kind,
        "sender": sender,
        "content": content,
        "prev_events": references,
        "auth_events": auth_references,
        "depth": depth,
        "origin_server_ts": ts,
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    if room_id is not None:
        pdu["room_id"] = room_id
    digest = hashlib.sha256(repr((kind, sender, state_key, content, prevs, ts)).encode())
    return Event(pdu, "$" + digest.hexdigest()[:43], version)


class Server:
    """One server's view of the room."""

    def __init__(self, name: str, version: RoomVersion, rng: random.Random) -> None:
        self.name = name
        self.version = version
        self.rng = rng
        self.users = [f"@u{n}:{name}" for n in range(2)]
        self.events: dict[str, Event] = {}
        self.rejected: set[str] = set()
        self.after: dict[str, State] = {}
        self.extremities: set[str] = set()
        self.waiting: dict[str, Event] = {}

    # ------------------------------------------------------------ taking events in

    def take(self, event: Event) -> None:
        """Place an event, and all that waited for it."""
        self.waiting[event.event_id] = event
        placed = True
        while placed:
            placed = False
            for event_id, waiting in list(self.waiting.items()):
                if event_id in self.events:
                    del self.waiting[event_id]
                elif all(prev in self.events for prev in waiting.prev_event_ids):
                    del self.waiting[event_id]
                    self._place(waiting)
                    placed = True

    def _place(self, event: Event) -> None:
        before = self._resolve([self.after[prev] for prev in event.prev_event_ids])
        self.events[event.event_id] = event
        if not self._is_allowed(event, before):
            self.rejected.add(event.event_id)
            self.after[event.event_id] = before
            return
        self.after[event.event_id] = (
            {**before, event.key: event.event_id} if event.is_state else before
        )
        self.extremities.difference_update(event.prev_event_ids)
        self.extremities.add(event.event_id)

    def _is_allowed(self, event: Event, before: Mapping[StateKey, str]) -> bool:
        if event.type == "m.room.create":
            return not isinstance(check_auth(event, {}), Rejected)
        if any(event_id not in self.events for event_id in event.auth_event_ids):
            return False
        auths = [self.events[event_id] for event_id in event.auth_event_ids]
        create = next(e for e in self.events.values() if e.type == "m.room.create")
        verdicts = (
            check_auth_events(event, auths, self.rejected),
            check_auth(event, {CREATE: create, **{e.key: e for e in auths}}),
            check_auth(event, {key: self.events[i] for key, i in before.items()}),
        )
        return not any(isinstance(verdict, Rejected) for verdict in verdicts)

    def _resolve(self, states: list[State]) -> State:
        shuffled = list(states)
        self.rng.shuffle(shuffled)  # the order must not matter
        if not shuffled:
            return {}
        return resolve(self.version, shuffled, self.events, rejected=self.rejected)

    @property
    def state(self) -> State:
        """The room's state now."""
        return self._resolve([self.after[event_id] for event_id in self.extremities])

    # ------------------------------------------------------------ sending

    def send(
        self, kind: str, sender: str, state_key: str | None, content: dict[str, Any], ts: int
    ) -> Event | None:
        """Build an event on what this server knows, if the state allows it."""
        state = self.state
        keys = auth_event_keys(kind, state_key, sender, content, self.version)
        room_id = next((e.room_id for e in self.events.values() if e.type == "m.room.create"), None)
        if kind == "m.room.create" and not self.version.room_id_is_create_hash:
            room_id = f"!room:{self.name}"
        event = make_event(
            self.version,
            kind,
            sender,
            state_key,
            content,
            prevs=sorted(self.extremities),
            auths=[state[key] for key in sorted(keys) if key in state],
            depth=1 + max((self.events[i].depth for i in self.extremities), default=0),
            ts=ts,
            room_id=room_id,
        )
        current = {key: self.events[event_id] for key, event_id in state.items()}
        if isinstance(check_auth(event, current), Rejected):
            return None
        self.take(event)
        return event
