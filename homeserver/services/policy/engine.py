"""Judges events by the admin's rules, and keeps the audit trail.

Each verdict other than "accepted" leaves a row, without the event's content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from homeserver.errors import Forbidden
from homeserver.protocol.events import Event
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy.rules import Rule
from homeserver.services.policy.subject import Subject
from homeserver.services.rooms import Draft
from homeserver.storage import policy as storage
from homeserver.storage.database import Database
from homeserver.storage.policy import VerdictRow

POLICY_SERVER = "policy_server"  # stage and rule of what a room's policy server refused


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

    async def judge_for_signing(self, room: LiveRoom, event: Event) -> Judgement:
        """Judge an event that another instance shows us as its room's policy server."""
        return await self.judge_arrival(room, event)

    async def _decide(self, subject: Subject) -> Rule | None:
        """The first rule that matches; a flag is noted and the search goes on."""
        for rule in self._rules:
            if rule.matches(subject):
                await self._write("content", rule.name, rule.action, subject, rule.message)
                if rule.action != "flag":
                    return rule
        return None

    async def record_verdict(self, room: LiveRoom, event: Event, judgement: Judgement) -> None:
        """Leave an audit row for a verdict of the auth rules or of a room's policy server."""
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
        stage = judgement.rule if judgement.rule == POLICY_SERVER else "auth"
        await self._write(stage, judgement.rule, judgement.action.value, subject, judgement.reason)

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
