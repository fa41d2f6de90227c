"""Tokens that clients get and give back.

``s{position}_{typing}_{presence}``: all that is durable up to a position of the log, and the
moments (ms) up to which the client knows who types and who is online.  A fourth number is there
only while more to-device messages wait than one answer holds: how far those were sent.

``t{order}``: a point in a room's timeline, after the event of that order and before the next.

``p{position}_{number}_{connection}``: a ``pos`` of sliding sync.
"""

from __future__ import annotations

import re

import msgspec

from homeserver.errors import InvalidParam

SYNC_TOKEN = re.compile(r"s(\d{1,18})_(\d{1,18})_(\d{1,18})(?:_(\d{1,18}))?", re.ASCII)
SLIDING_POS = re.compile(r"p(\d{1,18})_\d{1,18}_[0-9a-f]{8}", re.ASCII)
TIMELINE_TOKEN = re.compile(r"t(-?\d{1,18})", re.ASCII)


class SyncToken(msgspec.Struct, frozen=True):
    """How far a client has got."""

    position: int
    typing: int = 0
    presence: int = 0
    to_device: int = 0

    @classmethod
    def parse(cls, text: str, name: str = "since") -> SyncToken:
        """A token that came back.  Raises :class:`InvalidParam`."""
        found = SYNC_TOKEN.fullmatch(text)
        if found is None:
            raise InvalidParam(f"'{name}' is not a token of this server: sync without it")
        position, typing, presence, to_device = found.groups()
        return cls(int(position), int(typing), int(presence), int(to_device or position))

    def __str__(self) -> str:
        text = f"s{self.position}_{self.typing}_{self.presence}"
        return text if self.to_device == self.position else f"{text}_{self.to_device}"


def parse_position(text: str, name: str) -> int:
    """The position of a token of either kind of sync.  Raises :class:`InvalidParam`."""
    found = SYNC_TOKEN.fullmatch(text) or SLIDING_POS.fullmatch(text)
    if found is None:
        raise InvalidParam(f"'{name}' is not a token of this server")
    return int(found[1])


def timeline_token(order: int) -> str:
    """The point after an order."""
    return f"t{order}"


def parse_timeline_token(text: str, name: str = "from") -> int:
    """The order that a token stands after; tokens of a sync are taken, too.

    Raises :class:`InvalidParam`.
    """
    found = TIMELINE_TOKEN.fullmatch(text)
    if found is not None:
        return int(found[1])
    return parse_position(text, name)
