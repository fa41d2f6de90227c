"""Rules as the configuration has them, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from homeserver.services.policy.matchers import glob, keyword_pattern
from homeserver.services.policy.subject import Subject

DEFAULT_MESSAGE = "This server's content policy does not allow this message"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the admin's: all that it names must match."""

    name: str
    action: str  # flag, soft_fail, reject
    message: str = DEFAULT_MESSAGE
    direction: str | None = None  # in, out, local
    server: re.Pattern[str] | None = None
    sender: re.Pattern[str] | None = None
    event_type: re.Pattern[str] | None = None
    msgtype: str | None = None
    min_size_bytes: int | None = None
    keywords: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, rule: dict[str, Any]) -> Rule:
        """A rule as it stands in the configuration, whose schema has checked it."""
        match = rule["match"]
        return cls(
            name=rule["name"],
            action=rule["action"],
            message=rule.get("message", DEFAULT_MESSAGE),
            direction=match.get("direction"),
            server=glob(match.get("server")),
            sender=glob(match.get("sender")),
            event_type=glob(match.get("event_type")),
            msgtype=match.get("msgtype"),
            min_size_bytes=match.get("min_size_bytes"),
            keywords=keyword_pattern(match.get("keywords", ())),
        )

    def matches(self, subject: Subject) -> bool:
        """Whether an event is what the rule names; what is encrypted is not read."""
        return (
            (self.direction is None or self.direction == subject.direction)
            and (self.server is None or bool(self.server.match(subject.origin)))
            and (self.sender is None or bool(self.sender.match(subject.sender)))
            and (self.event_type is None or bool(self.event_type.match(subject.type)))
            and (self.msgtype is None or self.msgtype == subject.content.get("msgtype"))
            and (self.min_size_bytes is None or subject.size_bytes() >= self.min_size_bytes)
            and (self.keywords is None or bool(self.keywords.search(subject.text())))
        )
