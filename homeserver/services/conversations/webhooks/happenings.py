"""What the log has to tell, as webhooks need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from homeserver.services.conversations.feed.updates import Routed


@dataclass(frozen=True, slots=True)
class Happening:
    """An update, before it is known who is told.

    It is made again from ``event_id`` when it is sent, or is ``data`` (JSON, without any text of
    people's).  ``user_id`` is told by name; without one, the members of ``room_id``.
    """

    type: str
    position: int
    room_id: str | None = None
    user_id: str | None = None
    event_id: str | None = None
    data: str | None = None
    routed: Routed | None = field(default=None, compare=False, repr=False)
    """What is asked of each who may be told."""
    update: bytes | None = field(default=None, compare=False, repr=False)
    """What is sent, where it is made again from ``event_id``."""
    joined: bool | None = None
    """Whether this is the user's coming into the room, or their going; else None."""


class Stretch(Struct, frozen=True):
    """A part of the log: what happened in it, in order, and the position with which it ends."""

    happenings: Sequence[Happening]
    position: int


class Source(Protocol):
    """The log as updates."""

    @property
    def position(self) -> int:
        """Where the log stands."""

    async def after(self, position: int, limit: int) -> Stretch:
        """What happened after a position, in order; the first part of it, if it is much."""

    async def happening_of(self, event_id: str, type_: str) -> Happening | None:
        """What an event is as of now; None if it is gone, or is not to be told any more."""


class Audience(Protocol):
    """Who is told.  It sees everything that happens, in the order of the log."""

    def restart(self) -> None:
        """What comes next does not follow upon what came last."""

    def note(self, happening: Happening) -> None:
        """Something happens: perhaps somebody comes or goes."""

    async def told(self, happening: Happening, owner: str) -> Happening | None:
        """What a user, or any user of an application, is told; by the owner's ID."""

    async def still_told(self, happening: Happening, owner: str) -> bool:
        """Whether an owner is to be told, as of now, what they were to be told when it happened."""
