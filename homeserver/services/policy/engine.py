"""Judges events by the admin's rules; the first that decides wins.

A judgement uses the rules as they were when it began; a reload swaps them at once.  Nothing is
awaited unless a rule whose cheap tests all matched needs something from the database.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from homeserver.errors import Forbidden
from homeserver.protocol.events import Event
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.media_facts import MediaSubject
from homeserver.services.policy.ages import AccountAges
from homeserver.services.policy.conditions import ALL_ASPECTS, AT_HAND, LOOKED_UP, Aspect
from homeserver.services.policy.file_subject import file_subject
from homeserver.services.policy.index import RuleSet
from homeserver.services.policy.outcomes import Outcomes, accepted
from homeserver.services.policy.ports import Ports
from homeserver.services.policy.rates import InviteCounter
from homeserver.services.policy.rules import Rule
from homeserver.services.policy.subject import RoomView, Subject
from homeserver.services.policy.verdicts import AuditTrail
from homeserver.services.rooms import Draft
from homeserver.storage.database import Database

COUNTING = Aspect.RATE | Aspect.INVITES


class RuleCount(Struct, frozen=True):
    """A rule, and how often it matched since the server started."""

    rule: Rule
    matched: int


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
        clock: Callable[[], float] = time.monotonic,
        ports: Ports | None = None,
    ) -> None:
        """``ports`` may be filled in later (:attr:`ports`)."""
        self._server_name = server_name
        self._clock_ms = clock_ms
        self._clock = clock
        self._rules = RuleSet(rules)
        self._invites = InviteCounter()
        self._matched: dict[str, int] = {}
        self._ages = AccountAges(server_name=server_name, database=database)
        self.ports = ports if ports is not None else Ports()
        if self.ports.ages is None:
            self.ports.ages = self._ages
        self.outcomes = Outcomes(self.ports, clock_ms)
        self.trail = AuditTrail(database, clock_ms)

    # ------------------------------------------------------------ the rules

    def replace_rules(self, rules: RuleSet) -> None:
        """Judge by other rules from now on."""
        self._rules = rules
        names = {rule.name for rule in rules.rules}
        self._matched = {name: n for name, n in self._matched.items() if name in names}

    def rules(self) -> list[RuleCount]:
        """The rules in force, in their order."""
        return [RuleCount(rule, self._matched.get(rule.name, 0)) for rule in self._rules.rules]

    async def close(self) -> None:
        """Finish what runs in the background."""
        await self.outcomes.close()
        await self._ages.close()
        await self.trail.close()

    # ------------------------------------------------------------ judging

    async def judge_send(self, room: LiveRoom, draft: Draft) -> Judgement:
        """Judge a local user's event.

        Raises :class:`Forbidden` if a rule rejects it, ``M_LIMIT_EXCEEDED`` if one throttles it.
        """
        if not self._rules.rules and self.ports.checks is None:
            return ACCEPTED
        subject = Subject(
            "out" if room.destinations else "local",
            self._server_name,
            draft.sender,
            draft.type,
            draft.content,
            room.room_id,
            state_key=draft.state_key,
            room=room,
        )
        rule = await self.decide(subject)
        if rule is not None:
            return self.outcomes.for_sender(rule, subject)
        if self.ports.checks is None:
            return accepted(subject)
        return self.outcomes.checked_send(await self.ports.checks.check(subject), subject)

    async def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        """Judge another instance's event; our own users' were judged as they were sent."""
        origin = server_name_of(event.sender)
        if origin == self._server_name:
            return ACCEPTED
        self._ages.note(event.sender, self._clock_ms(), comes=not room.is_joined(event.sender))
        return await self._judge_from_elsewhere(event, origin, room)

    async def judge_history(self, room: LiveRoom, event: Event) -> Judgement:
        """Judge an old event of another instance that was fetched with a room's history.

        It does not happen now: rules that count do not apply, and nothing is done to its server.
        """
        origin = server_name_of(event.sender)
        if origin == self._server_name:
            return ACCEPTED
        return await self._judge_from_elsewhere(event, origin, room, past=True)

    async def judge_invite(self, event: Event, room: RoomView) -> None:
        """Judge another instance's invite of one of our users, into a room that we may not be in.

        Raises :class:`Forbidden`: there is nowhere to keep it unshown.
        """
        origin = server_name_of(event.sender)
        self._ages.note(event.sender, self._clock_ms(), comes=True)
        judgement = await self._judge_from_elsewhere(event, origin, room)
        if judgement.action is not Action.ACCEPT:
            raise Forbidden(judgement.reason)

    async def judge_for_signing(self, room: LiveRoom, event: Event) -> Judgement:
        """Judge an event that another instance shows us as its room's policy server."""
        return await self.judge_arrival(room, event)

    async def _judge_from_elsewhere(
        self, event: Event, origin: str, room: RoomView, *, past: bool = False
    ) -> Judgement:
        if not self._rules.rules and self.ports.checks is None:
            return ACCEPTED
        subject = Subject(
            "in",
            origin,
            event.sender,
            event.type,
            event.content,
            event.room_id,
            event.event_id,
            event.state_key,
            room,
        )
        rule = await self.decide(subject, past=past)
        if rule is not None:
            return self.outcomes.for_arrival(rule, subject, past=past)
        if self.ports.checks is None:
            return accepted(subject)
        return self.outcomes.checked_arrival(await self.ports.checks.check(subject), subject)

    async def decide(self, subject: Subject, *, past: bool = False) -> Rule | None:
        """The first rule that decides; what matches without deciding is noted.

        ``past``: without the rules that count.
        """
        rules = self._rules
        subject.at_ms, subject.tick = self._clock_ms(), self._clock()
        subject.known |= AT_HAND
        if not past and subject.is_invite and rules.looks_at(Aspect.INVITES):
            subject.invites = self._invites.count(subject.sender, subject.tick)
        for rule, ask in rules.to_ask(subject):
            if past and rule.aspects & COUNTING:
                continue
            truth = ask(subject)
            if truth is None:
                truth = await look_closer(rule, subject, self.ports)
            if truth and self._note(rule, subject):
                return rule
        return None

    def _note(self, rule: Rule, subject: Subject) -> bool:
        """Count a match; whether it decides."""
        self._matched[rule.name] = self._matched.get(rule.name, 0) + 1
        self.trail.note_match(rule, subject)
        if rule.enforced and rule.action == "flag":
            subject.flags.append(rule.name)
        return rule.decides

    # ------------------------------------------------------------ files

    @property
    def needs_media_facts(self) -> bool:
        """Whether any rule looks at files."""
        return self._rules.looks_at(Aspect.MEDIA)

    @property
    def revision(self) -> str:
        """Changes whenever the rules that look at files do."""
        return self._rules.media_revision

    async def judge_media(self, file: MediaSubject) -> Judgement:
        """Judge a file by itself, when it is uploaded or has been fetched.

        Only rules that look at files are asked, and they match only if they would match whatever
        event the file came with.
        """
        subject = file_subject(file)
        subject.at_ms, subject.tick = self._clock_ms(), self._clock()
        for rule in self._rules.media_rules:
            if rule.aspects & Aspect.ACCOUNT and file.uploader and self.ports.ages is not None:
                subject.account_created_at = await self.ports.ages.created_at(file.uploader)
                subject.known |= Aspect.ACCOUNT
            if rule.condition.truth(subject, subject.known) and self._note(rule, subject):
                return self.outcomes.for_file(rule, subject)
        return accepted(subject)

    # ------------------------------------------------------------ others' verdicts

    async def record_verdict(self, room: LiveRoom, event: Event, judgement: Judgement) -> None:
        """Leave an audit row for a verdict of the auth rules or of a room's policy server."""
        if judgement.rule.startswith("policy:"):
            return  # noted when the rule decided
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
        self.trail.note(stage, judgement.rule, judgement.action.value, subject, judgement.reason)

    def record_refusal(
        self, stage: str, rule: str, *, origin: str, sender: str, room_id: str, reason: str
    ) -> None:
        """Leave an audit row for what was refused before it became an event here."""
        local = origin == self._server_name
        subject = Subject("out" if local else "in", origin, sender, "m.room.member", {}, room_id)
        self.trail.note(stage, rule, "reject", subject, reason)


