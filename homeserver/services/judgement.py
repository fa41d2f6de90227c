"""The verdict on an event, as a value."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from homeserver.protocol.events import Event

POLICY = "policy:"  # before a rule's name, where the auth rules could have decided, too
CURRENT_STATE = "current_state"  # the rule of what the room's present state alone forbids


class Action(Enum):
    """What becomes of an event."""

    ACCEPT = "accept"
    DUPLICATE = "duplicate"  # it was here before
    HOLD = "hold"  # kept in its place, shown once a moderator releases it
    SOFT_FAIL = "soft_fail"  # kept, never shown, not built upon
    REJECT = "reject"  # the auth rules refused it


class Judgement(Struct, frozen=True):
    """The verdict on an event, and the rule and reason if it is not simply accepted."""

    action: Action
    rule: str = ""
    reason: str = ""
    strip_media: bool = False  # accepted, but its media is not served
    flags: tuple[str, ...] = ()  # rules that want a moderator to look at what was accepted

    @property
    def withheld(self) -> str | None:
        """What a held event is withheld for."""
        if self.action is not Action.HOLD:
            return None
        return self.rule.removeprefix(POLICY) or "policy"

    @property
    def strip_rule(self) -> str | None:
        """The rule for which the media of an accepted or held event is not served."""
        return self.rule.removeprefix(POLICY) or "policy" if self.strip_media else None

    def for_state(self) -> Judgement:
        """The same for a state event: the room's state cannot wait, so none is held."""
        if self.action is not Action.HOLD:
            return self
        return replace(self, action=Action.SOFT_FAIL)


ACCEPTED = Judgement(Action.ACCEPT)
DUPLICATE = Judgement(Action.DUPLICATE)


def takes_no_effect(event: Event, redacts: str | None) -> bool:
    """Whether an event is a redaction that redacts nothing: clients are not told of it.

    ``redacts``: what it redacts.  That may come yet, and is redacted as it comes.
    Spec: room version 3, handling redactions.
    """
    if redacts is not None or event.room_version.redaction_auth_rule:
        return False
    return event.redacts is not None
