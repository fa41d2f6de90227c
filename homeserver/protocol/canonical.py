"""Canonical JSON, the hashes of an event, its ID, and base64.

Spec: appendices, canonical JSON and unpadded base64; server-server API, signing events.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

import orjson

from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion

MAX_INTEGER = 2**53 - 1


class NotCanonical(ValueError):
    """The value has no canonical JSON, or none that this room version allows."""


def encode_canonical_json(value: Any) -> bytes:
    """The shortest UTF-8 encoding, with keys sorted by codepoint.

    Floats and large integers are written as Python writes them, for the sake of room versions 1 to
    5; :func:`check_strict` refuses them.  Raises :class:`NotCanonical` for what JSON has no
    spelling of: lone surrogates, NaN, infinities, or nesting without end.
    """
    if _has_float(value):
        # orjson spells some floats unlike Python ("1e-7", not "1e-07"), and NaN as null
        return _encode_slowly(value)
    return _encode_without_floats(value)


def encode_strict_json(value: Any) -> bytes:
    """The same, of a value without floats and large integers.

    Spec: room version 6, canonical JSON.  Raises :class:`NotCanonical` if it has any.
    """
    check_strict(value)
    return _encode_without_floats(value)


def _encode_without_floats(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # integers beyond 64 bits, subclasses of str as keys, or an error
        return _encode_slowly(value)


def _has_float(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is dict:
            stack.extend(item.values())
        elif kind is list or kind is tuple:
            stack.extend(item)
        elif kind is not str and isinstance(item, float):
            return True
    return False


def _encode_slowly(value: Any) -> bytes:
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCanonical(f"cannot be written as JSON: {type(error).__name__}") from error


def check_strict(value: Any) -> None:
    """Refuse floats and integers that a double cannot hold.

    Spec: room version 6, canonical JSON.  Raises: :class:`NotCanonical`.
    """
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is str or kind is bool or item is None:
            continue
        if kind is dict:
            stack.extend(item.values())
        elif kind is list or kind is tuple:
            stack.extend(item)
        elif kind is int:
            if not -MAX_INTEGER <= item <= MAX_INTEGER:
                raise NotCanonical("integers must lie within -(2**53 - 1) and 2**53 - 1")
        elif isinstance(item, float):
            raise NotCanonical("numbers must be integers")
        elif not isinstance(item, str):
            raise NotCanonical(f"a value is not JSON: {kind.__name__}")


def content_hash(pdu: JsonObject) -> bytes:
    """SHA-256 of the complete event, without ``unsigned``, ``signatures`` and ``hashes``.

    Spec: server-server API, calculating the content hash for an event.
    """
    hashed = pdu.copy()
    hashed.pop("unsigned", None)
    hashed.pop("signatures", None)
    hashed.pop("hashes", None)
    return hashlib.sha256(encode_canonical_json(hashed)).digest()


def essential_json(pdu: JsonObject, room_version: RoomVersion) -> bytes:
    """What the signatures and the reference hash of an event cover: its redacted form, without
    ``signatures`` and ``unsigned``.
    """
    redacted = redact(pdu, room_version)
    redacted.pop("signatures", None)
    return encode_canonical_json(redacted)


def reference_hash(pdu: JsonObject, room_version: RoomVersion) -> bytes:
    """SHA-256 of the essential fields of an event.

    Spec: server-server API, calculating the reference hash for an event.
    """
    return hashlib.sha256(essential_json(pdu, room_version)).digest()


def event_id_of(pdu: JsonObject, room_version: RoomVersion) -> str:
    """The ID of an event: its own word for it in room versions 1 and 2, a hash since.

    Spec: room versions 1, 3 and 4, event IDs.
    """
    if room_version.event_id_format is EventIdFormat.ASSIGNED:
        event_id: str = pdu["event_id"]
        return event_id
    return event_id_from_hash(reference_hash(pdu, room_version), room_version)


def event_id_from_hash(digest: bytes, room_version: RoomVersion) -> str:
    """The ID of the event with a reference hash; from room version 3."""
    urlsafe = room_version.event_id_format is EventIdFormat.HASH_URLSAFE
    return "$" + encode_base64(digest, urlsafe=urlsafe)


def encode_base64(data: bytes, *, urlsafe: bool = False) -> str:
    """Unpadded base64.  Spec: appendices, unpadded base64."""
    encoded = base64.urlsafe_b64encode(data) if urlsafe else base64.b64encode(data)
    return encoded.rstrip(b"=").decode("ascii")


def decode_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, padded or not.  Raises :class:`ValueError`."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:
        raise ValueError("not valid base64") from error
