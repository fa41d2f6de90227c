"""Content policy: the admin's rules, asked for every event, local or from another instance.

A rule names what it matches and what becomes of it; the first rule that matches decides.  Each
verdict other than "accepted" leaves a row in the audit trail, without the event's content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.errors import Forbidden
from homeserver.protocol.canonical import encode_canonical_json
from homeserver.protocol.events import Event
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.rooms import Draft
from homeserver.storage import policy as storage
from homeserver.storage.database import Database
from homeserver.storage.policy import VerdictRow

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


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule looks at."""

    direction: str
    origin: str
    sender: str
    type: str
    content: dict[str, Any]
    room_id: str
    event_id: str | None = None

    def text(self) -> str:
        """What a person would read: body, formatted body, name, topic; an edit's new text too."""
        contents = [self.content, self.content.get("m.new_content")]
        fields = ("body", "formatted_body", "name", "topic")
        return "\n".join(
            content[key]
            for content in contents
            if isinstance(content, dict)
            for key in fields
            if isinstance(content.get(key), str)
        )

    def size_bytes(self) -> int:
        """The content's size as canonical JSON."""
        return len(encode_canonical_json(self.content))


def keyword_pattern(keywords: Sequence[str]) -> re.Pattern[str] | None:
    """One pattern that finds any keyword as a whole word, in any case."""
    if not keywords:
        return None
    words = "|".join(re.escape(word) for word in keywords)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


def glob(pattern: str | None) -> re.Pattern[str] | None:
    """A compiled glob; None for none."""
    return glob_to_regex(pattern) if pattern is not None else None


class Policy:
    """Judges events by the rules, and keeps the audit trail."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        rules: Sequence[Rule],
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._rules = tuple(rules)
        self._clock_ms = clock_ms

    async def judge_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        """Judge a local user's event.  Raises :class:`Forbidden` if a rule rejects it."""
        if not self._rules:
            return ACCEPTED
        direction = "out" if room.destinations else "local"
        subject = Subject(
            direction,
            self._server_name,
            draft.sender,
            draft.type,
            draft.content,
            room.room_id,
        )
        rule = await self._decide(subject)
        if rule is None or rule.action == "flag":
            return ACCEPTED
        if rule.action == "reject":
            raise Forbidden(rule.message)
        return Judgement(Action.SOFT_FAIL, rule.name, rule.message)

    async def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        """Judge another instance's event."""
        if not self._rules:
            return ACCEPTED
        local = server_name_of(event.sender) == self._server_name
        subject = Subject(
            "out" if local else "in",
            server_name_of(event.sender),
            event.sender,
            event.type,
            event.content,
            room.room_id,
            event.event_id,
        )
        rule = await self._decide(subject)
        if rule is None or rule.action == "flag":
            return ACCEPTED
        # A refusal by policy is ours alone: other instances keep the event, so it must not count
        # as rejected by the auth rules, or later events that cite it would be invalid here.
        return Judgement(Action.SOFT_FAIL, f"policy:{rule.name}", rule.message)

    async def _decide(self, subject: Subject) -> Rule | None:
        """The first rule that matches; a flag is noted and the search goes on."""
        for rule in self._rules:
            if rule.matches(subject):
                await self._write("content", rule.name, rule.action, subject, rule.message)
                if rule.action != "flag":
                    return rule
        return None

    async def record_verdict(self, room: LiveRoom, event: Event, judgement: Judgement) -> None:
        """Leave an audit row for a verdict of the auth rules."""
        if judgement.rule.startswith("policy:"):
            return  # written when the rule decided
        subject = Subject(
            "in",
            server_name_of(event.sender),
            event.sender,
            event.type,
            {},
            room.room_id,
            event.event_id,
        )
        await self._write("auth", judgement.rule, judgement.action.value, subject, judgement.reason)

    async def record_refusal(
        self, stage: str, rule: str, *, origin: str, sender: str, room_id: str, reason: str
    ) -> None:
        """Leave an audit row for what was refused before it became an event here."""
        local = origin == self._server_name
        subject = Subject("out" if local else "in", origin, sender, "m.room.member", {}, room_id)
        await self._write(stage, rule, "reject", subject, reason)

    async def _write(
        self, stage: str, rule: str, action: str, subject: Subject, reason: str
    ) -> None:
        await storage.insert_verdict(
            self._database,
            VerdictRow(
                created_at=self._clock_ms(),
                stage=stage,
                rule=rule,
                action=action,
                direction=subject.direction,
                origin=subject.origin,
                room_id=subject.room_id,
                event_id=subject.event_id,
                event_type=subject.type,
                sender=subject.sender,
                reason=reason,
            ),
        )
