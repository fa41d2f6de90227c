"""What the log has to tell, as webhooks need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Happening:
    """An update, before it is known who is told.

    It is made again from ``event_id`` when it is sent, or is ``data`` (JSON, without any text of
    people's).  ``room_id``: the room whose members are told; else ``user_id`` is told by name.
    """

    type: str
    position: int
    room_id: str | None = None
    user_id: str | None = None
    event_id: str | None = None
    data: str | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
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

    async def update_of(self, event_id: str, type_: str) -> bytes | None:
        """An event's update as JSON; None if it is gone, or is not to be told any more."""


class Audience(Protocol):
    """Who is told.  It is asked of each happening in the order of the log."""

    def restart(self) -> None:
        """What comes next does not follow upon what came last."""

    async def reached(self, happening: Happening, owner: str) -> bool:
        """Whether a user (their ID), or any user of an application (its ID), is told."""
