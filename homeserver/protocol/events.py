"""An event as a value.

An :class:`Event` wraps a PDU, the JSON that travels between servers, with the fields that
the rules read as attributes.  It is never changed after it is made; a redacted copy is another
``Event``.  Building, hashing and signing are functions beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.protocol.room_versions import EventIdFormat, RoomVersion

JsonObject = dict[str, Any]
StateKey = tuple[str, str]  # (type, state_key)


class Event:
    """One PDU with its event ID.

    ``pdu`` is the PDU as sent over federation (``unsigned`` included as received).  Attributes
    assume that the format was checked (:func:`check_format`); the constructor checks nothing.
    """

    __slots__ = (
        "auth_event_ids",
        "content",
        "depth",
        "event_id",
        "origin_server_ts",
        "pdu",
        "prev_event_ids",
        "room_id",
        "room_version",
        "sender",
        "state_key",
        "type",
    )

    def __init__(self, pdu: JsonObject, event_id: str, room_version: RoomVersion) -> None:
        self.pdu = pdu
        self.event_id = event_id
        self.room_version = room_version
        self.type: str = pdu["type"]
        self.sender: str = pdu["sender"]
        self.content: JsonObject = pdu["content"]
        self.state_key: str | None = pdu.get("state_key")
        self.depth: int = pdu["depth"]
        self.origin_server_ts: int = pdu["origin_server_ts"]
        if room_version.room_id_is_create_hash and self.type == "m.room.create":
            # v12: the create event bears no room_id; it is the event ID with `!` for `$`
            self.room_id = "!" + event_id[1:]
        else:
            self.room_id = pdu["room_id"]
        if room_version.event_id_format is EventIdFormat.ASSIGNED:
            # v1, v2: [event ID, {hash algorithm: hash}] pairs
            self.prev_event_ids: tuple[str, ...] = tuple(pair[0] for pair in pdu["prev_events"])
            self.auth_event_ids: tuple[str, ...] = tuple(pair[0] for pair in pdu["auth_events"])
        else:
            self.prev_event_ids = tuple(pdu["prev_events"])
            self.auth_event_ids = tuple(pdu["auth_events"])

    @property
    def is_state(self) -> bool:
        """Whether it is a state event: it has a state key."""
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """Its ``(type, state_key)``; only for state events."""
        assert self.state_key is not None
        return (self.type, self.state_key)

    @property
    def redacts(self) -> str | None:
        """The ID of the event that it redacts; spec: room version 11 moved it into content."""
        if self.type != "m.room.redaction":
            return None
        holder = self.content if self.room_version.updated_redaction_rules else self.pdu
        target = holder.get("redacts")
        return target if isinstance(target, str) else None

    @property
    def membership(self) -> str | None:
        """``content.membership`` of an ``m.room.member`` event."""
        if self.type != "m.room.member":
            return None
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) else None

    def __repr__(self) -> str:
        return f"<Event {self.event_id} {self.type} in {self.room_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and other.event_id == self.event_id

    def __hash__(self) -> int:
        return hash(self.event_id)


StateMap = Mapping[StateKey, Event]
