"""Asks the external checks about an event or a file, one after the other.

The first that says anything but "allow" or "flag" decides.  One that gives no answer lets pass or
decides by its ``action``, as ``on_failure`` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import aiohttp
from msgspec import Struct
from msgspec.structs import replace

from homeserver.services.external_checks.answers import (
    ALLOW,
    FLAG,
    Answer,
    CannotCheck,
    CheckFailed,
)
from homeserver.services.external_checks.caller import Caller
from homeserver.services.external_checks.clamav import ClamAv
from homeserver.services.external_checks.definition import CLAMAV, CheckDefinition
from homeserver.services.external_checks.questions import about_event, about_media
from homeserver.services.external_checks.webhook import Webhook, new_session
from homeserver.services.judgement import ACCEPTED, Action, Judgement
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_facts import MediaSubject
from homeserver.services.media_gate import CheckedMedia
from homeserver.services.policy.subject import Subject
from homeserver.storage.policy import VerdictRow

MESSAGE = "This server's content policy does not allow this"
NOT_CHECKED = "This could not be checked: try again later"
STAGE = "check"
ACTIONS = {"hold": Action.HOLD, "reject": Action.REJECT, "soft_fail": Action.SOFT_FAIL}


class Match(Protocol):
    """A check's ``match``."""

    async def event(self, subject: Subject) -> bool:
        """Whether to ask about an event."""

    def media(self, subject: MediaSubject) -> bool:
        """Whether to ask about a file: unless what is known of it excludes it."""


class _Check(Struct, frozen=True):
    definition: CheckDefinition
    match: Match | None
    caller: Caller
    webhook: Webhook | None = None
    clamav: ClamAv | None = None


class _Checked(Struct, frozen=True):
    """What one check says."""

    judgement: Judgement
    complete: bool = True
    flagged: bool = False


class _About(Struct, frozen=True):
    """What the audit trail says of who and what was judged."""

    direction: str
    origin: str
    sender: str | None
    room_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    remark: str = ""


