"""The doors at which lists and blocks are asked, before the admin's rules and consent.

What is refused leaves a row in the audit trail.  What is flagged is delivered, and noted once a day
for each sender, entry and room, so that a busy user does not fill the moderators' queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from msgspec.structs import replace

from homeserver.errors import Forbidden
from homeserver.protocol.events import Event, JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.judgement import ACCEPTED, POLICY, Action, Judgement
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy.rates import Rate
from homeserver.services.policy.subject import Subject
from homeserver.services.policy.verdicts import AuditTrail
from homeserver.services.policy_lists.entries import BLOCK
from homeserver.services.policy_lists.index import ListVerdict
from homeserver.services.policy_lists.lists import PolicyLists
from homeserver.services.rooms import Draft

DAY_SECONDS = 86_400.0
STAGE = "list"
MEMBER = "m.room.member"
COMING = ("join", "knock", "invite")


class RulePolicy(Protocol):
    """The admin's rules, asked after the lists."""

    async def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        """Accept, soft-fail or reject."""

    async def judge_history(self, room: LiveRoom, event: Event) -> Judgement:
        """The same for an old event."""

    async def record_verdict(self, room: LiveRoom, event: Event, judgement: Judgement) -> None:
        """Leave an audit row for a verdict of the auth rules."""


