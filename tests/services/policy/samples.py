"""Events and rules to try each other on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeserver.services.media_facts import MediaFacts
from homeserver.services.policy.conditions import ALL_ASPECTS, AT_HAND
from homeserver.services.policy.rules import Rule, compile_rules
from homeserver.services.policy.subject import Subject

ALICE, BOB = "@alice:one.test", "@bob:two.test"


@dataclass
class SampleRoom:
    """A room as rules see it."""

    joined_count: int = 2
    invited_count: int = 0
    create: Mapping[str, object] = field(default_factory=dict)

    def content(self, key: tuple[str, str]) -> Mapping[str, object]:
        """The create event's."""
        return self.create


def message(text: str = "hello", **changes: Any) -> Subject:
    """A text message from another instance; every fact is known unless it is changed to None."""
    content = {"msgtype": "m.text", "body": text, **changes.pop("content", {})}
    values: dict[str, Any] = {
        "direction": "in",
        "origin": "two.test",
        "sender": BOB,
        "type": "m.room.message",
        "content": content,
        "room_id": "!room:one.test",
        "event_id": "$event",
        "room": SampleRoom(),
        "media": (),
        "known": AT_HAND,
        **changes,
    }
    return Subject(**values)


def invite(**changes: Any) -> Subject:
    """An invite from another instance."""
    values = {
        "type": "m.room.member",
        "state_key": ALICE,
        "invites": 1,
        **changes,
    }
    subject = message(**values)
    subject.content = {"membership": "invite", **changes.get("content", {})}
    return subject


def picture(**changes: Any) -> MediaFacts:
    """The facts of a picture."""
    values: dict[str, Any] = {
        "mime_type": "image/png",
        "size_bytes": 2_000,
        "sha256": bytes.fromhex("ab" * 32),
        "width": 640,
        "height": 480,
        "perceptual_hash": 0xFF00FF00FF00FF00,
        **changes,
    }
    return MediaFacts(**values)


def rule(match: Mapping[str, Any], **changes: Any) -> Rule:
    """One compiled rule."""
    document = {"name": "r", "match": match, "action": "flag", **changes}
    return compile_rules([document], Path())[0]


def matches(match: Mapping[str, Any], subject: Subject) -> bool:
    """Whether a match holds, asked in full."""
    truth = rule(match).condition.truth(subject, ALL_ASPECTS)
    assert truth is not None
    return truth