class ExternalChecks:
    """All configured checks."""

    def __init__(
        self,
        *,
        checks: Sequence[tuple[CheckDefinition, Match | None]],
        server_name: str,
        note: Callable[[VerdictRow], None],
        download_url: Callable[[MediaBlob], str],
        clock_ms: Callable[[], int],
        clock_seconds: Callable[[], float],
    ) -> None:
        """``note`` takes a row of the audit trail; ``download_url`` makes a file's address."""
        self._server_name = server_name
        self._note = note
        self._download_url = download_url
        self._clock_ms = clock_ms
        self._clock_seconds = clock_seconds
        self._session: aiohttp.ClientSession | None = None
        made = [self._make(definition, match) for definition, match in checks]
        self._for_events = [check for check in made if check.definition.for_events]
        self._for_media = [check for check in made if check.definition.for_media]
        described = repr([check.definition for check in self._for_media])
        self.revision = hashlib.sha256(described.encode()).hexdigest()[:16]
        """Changes with the checks of files."""

    def _make(self, definition: CheckDefinition, match: Match | None) -> _Check:
        caller = Caller(
            definition.name,
            timeout_seconds=definition.timeout_seconds,
            concurrent=definition.concurrent,
            clock_seconds=self._clock_seconds,
            opened=lambda reason: self._given_up(definition.name, reason),
        )
        if definition.kind == CLAMAV:
            clamav = ClamAv(
                address=definition.target,
                action=definition.action,
                max_bytes=definition.max_bytes,
                clock_seconds=self._clock_seconds,
            )
            return _Check(definition, match, caller, clamav=clamav)
        webhook = Webhook(
            url=definition.target,
            secret=definition.secret,
            session=self._http,
            clock_ms=self._clock_ms,
        )
        return _Check(definition, match, caller, webhook=webhook)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session()
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    @property
    def for_events(self) -> bool:
        """Whether any check looks at events."""
        return bool(self._for_events)

    @property
    def for_media(self) -> bool:
        """Whether any check looks at files."""
        return bool(self._for_media)

    # ------------------------------------------------------------ asking

    async def check(self, subject: Subject) -> Judgement | None:
        """Judge an event that the rules accepted; None where no check has anything to say.

        Accepted with ``flags`` where some want a moderator to look.
        """
        about = _About(
            subject.direction,
            subject.origin,
            subject.sender,
            subject.room_id,
            subject.event_id,
            subject.type,
        )
        flags: list[str] = []
        for check in self._for_events:
            webhook, match = check.webhook, check.match
            if webhook is None or (match is not None and not await match.event(subject)):
                continue
            question = about_event(check.definition.name, subject)
            checked = await self._ask(check, about, partial(webhook.ask, question))
            if checked.flagged:
                flags.append(check.definition.name)
            elif checked.judgement != ACCEPTED:
                return replace(checked.judgement, flags=tuple(flags))
        return Judgement(Action.ACCEPT, flags=tuple(flags)) if flags else None

    async def check_media(self, subject: MediaSubject, blob: MediaBlob) -> CheckedMedia:
        """Judge a file."""
        about = _About(
            subject.direction,
            subject.origin,
            subject.uploader,
            remark=f"mxc://{subject.origin}/{subject.media_id}",
        )
        complete = True
        for check in self._for_media:
            if check.match is not None and not check.match.media(subject):
                continue
            checked = await self._ask_about_file(check, about, subject, blob)
            complete = complete and checked.complete
            if checked.judgement != ACCEPTED:
                return CheckedMedia(checked.judgement, checked.complete)
        return CheckedMedia(ACCEPTED, complete)

    async def _ask_about_file(
        self, check: _Check, about: _About, subject: MediaSubject, blob: MediaBlob
    ) -> _Checked:
        if check.clamav is not None:
            known = check.clamav.known(subject.facts.sha256)
            if known is not None:
                verdict = self._judgement(check.definition, known.verdict, about, known.reason)
                return _Checked(verdict)
        return await self._ask(check, about, partial(self._send_file, check, subject, blob))

    async def _send_file(self, check: _Check, subject: MediaSubject, blob: MediaBlob) -> Answer:
        if check.clamav is not None:
            facts = subject.facts
            return await check.clamav.ask(blob, facts.sha256, facts.size_bytes)
        assert check.webhook is not None
        url = self._download_url(blob)
        return await check.webhook.ask(about_media(check.definition.name, subject, url))

    async def _ask(
        self, check: _Check, about: _About, ask: Callable[[], Awaitable[Answer]]
    ) -> _Checked:
        definition = check.definition
        try:
            answer = await check.caller.call(ask)
        except CannotCheck as error:
            return self._without_answer(definition, about, f"cannot be checked: {error}", True)
        except CheckFailed as error:
            return self._without_answer(definition, about, f"not checked: {error}", False)
        judgement = self._judgement(definition, answer.verdict, about, answer.reason)
        return _Checked(judgement, flagged=answer.verdict == FLAG)

    def _without_answer(
        self, definition: CheckDefinition, about: _About, reason: str, complete: bool
    ) -> _Checked:
        if not definition.fail_closed:
            return _Checked(ACCEPTED, complete)
        judgement = self._judgement(definition, definition.action, about, reason)
        if not complete and judgement.action in (Action.REJECT, Action.SOFT_FAIL):
            judgement = Judgement(judgement.action, judgement.rule, NOT_CHECKED)
        return _Checked(judgement, complete, flagged=definition.action == FLAG)

    # ------------------------------------------------------------ what becomes of it

    def _judgement(
        self, definition: CheckDefinition, verdict: str, about: _About, reason: str
    ) -> Judgement:
        """A verdict as a judgement; all but "allow" leaves a row in the audit trail."""
        if verdict == ALLOW:
            return ACCEPTED
        self._write(definition.name, verdict, about, reason)
        if verdict == FLAG:
            return ACCEPTED
        message = definition.message or MESSAGE
        if verdict == "strip":
            return Judgement(Action.ACCEPT, definition.name, message, strip_media=True)
        return Judgement(ACTIONS[verdict], definition.name, message)

    def _given_up(self, name: str, reason: str) -> None:
        self._write(name, "skipped", _About("local", self._server_name, None), reason)

    def _write(self, name: str, action: str, about: _About, reason: str) -> None:
        self._note(
            VerdictRow(
                created_at=self._clock_ms(),
                stage=STAGE,
                rule=name,
                action=action,
                direction=about.direction,
                origin=about.origin,
                room_id=about.room_id,
                event_id=about.event_id,
                event_type=about.event_type,
                sender=about.sender,
                reason=": ".join(part for part in (about.remark, reason) if part),
            )
        )