class ListGate:
    """Refuses and flags what lists and blocks name."""

    def __init__(
        self,
        *,
        server_name: str,
        lists: PolicyLists,
        trail: AuditTrail,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server_name = server_name
        self._lists = lists
        self._trail = trail
        self._clock = clock
        self._noted = Rate(count=1, seconds=DAY_SECONDS)

    # ------------------------------------------------------------ going out

    def check_send(self, room: LiveRoom, draft: Draft) -> tuple[str, ...]:
        """Rules that flag a local user's event.  Raises :class:`Forbidden`."""
        if _departs(draft.sender, draft.type, draft.state_key, draft.content):
            return ()
        verdict = self._lists.judge_user(draft.sender, self._server_name)
        if draft.type == MEMBER and draft.content.get("membership") in COMING:
            verdict = _stronger(verdict, self._lists.judge_room(room.room_id))
            if draft.content["membership"] == "invite" and draft.state_key is not None:
                invitee = draft.state_key
                verdict = _stronger(
                    verdict, self._lists.judge_user(invitee, server_name_of(invitee))
                )
        if verdict is None:
            return ()
        subject = self._subject(draft.sender, room.room_id, draft.type)
        if verdict.action == BLOCK:
            self._refuse(verdict, subject)
        return self._flags(verdict, subject)

    def check_entry(self, user_id: str, room: str) -> None:
        """A local user joins a room, by its ID or an alias, or knocks.

        Raises: :class:`Forbidden`.
        """
        verdict = self._lists.judge_room(room)
        if verdict is not None and verdict.action == BLOCK:
            self._refuse(verdict, self._subject(user_id, room))

    def check_invitee(self, inviter: str, invitee: str, room_id: str = "") -> None:
        """A local user invites somebody to a room, if there is one yet.

        Raises :class:`Forbidden`.
        """
        verdict = self._lists.judge(invitee, server_name_of(invitee), room_id)
        if verdict is not None and verdict.action == BLOCK:
            self._refuse(verdict, self._subject(inviter, room_id))

    # ------------------------------------------------------------ coming in

    def check_inviter(self, inviter: str, room_id: str, *aliases: str) -> None:
        """Somebody of another instance invites one of ours.  Raises :class:`Forbidden`."""
        verdict = _stronger(
            self._lists.judge_user(inviter, server_name_of(inviter)),
            self._lists.judge_room(room_id, *aliases),
        )
        if verdict is None:
            return
        if verdict.action == BLOCK:
            self._note(verdict, "reject", self._subject(inviter, room_id))
            raise Forbidden("This server does not take this invite")
        self._flags(verdict, self._subject(inviter, room_id))

    def hears(self, sender: str) -> bool:
        """Whether device messages of a user of another instance are taken."""
        verdict = self._lists.judge_user(sender, server_name_of(sender))
        return verdict is None or verdict.action != BLOCK

    def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        """Soft-fail, or flag, another instance's event.

        Who is blocked may still leave, so that they are not shown as being there.  In the rooms of
        lists nobody is judged: who makes a list may be named by it, or by another.
        """
        server = server_name_of(event.sender)
        if server == self._server_name or self._lists.is_followed(room.room_id):
            return ACCEPTED
        verdict = self._lists.judge_user(event.sender, server)
        if verdict is None or _departs(event.sender, event.type, event.state_key, event.content):
            return ACCEPTED
        subject = self._subject(event.sender, room.room_id, event.type, event.event_id)
        if verdict.action == BLOCK:
            self._note(verdict, "soft_fail", subject)
            return Judgement(Action.SOFT_FAIL, f"{POLICY}{verdict.rule}", verdict.text)
        return Judgement(Action.ACCEPT, flags=self._flags(verdict, subject))

    # ------------------------------------------------------------ the audit trail

    def _refuse(self, verdict: ListVerdict, subject: Subject) -> NoReturn:
        self._note(verdict, "reject", subject)
        raise Forbidden(verdict.text)

    def _flags(self, verdict: ListVerdict, subject: Subject) -> tuple[str, ...]:
        key = f"{verdict.rule}\0{verdict.entity}\0{subject.sender}\0{subject.room_id}"
        if self._noted.take(key, self._clock()) > 0:
            return ()
        self._note(verdict, "flag", subject)
        return (verdict.rule,)

    def _note(self, verdict: ListVerdict, action: str, subject: Subject) -> None:
        reason = f"{verdict.entity}: {verdict.reason}"
        self._trail.note(STAGE, verdict.rule, action, subject, reason)

    def _subject(
        self, sender: str, room_id: str, event_type: str = MEMBER, event_id: str | None = None
    ) -> Subject:
        """What the audit trail is told: never the content."""
        origin = server_name_of(sender)
        direction = "out" if origin == self._server_name else "in"
        return Subject(direction, origin, sender, event_type, {}, room_id, event_id)


class ListedPolicy:
    """The lists, then the admin's rules, for events that arrive."""

    def __init__(self, gate: ListGate, rules: RulePolicy) -> None:
        self._gate = gate
        self._rules = rules

    async def judge_arrival(self, room: LiveRoom, event: Event) -> Judgement:
        """The lists' verdict, or that of the rules with the lists' flags."""
        listed = self._gate.judge_arrival(room, event)
        if listed.action is not Action.ACCEPT:
            return listed
        judgement = await self._rules.judge_arrival(room, event)
        return with_flags(judgement, listed.flags)

    async def judge_history(self, room: LiveRoom, event: Event) -> Judgement:
        """The same for an old event that was fetched."""
        listed = self._gate.judge_arrival(room, event)
        if listed.action is not Action.ACCEPT:
            return listed
        return with_flags(await self._rules.judge_history(room, event), listed.flags)

    async def record_verdict(self, room: LiveRoom, event: Event, judgement: Judgement) -> None:
        """Leave an audit row; for what rules and lists decide there is one already."""
        await self._rules.record_verdict(room, event, judgement)


def with_flags(judgement: Judgement, flags: tuple[str, ...]) -> Judgement:
    """A judgement with more flags."""
    return replace(judgement, flags=(*judgement.flags, *flags)) if flags else judgement


def _stronger(one: ListVerdict | None, other: ListVerdict | None) -> ListVerdict | None:
    if one is None or (other is not None and other.action == BLOCK):
        return other
    return one


def _departs(sender: str, event_type: str, state_key: str | None, content: JsonObject) -> bool:
    return event_type == MEMBER and state_key == sender and content.get("membership") == "leave"
