"""An update, and where it goes."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Struct

from homeserver.protocol.events import Event
from homeserver.services.conversations.shapes.updates import AnyUpdate
from homeserver.storage.events import StoredEvent
from homeserver.storage.rooms import MembershipRow
from homeserver.storage.to_device import EVERY_DEVICE


def plain(value: object) -> str:
    """IDs that were just parsed are subclasses of ``str``."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"{type(value)} cannot be written")


_as_json = msgspec.json.Encoder(enc_hook=plain).encode
_as_msgpack = msgspec.msgpack.Encoder(enc_hook=plain).encode


class Update:
    """One thing that happened, the same for all its readers, and serialised once for them all."""

    __slots__ = ("_json", "_msgpack", "frames", "position", "shape")

    def __init__(self, shape: AnyUpdate) -> None:
        self.shape = shape
        self.position = shape.position
        """In the log; None for what is of the moment."""
        self._json: bytes | None = None
        self._msgpack: bytes | None = None
        self.frames: dict[int, bytes] = {}
        """As it goes over a wire, by the wire's format: for those who write it."""

    @property
    def json(self) -> bytes:
        """As JSON."""
        if self._json is None:
            self._json = _as_json(self.shape)
        return self._json

    @property
    def msgpack(self) -> bytes:
        """As MessagePack."""
        if self._msgpack is None:
            self._msgpack = _as_msgpack(self.shape)
        return self._msgpack

    def __repr__(self) -> str:
        return f"<Update {self.json.decode()}>"


class Routed(Struct, eq=False):
    """An update, and whom it reaches: the members of a room, or users by name.

    ``but_not``: members who get something else.  The rest is asked of each reader: ``event``: do
    they hear its sender; ``owner``, ``scope``: may they see that (see ``services/audience.py``);
    ``stored``: may they see so old an event; ``invite``: are they shown that invite, and if it
    waits for their consent, ``request`` is what they get.
    """

    update: Update
    room_id: str | None = None
    users: Collection[str] = ()
    but_not: Collection[str] = ()
    event: Event | None = None
    owner: str | None = None
    scope: str | None = None
    stored: StoredEvent | None = None
    invite: MembershipRow | None = None
    request: Update | None = None
    device_id: str | None = None
    """The only device of theirs that it reaches; ``*``: all devices but ``other_than``.

    None: everybody who listens for them, be it no device."""
    other_than: Collection[str] = ()
    is_simple: bool = True
    """Whether it is for everybody whom it reaches, as long as they have blocked nobody."""

    def is_for(self, device_id: str | None) -> bool:
        """Whether it reaches a device of those whom it reaches."""
        if self.device_id is None:
            return True
        if self.device_id != EVERY_DEVICE:
            return device_id == self.device_id
        return device_id is not None and device_id not in self.other_than
