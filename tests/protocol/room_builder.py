"""Builds rooms and events for tests of the rules: each test breaks one thing.

    room = Room("11").with_join_rule("public").with_member(BOB, "ban")
    assert check_auth(room.join(BOB), room.state) == Rejected(...)

Events have cheap IDs and no signatures; the rules look at neither.
"""

from __future__ import annotations

import itertools
from typing import Any, Self

from homeserver.protocol.auth_rules import auth_event_keys
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import ROOM_VERSIONS

ALICE = "@alice:one.test"  # the creator
BOB = "@bob:two.test"
CAROL = "@carol:three.test"


class Room:
    """A room that Alice made, with her in it, and no power levels event."""

    def __init__(self, version: str, **creation: Any) -> None:
        self.version = ROOM_VERSIONS[version]
        self.state: dict[StateKey, Event] = {}
        self.room_id = "!room:one.test"
        self._numbers = itertools.count(1)
        content: dict[str, Any] = {"room_version": version, **creation}
        if not self.version.implicit_room_creator:
            content.setdefault("creator", ALICE)
        create = self.event("m.room.create", ALICE, "", content, prevs=())
        self.room_id = create.room_id
        self.state[create.key] = create
        self.with_member(ALICE, "join")

    # ------------------------------------------------------------ state

    def with_member(self, user_id: str, membership: str) -> Self:
        """A user's membership, however it came to be."""
        return self.with_state("m.room.member", user_id, {"membership": membership}, user_id)

    def with_join_rule(self, rule: str) -> Self:
        return self.with_state("m.room.join_rules", "", {"join_rule": rule})

    def with_levels(self, **content: Any) -> Self:
        """A power levels event with just this content."""
        return self.with_state("m.room.power_levels", "", content)

    def with_state(
        self, kind: str, state_key: str, content: dict[str, Any], sender: str = ALICE
    ) -> Self:
        event = self.event(kind, sender, state_key, content)
        self.state[event.key] = event
        return self

    @property
    def create(self) -> Event:
        return self.state[("m.room.create", "")]

    # ------------------------------------------------------------ events

    def event(
        self,
        kind: str,
        sender: str,
        state_key: str | None,
        content: dict[str, Any],
        *,
        prevs: tuple[str, ...] = ("$before",),
        auths: list[Event] | None = None,
        **fields: Any,
    ) -> Event:
        """An event on top of the room's state, citing what the selection names."""
        if auths is None:
            keys = auth_event_keys(kind, state_key, sender, content, self.version)
            auths = [self.state[key] for key in sorted(keys) if key in self.state]
        cited: list[Any] = [event.event_id for event in auths]
        previous: list[Any] = list(prevs)
        if self.version.identifier in ("1", "2"):
            cited = [[event_id, {}] for event_id in cited]
            previous = [[event_id, {}] for event_id in previous]
        number = next(self._numbers)
        pdu: dict[str, Any] = {
            "type": kind,
            "sender": sender,
            "content": content,
            "prev_events": previous,
            "auth_events": cited,
            "depth": number,
            "origin_server_ts": number,
            "room_id": self.room_id,
            **fields,
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        if kind == "m.room.create" and self.version.room_id_is_create_hash:
            pdu.pop("room_id")
        return Event(pdu, f"${number:043d}", self.version)

    def member(self, sender: str, target: str, membership: str, **content: Any) -> Event:
        """``sender`` sets ``target``'s membership."""
        return self.event("m.room.member", sender, target, {"membership": membership, **content})

    def join(self, user_id: str, **content: Any) -> Event:
        return self.member(user_id, user_id, "join", **content)

    def message(self, sender: str) -> Event:
        return self.event("m.room.message", sender, None, {"body": "hello"})

    def levels(self, sender: str, **content: Any) -> Event:
        """A change of the power levels."""
        return self.event("m.room.power_levels", sender, "", content)
