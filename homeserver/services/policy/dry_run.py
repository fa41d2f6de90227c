"""What rules would do to events of the past, without doing it.

Time is the events' own, so rates count as they would have.  Only event IDs are kept, no content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from msgspec import Struct, field

from homeserver.protocol.identifiers import server_name_of
from homeserver.services.live_room import LiveRooms
from homeserver.services.policy.conditions import AT_HAND, LOOKED_UP
from homeserver.services.policy.engine import look_closer
from homeserver.services.policy.index import RuleSet
from homeserver.services.policy.ports import Ports
from homeserver.services.policy.rates import InviteCounter
from homeserver.services.policy.rules import Rule
from homeserver.services.policy.subject import RoomView, Subject
from homeserver.storage import policy as storage
from homeserver.storage.database import Database

PAGE = 1_000
EXAMPLES = 5


class Outcome(Struct):
    """What became of a rule: how many events it matched, and some of them."""

    rule: Rule
    matched: int = 0
    examples: list[str] = field(default_factory=list)  # event IDs


class DryRun:
    """Runs rules against events, one after the other, as the engine would."""

    def __init__(self, rules: Sequence[Rule], *, ports: Ports) -> None:
        """``ports``: those that are not there never match (see :meth:`unanswered`)."""
        self._rules = RuleSet(rules)
        self._ports = ports
        self._invites = InviteCounter()
        self.outcomes = {rule.name: Outcome(rule) for rule in rules}
        self.judged = 0
        self.undecided = 0  # no rule decided

    async def judge(self, subject: Subject) -> None:
        """Take in one event; they come in the order in which they were sent."""
        self.judged += 1
        subject.known |= AT_HAND
        if subject.is_invite:
            subject.invites = self._invites.count(subject.sender, subject.tick)
        for rule in self._rules.candidates(subject):
            truth = rule.condition.truth(subject, subject.known)
            if truth is None:
                truth = await look_closer(rule, subject, self._ports)
            if truth:
                self._note(rule, subject)
                if rule.decides:
                    return
        self.undecided += 1

    def _note(self, rule: Rule, subject: Subject) -> None:
        outcome = self.outcomes[rule.name]
        outcome.matched += 1
        if len(outcome.examples) < EXAMPLES and subject.event_id is not None:
            outcome.examples.append(subject.event_id)

    def unanswered(self) -> list[Rule]:
        """The rules that ask for what is not at hand here, so that they may match too little."""
        ports = self._ports
        missing = 0
        for aspect, port in zip(LOOKED_UP, (ports.media, ports.ages, ports.standing), strict=True):
            if port is None:
                missing |= aspect
        return [rule for rule in self._rules.rules if rule.aspects & missing]


def past_event(
    event: dict[str, Any], event_id: str | None, room: RoomView | None, direction: str
) -> Subject:
    """An event of the past under judgement, at the time at which it was sent."""
    sent_at = event.get("origin_server_ts")
    at_ms = sent_at if isinstance(sent_at, int) else 0
    state_key = event.get("state_key")
    return Subject(
        direction,
        server_name_of(event["sender"]),
        event["sender"],
        event["type"],
        event["content"],
        event.get("room_id", ""),
        event_id,
        state_key if isinstance(state_key, str) else None,
        room,
        at_ms=at_ms,
        tick=at_ms / 1000,
    )


async def stored_events(
    database: Database, rooms: LiveRooms, server_name: str, since: int
) -> AsyncIterator[Subject]:
    """The events sent since a time (ms), in the order in which they came, a page at a time.

    Rooms are as they are now.
    """
    after = 0
    while True:
        page = await storage.get_judged_events(database, after=after, since=since, limit=PAGE)
        for row in page:
            room = await rooms.get(row.room_id)
            elsewhere = room is not None and bool(room.destinations)
            local = server_name_of(row.pdu["sender"]) == server_name
            direction = ("out" if elsewhere else "local") if local else "in"
            event = {**row.pdu, "room_id": row.room_id}
            yield past_event(event, row.event_id, room, direction)
        if len(page) < PAGE:
            return
        after = page[-1].position
