"""The format of an event, per room version: fields, types, sizes.

Spec: room versions, event format; client-server API, size limits; server-server API, checks
performed on receipt of a PDU, step 1.
"""

from __future__ import annotations

from typing import Any

from homeserver.protocol.canonical import (
    NotCanonical,
    encode_canonical_json,
    encode_strict_json,
)
from homeserver.protocol.identifiers import EventId, InvalidIdentifier, RoomId, UserId
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion

MAX_PDU_BYTES = 65_536
MAX_KEY_BYTES = 255
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10
# The spec sets no limit; parsers do, at some hundreds.
MAX_NESTING = 128
MAX_INT64 = 2**63 - 1
MAX_DEPTH_STRICT = 2**53 - 1


class BadEvent(ValueError):
    """An event does not have the format of its room version; the text says why."""


def check_format(pdu: Any, room_version: RoomVersion, *, limit_references: bool = True) -> None:
    """Check the fields of a PDU, their types and their sizes.

    Not ``limit_references``: it may cite any number of events, as old ones do that come by
    backfill.  Raises: :class:`BadEvent`.
    """
    if not isinstance(pdu, dict):
        raise BadEvent("an event must be a JSON object")
    _check_basic_fields(pdu)
    _check_numbers(pdu, room_version)
    try:
        UserId.parse(pdu.get("sender"))
        _check_room_id(pdu, room_version)
        if room_version.event_id_format is EventIdFormat.ASSIGNED:
            _check_assigned_event_id(pdu)
    except InvalidIdentifier as error:
        raise BadEvent(str(error)) from error
    most = (MAX_PREV_EVENTS, MAX_AUTH_EVENTS) if limit_references else (None, None)
    _check_references(pdu, "prev_events", most[0], room_version)
    _check_references(pdu, "auth_events", most[1], room_version)
    _check_hashes_and_signatures(pdu)
    _check_json(pdu, room_version)


def _check_basic_fields(pdu: JsonObject) -> None:
    _check_key(pdu.get("type"), "type")
    if "state_key" in pdu:
        _check_key(pdu["state_key"], "state_key")
    if not isinstance(pdu.get("content"), dict):
        raise BadEvent("'content' must be an object")
    if not isinstance(pdu.get("unsigned", {}), dict):
        raise BadEvent("'unsigned' must be an object")


def _check_key(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise BadEvent(f"'{name}' must be a string")
    if "\0" in value:
        raise BadEvent(f"'{name}' must not contain NUL")
    if len(value) > MAX_KEY_BYTES or _size(value, name) > MAX_KEY_BYTES:
        raise BadEvent(f"'{name}' must be at most {MAX_KEY_BYTES} bytes long")


def _size(text: str, name: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise BadEvent(f"'{name}' must be valid Unicode") from error


def _check_numbers(pdu: JsonObject, version: RoomVersion) -> None:
    depth, timestamp = pdu.get("depth"), pdu.get("origin_server_ts")
    max_depth = MAX_DEPTH_STRICT if version.strict_canonical_json else MAX_INT64
    if type(depth) is not int or not 0 <= depth <= max_depth:
        raise BadEvent(f"'depth' must be an integer from 0 to {max_depth}")
    if type(timestamp) is not int or not -MAX_INT64 <= timestamp <= MAX_INT64:
        raise BadEvent("'origin_server_ts' must be a 64-bit integer")


def _check_room_id(pdu: JsonObject, version: RoomVersion) -> None:
    if version.room_id_is_create_hash and pdu["type"] == "m.room.create":
        if "room_id" in pdu:
            raise BadEvent("'m.room.create' must not have a 'room_id' in this room version")
        return
    room_id = RoomId.parse(pdu.get("room_id"))
    if version.room_id_is_create_hash == (room_id.server_name is not None):
        raise BadEvent("'room_id' does not have the form of this room version")


def _check_assigned_event_id(pdu: JsonObject) -> None:
    if EventId.parse(pdu.get("event_id")).server_name is None:
        raise BadEvent("'event_id' must name a server in this room version")


def _check_references(
    pdu: JsonObject, name: str, max_count: int | None, version: RoomVersion
) -> None:
    references = pdu.get(name)
    if not isinstance(references, list):
        raise BadEvent(f"'{name}' must be an array")
    if max_count is not None and len(references) > max_count:
        raise BadEvent(f"'{name}' must have at most {max_count} entries")
    for reference in references:
        event_id = reference
        if version.event_id_format is EventIdFormat.ASSIGNED:
            # v1, v2: [event ID, {hash algorithm: hash}]
            if not (
                isinstance(reference, list)
                and len(reference) == 2
                and isinstance(reference[1], dict)
            ):
                raise BadEvent(f"'{name}' must be pairs of event ID and hashes")
            event_id = reference[0]
        if not _is_event_id(event_id):
            raise BadEvent(f"'{name}' must name events by their IDs")


def _is_event_id(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value.startswith("$")
        and value.isprintable()
        and len(value.encode()) <= MAX_KEY_BYTES
    )


def _check_hashes_and_signatures(pdu: JsonObject) -> None:
    hashes, signatures = pdu.get("hashes"), pdu.get("signatures")
    if not isinstance(hashes, dict) or not isinstance(hashes.get("sha256"), str):
        raise BadEvent("'hashes' must have a 'sha256'")
    if not isinstance(signatures, dict):
        raise BadEvent("'signatures' must be an object")
    for by_signer in signatures.values():
        if not isinstance(by_signer, dict) or not all(
            isinstance(signature, str) for signature in by_signer.values()
        ):
            raise BadEvent("'signatures' must be objects of strings, one per server")


def _check_json(pdu: JsonObject, version: RoomVersion) -> None:
    """The size of the whole, its nesting, and from room version 6 its numbers."""
    measured = pdu
    if "unsigned" in pdu:
        # Each server that passes an event on may put its own there.
        measured = {key: value for key, value in pdu.items() if key != "unsigned"}
    encode = encode_strict_json if version.strict_canonical_json else encode_canonical_json
    try:
        encoded = encode(measured)
    except NotCanonical as error:
        raise BadEvent(str(error)) from error
    if len(encoded) > MAX_PDU_BYTES:
        raise BadEvent(f"an event must be at most {MAX_PDU_BYTES} bytes long")
    if encoded.count(b"{") + encoded.count(b"[") > MAX_NESTING and (
        _nesting(measured) > MAX_NESTING
    ):
        raise BadEvent(f"an event must be nested at most {MAX_NESTING} deep")


def _nesting(value: Any) -> int:
    """How deep objects and arrays are nested; stops beyond the limit."""
    depth = 0
    level = [value]
    while level and depth <= MAX_NESTING:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = [item for item in below if isinstance(item, dict | list)]
        depth += 1
    return depth