async def look_closer(rule: Rule, subject: Subject, ports: Ports) -> bool:
    """Whether a rule matches, once what it needs has been looked up; rates are counted last."""
    for aspect in LOOKED_UP:
        if rule.aspects & aspect and not subject.known & aspect:
            await _LOOKUPS[aspect](subject, ports)
            subject.known |= aspect
            truth = rule.condition.truth(subject, subject.known)
            if truth is not None:
                return truth
    return bool(rule.condition.truth(subject, ALL_ASPECTS))


async def _look_up_media(subject: Subject, ports: Ports) -> None:
    if subject.media is None and ports.media is not None:
        uris = subject.media_uris()
        subject.media = await ports.media.facts_of(uris) if uris else ()


async def _look_up_account(subject: Subject, ports: Ports) -> None:
    if subject.account_created_at is None and ports.ages is not None:
        subject.account_created_at = await ports.ages.created_at(subject.sender)


async def _look_up_standing(subject: Subject, ports: Ports) -> None:
    if subject.is_known is None and ports.standing is not None:
        subject.is_known = await ports.standing.is_known(subject)


_LOOKUPS: Mapping[int, Callable[..., Awaitable[None]]] = {
    Aspect.MEDIA: _look_up_media,
    Aspect.ACCOUNT: _look_up_account,
    Aspect.STANDING: _look_up_standing,
}
