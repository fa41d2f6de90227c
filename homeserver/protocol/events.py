"""An event as a value.

An :class:`Event` wraps a PDU, the JSON that travels between servers, with the fields that
the rules read as attributes.  It is never changed after it is made; a redacted copy is another
``Event``.  Building, hashing and signing are functions beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from homeserver.protocol.canonical import (
    NotCanonical,
    content_hash,
    decode_base64,
    encode_base64,
    encode_canonical_json,
    essential_json,
    event_id_from_hash,
    event_id_of,
    reference_hash,
)
from homeserver.protocol.event_format import BadEvent, check_format
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion
from homeserver.protocol.signing import SigningKey

__all__ = [
    "BadEvent",
    "Event",
    "JsonObject",
    "StateKey",
    "StateMap",
    "build_event",
    "check_format",
    "check_hashes",
    "client_event",
    "parse_event",
    "redacted_copy",
    "references",
    "stripped_state",
]

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

# What servers say to each other beside an invite or a knock; all else there is the sender's word
# about things that only the reader's own server can know.
KEPT_UNSIGNED = ("invite_room_state", "knock_room_state")


# ---------------------------------------------------------------- building


def build_event(
    room_version: RoomVersion,
    *,
    room_id: str,
    sender: str,
    type: str,
    content: JsonObject,
    state_key: str | None = None,
    prev_events: Sequence[Event],
    auth_events: Sequence[Event],
    depth: int,
    origin_server_ts: int,
    server_name: str,
    signing_key: SigningKey,
    redacts: str | None = None,
    unsigned: JsonObject | None = None,
    event_id: str | None = None,
    with_origin: bool = False,
) -> Event:
    """A new event of ours: hashed, signed, with its ID.

    ``room_id`` is not used for the create event from room version 12; ``event_id`` is used in room
    versions 1 and 2, and needed there.  ``with_origin``: it names our server, as the handshakes
    between servers want it.  The format is not checked (:func:`check_format`).
    Raises: :class:`BadEvent` if the content has no canonical JSON.
    Spec: server-server API, adding hashes and signatures to outgoing events.
    """
    pdu: JsonObject = {
        "auth_events": references(auth_events, room_version),
        "content": _plain(content),
        "depth": depth,
        "origin_server_ts": origin_server_ts,
        "prev_events": references(prev_events, room_version),
        "sender": str(sender),
        "type": str(type),
    }
    if not (room_version.room_id_is_create_hash and type == "m.room.create"):
        pdu["room_id"] = str(room_id)
    if state_key is not None:
        pdu["state_key"] = str(state_key)
    if redacts is not None:
        _set_redacts(pdu, redacts, room_version)
    if with_origin:
        pdu["origin"] = server_name
    assigned = room_version.event_id_format is EventIdFormat.ASSIGNED
    if assigned:
        if event_id is None:
            raise BadEvent("room versions 1 and 2 need an event ID")
        pdu["event_id"] = str(event_id)
    essential = _hash_and_sign(pdu, room_version, server_name, signing_key)
    if unsigned:
        pdu["unsigned"] = unsigned
    if not assigned:
        event_id = event_id_from_hash(hashlib.sha256(essential).digest(), room_version)
    assert event_id is not None
    return Event(pdu, event_id, room_version)


def _hash_and_sign(
    pdu: JsonObject, room_version: RoomVersion, server_name: str, key: SigningKey
) -> bytes:
    """Put hash and signature into a PDU; the bytes that the signature covers.

    The reference hash covers the same bytes, so they are made once.
    """
    try:
        pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu))}
        essential = essential_json(pdu, room_version)
    except NotCanonical as error:
        raise BadEvent(str(error)) from error
    pdu["signatures"] = {server_name: {key.key_id: key.sign(essential)}}
    return essential


def _plain(content: JsonObject) -> JsonObject:
    """Content that any JSON encoder takes: orjson refuses keys that are subclasses of ``str``."""
    try:
        orjson.dumps(content)
    except TypeError:
        try:
            plain: JsonObject = orjson.loads(encode_canonical_json(content))
        except ValueError as error:
            raise BadEvent("the content cannot be written as JSON") from error
        return plain
    return content


def _set_redacts(pdu: JsonObject, redacts: str, room_version: RoomVersion) -> None:
    if room_version.updated_redaction_rules:
        # v11: redacts is in the content
        pdu["content"] = {**pdu["content"], "redacts": str(redacts)}
    else:
        # Spec: client-server API, PUT /send: moved from the content to the top level
        pdu["content"] = {k: v for k, v in pdu["content"].items() if k != "redacts"}
        pdu["redacts"] = str(redacts)


def references(events: Sequence[Event], room_version: RoomVersion) -> list[Any]:
    """Events as ``prev_events`` and ``auth_events`` name them.

    Spec: room versions 1 (pairs of ID and reference hash) and 3 (IDs), event format.
    """
    if room_version.event_id_format is not EventIdFormat.ASSIGNED:
        return [event.event_id for event in events]
    return [
        [event.event_id, {"sha256": encode_base64(reference_hash(event.pdu, room_version))}]
        for event in events
    ]


# ---------------------------------------------------------------- receiving


def parse_event(pdu: Any, room_version: RoomVersion, *, limit_references: bool = True) -> Event:
    """A PDU of another server as an event: its format checked, its ID computed.

    Of ``unsigned`` only the stripped state of invites and knocks stays.  Signatures and hashes are
    the caller's to check.  ``limit_references``: as :func:`check_format` has it.
    Raises: :class:`BadEvent`.
    """
    check_format(pdu, room_version, limit_references=limit_references)
    if "unsigned" in pdu:
        pdu = pdu.copy()
        unsigned = pdu.pop("unsigned")
        kept = {key: unsigned[key] for key in KEPT_UNSIGNED if key in unsigned}
        if kept and pdu["type"] == "m.room.member":
            pdu["unsigned"] = kept
    return Event(pdu, event_id_of(pdu, room_version), room_version)


def check_hashes(event: Event) -> bool:
    """Whether the content hash is right.  If not, only :func:`redacted_copy` may be used.

    Spec: server-server API, validating hashes and signatures on received events.
    """
    try:
        return decode_base64(event.pdu["hashes"]["sha256"]) == content_hash(event.pdu)
    except ValueError:
        return False


def redacted_copy(event: Event) -> Event:
    """The same event, redacted; it keeps its ID."""
    return Event(redact(event.pdu, event.room_version), event.event_id, event.room_version)


# ---------------------------------------------------------------- showing


def client_event(
    event: Event, *, unsigned: JsonObject | None = None, include_room_id: bool = True
) -> JsonObject:
    """An event in the format for clients.

    Spec: client-server API, room event format; room version 11, moving the ``redacts`` property.
    """
    shown: JsonObject = {
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "sender": event.sender,
        "type": event.type,
    }
    if event.state_key is not None:
        shown["state_key"] = event.state_key
    if include_room_id:
        shown["room_id"] = event.room_id
    redacts = event.redacts
    if redacts is not None:
        # In both places in every room version, for clients older and newer than the room.
        shown["redacts"] = redacts
        if "redacts" not in event.content:
            shown["content"] = {**event.content, "redacts": redacts}
    if unsigned:
        shown["unsigned"] = unsigned
    return shown


def stripped_state(event: Event) -> JsonObject:
    """A state event as someone outside the room may see it.

    Spec: client-server API, stripped state.
    """
    return {
        "content": event.content,
        "sender": event.sender,
        "state_key": event.state_key,
        "type": event.type,
    }
