"""The verdict on an event, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What becomes of an event."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"  # it was here before
    HOLD = "hold"  # kept in its place, shown once a moderator releases it
    SOFT_FAIL = "soft_fail"  # kept, never shown, not built upon
    REJECT = "reject"  # the auth rules refused it


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on an event, and the rule and reason if it is not simply accepted."""

    action: Action
    rule: str = ""
    reason: str = ""
    strip_media: bool = False  # accepted, but its media is not served


ACCEPTED = Judgement(Action.ACCEPT)
DUPLICATE = Judgement(Action.DUPLICATE)
