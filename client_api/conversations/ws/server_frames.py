"""What the server says over the WebSocket besides updates, and how frames are written."""

from __future__ import annotations

from typing import Any

import msgspec

from client_api.conversations.ws import framing
from homeserver.services.conversations.feed.updates import Update
from homeserver.services.conversations.shapes.base import Sparse

JSON, MSGPACK, DEFLATED = 0, 1, 2  # formats; the last is added to either
PROTOCOLS = {"comity.v1.json": JSON, "comity.v1.msgpack": MSGPACK}
OPCODES = {JSON: framing.TEXT, MSGPACK: framing.BINARY}

_as_json = msgspec.json.Encoder().encode
_as_msgpack = msgspec.msgpack.Encoder().encode


class Limits(Sparse, frozen=True, kw_only=True):
    """What a session may do: so large a frame, so many a second and at once, so many unread."""

    frame_bytes: int
    frames_per_second: float
    frames_at_once: int
    in_flight: int
    unread_bytes: int


class Welcome(Sparse, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    """The session has begun.  ``position``: the server's; what lies between it and ``since``
    follows, and then what happens."""

    position: int
    person: str
    device: str | None
    heartbeat_seconds: int
    limits: Limits


class Ok(Sparse, frozen=True, kw_only=True, tag_field="type", tag="ok"):
    """What the frame with this ``client_id`` asked for is done, and durable.

    ``outcome``: see ``POST /messages``.  ``repeated``: it was done before.
    """

    client_id: str | None = None
    message_id: str | None = None
    position: int | None = None
    conversation_id: str | None = None
    outcome: str | None = None
    repeated: bool = False


class Refusal(Sparse, frozen=True, kw_only=True, tag_field="type", tag="problem"):
    """What the frame with this ``client_id`` asked for is not done.  ``problem``: RFC 9457."""

    problem: dict[str, Any]
    client_id: str | None = None


class Pong(Sparse, frozen=True, kw_only=True, tag_field="type", tag="pong"):
    """The answer to ``ping``."""

    client_id: str | None = None


ServerFrame = Welcome | Ok | Refusal | Pong


def write(shape: msgspec.Struct, kind: int) -> bytes:
    """A frame for one socket."""
    if kind & MSGPACK:
        return framing.encode(framing.BINARY, _as_msgpack(shape))
    return framing.encode(framing.TEXT, _as_json(shape))


def update_frame(update: Update, kind: int) -> bytes:
    """An update as a frame, made once for each format and shared."""
    frame = update.frames.get(kind)
    if frame is None:
        payload = update.msgpack if kind & MSGPACK else update.json
        opcode = OPCODES[kind & MSGPACK]
        encode = framing.encode_compressed if kind & DEFLATED else framing.encode
        frame = update.frames[kind] = encode(opcode, payload)
    return frame
