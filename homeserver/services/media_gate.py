"""Content policy for files: judged as they come in, and each download looks up what was decided.

A verdict is stored with the rules and checks that led to it, so that files are judged anew, when
somebody next wants them, after those have changed.  What is held stays held until a moderator
decides, and a moderator's word stands.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.media_uris import MediaUri
from homeserver.services.judgement import ACCEPTED, POLICY, Action, Judgement
from homeserver.services.media_blobs import MediaBlob
from homeserver.services.media_facts import MediaFacts, MediaSubject, sniff
from homeserver.services.media_threads import in_media_thread
from homeserver.services.sealing.errors import DamagedFile
from homeserver.services.shared_tasks import SharedTasks
from homeserver.storage import media_facts as storage
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow
from homeserver.storage.media_facts import FactsRow, MediaVerdict

WORKERS = 2
RECENT_FACTS = 10_000
WITHHELD = "This file is withheld until a moderator has looked at it"
REFUSED = "This server's content policy does not allow this file"
NONE_WAITS = "No such file waits for a moderator"
SIGN = 1 << 63


class MediaPolicy(Protocol):
    """The rules, as far as they concern files; it writes its own audit rows."""

    @property
    def needs_media_facts(self) -> bool:
        """Whether any rule looks at files."""

    @property
    def revision(self) -> str:
        """Changes whenever the rules do."""

    async def judge_media(self, subject: MediaSubject) -> Judgement:
        """Judge a file."""


class CheckedMedia(Struct, frozen=True):
    """What external checks say of a file."""

    judgement: Judgement
    complete: bool = True  # False: a check failed, so ask again at the next download


class MediaChecks(Protocol):
    """External checks, as far as they concern files; it writes its own audit rows."""

    @property
    def for_media(self) -> bool:
        """Whether any check looks at files."""

    @property
    def revision(self) -> str:
        """Changes whenever the checks do."""

    async def check_media(self, subject: MediaSubject, blob: MediaBlob) -> CheckedMedia:
        """Judge a file."""


class MediaGate:
    """Judges files, and remembers what was decided."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        policy: MediaPolicy,
        checks: MediaChecks,
        find_file: Callable[[bytes], MediaBlob],
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._policy = policy
        self._checks = checks
        self._find_file = find_file
        self._clock_ms = clock_ms
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="media-facts")
        self._recent: OrderedDict[MediaUri, MediaFacts] = OrderedDict()
        self._judging = SharedTasks[tuple[str, str, bytes], MediaVerdict]("judge media")
        self._any_lasting = False

    async def start(self) -> None:
        """Learn whether anything is withheld."""
        self._any_lasting = await storage.any_lasting_verdict(self._database)

    async def close(self) -> None:
        """Stop the threads."""
        await self._judging.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _active(self) -> bool:
        return self._policy.needs_media_facts or self._checks.for_media

    def _policy_now(self) -> str:
        return f"{self._policy.revision}/{self._checks.revision}"

    # ------------------------------------------------------------ on the way in

    async def check_new(self, row: MediaRow, blob: MediaBlob) -> None:
        """Judge a file that has come in and is not stored yet.  Raises :class:`Forbidden`."""
        if not self._active:
            return
        verdict, complete = await self._judge(row, blob)
        refused = verdict.action in ("reject", "soft_fail")
        if complete and not (refused and row.origin == self._server_name):
            await self._store(verdict)
        _enforce(replace(verdict, action="accept") if verdict.withheld else verdict)

    async def check_fetch(self, origin: str, media_id: str) -> None:
        """Do not fetch again what was refused.  Raises :class:`Forbidden`."""
        if not self._active and not self._any_lasting:
            return
        verdict = await storage.get_verdict(self._database, origin, media_id)
        if verdict is not None and self._stands(verdict):
            _enforce(verdict)

    # ------------------------------------------------------------ on the way out

    async def check_download(self, row: MediaRow, blob: MediaBlob) -> None:
        """Look up what was decided; judge what was not judged yet.

        Raises :class:`Forbidden`, and :class:`NotFound` for a file that has gone.
        """
        if not self._active and not self._any_lasting:
            return
        verdict = await storage.get_verdict(self._database, row.origin, row.media_id)
        if verdict is None or verdict.sha256 != row.sha256 or not self._stands(verdict):
            if not self._active:
                return
            try:
                verdict = await self._judge_once(row, blob)
            except FileNotFoundError:
                raise NotFound("There is no such media here") from None
        _enforce(verdict)

    def _stands(self, verdict: MediaVerdict) -> bool:
        """Whether nothing has changed since: what waits for a moderator waits on."""
        lasting = verdict.decided_by is not None or verdict.withheld
        return lasting or (self._active and verdict.policy == self._policy_now())

    async def _judge_once(self, row: MediaRow, blob: MediaBlob) -> MediaVerdict:
        """One judgement serves all who ask at the same time."""
        key = (row.origin, row.media_id, row.sha256)
        return await self._judging.run(key, lambda: self._judge_stored(row, blob))

    async def _judge_stored(self, row: MediaRow, blob: MediaBlob) -> MediaVerdict:
        verdict, complete = await self._judge(row, blob)
        if complete:
            await self._store(verdict)
        return verdict

    # ------------------------------------------------------------ judging

    async def _judge(self, row: MediaRow, blob: MediaBlob) -> tuple[MediaVerdict, bool]:
        """The verdict, and whether all that was asked answered."""
        policy = self._policy_now()
        facts = await self._facts(row.sha256, blob)
        local = row.origin == self._server_name and row.uploader is not None
        subject = MediaSubject(
            "local" if local else "in", row.origin, row.media_id, row.uploader, facts
        )
        judgement, complete = ACCEPTED, True
        if self._policy.needs_media_facts:
            judgement = await self._policy.judge_media(subject)
        if judgement == ACCEPTED and self._checks.for_media:
            checked = await self._checks.check_media(subject, blob)
            judgement, complete = checked.judgement, checked.complete
        verdict = MediaVerdict(
            origin=row.origin,
            media_id=row.media_id,
            sha256=row.sha256,
            policy=policy,
            action="strip" if judgement.strip_media else judgement.action.value,
            rule=judgement.rule.removeprefix(POLICY),
            reason=judgement.reason,
            uploader=row.uploader,
            created_at=self._clock_ms(),
        )
        return verdict, complete

    async def _store(self, verdict: MediaVerdict) -> None:
        await storage.put_verdict(self._database, verdict)
        if verdict.withheld:
            self._any_lasting = True

    async def _facts(self, sha256: bytes, blob: MediaBlob) -> MediaFacts:
        known = await storage.get_facts(self._database, sha256)
        if known is not None:
            return _from_row(known)
        loop = asyncio.get_running_loop()
        facts = await loop.run_in_executor(self._pool, sniff, blob, sha256)
        await storage.put_facts(self._database, _to_row(facts))
        return facts

    # ------------------------------------------------------------ for rules about events

    async def facts_of(self, uris: Sequence[MediaUri]) -> Sequence[MediaFacts]:
        """What is known of the files that an event refers to.

        Nothing of those that are not here: another instance's, before anybody has asked for them.
        """
        known = {uri: facts for uri in uris if (facts := self._recent.get(uri)) is not None}
        others = [uri for uri in uris if uri not in known]
        found = await storage.get_facts_of(self._database, others) if others else {}
        for uri, (sha256, row) in found.items():
            facts = _from_row(row) if row is not None else await self._find_facts(sha256)
            if facts is not None:
                known[uri] = facts
        for uri, facts in known.items():
            self._recent[uri] = facts
            self._recent.move_to_end(uri)
        while len(self._recent) > RECENT_FACTS:
            self._recent.popitem(last=False)
        return [known[uri] for uri in uris if uri in known]

    async def _find_facts(self, sha256: bytes) -> MediaFacts | None:
        try:
            return await self._facts(sha256, self._find_file(sha256))
        except (FileNotFoundError, DamagedFile):
            return None  # known of, and not here any more as it was

    # ------------------------------------------------------------ moderators

    async def withheld(self, since_ms: int, limit: int) -> list[MediaVerdict]:
        """Files that wait for a moderator, the oldest first, from a time on."""
        return await storage.get_withheld(self._database, since_ms, limit)

    async def held_file(self, origin: str, media_id: str) -> MediaBlob:
        """A file that waits, for a moderator to look at.  Raises :class:`NotFound`."""
        verdict = await storage.get_verdict(self._database, origin, media_id)
        if verdict is None or not verdict.withheld:
            raise NotFound(NONE_WAITS)
        blob = self._find_file(verdict.sha256)
        if not await in_media_thread(blob.exists):
            raise NotFound("The file is not here any more")
        return blob

    async def release(self, origin: str, media_id: str, moderator: str) -> None:
        """Let a withheld file be downloaded.  Raises :class:`NotFound`."""
        await self._decide(origin, media_id, Action.ACCEPT, moderator)

    async def refuse(self, origin: str, media_id: str, moderator: str) -> None:
        """Refuse a withheld file for good.  Raises :class:`NotFound`."""
        await self._decide(origin, media_id, Action.REJECT, moderator)

    async def _decide(self, origin: str, media_id: str, action: Action, moderator: str) -> None:
        done = await storage.decide(self._database, origin, media_id, action.value, moderator)
        if not done:
            raise NotFound(NONE_WAITS)


def _enforce(verdict: MediaVerdict) -> None:
    """Raises :class:`Forbidden` for a file that may not be had."""
    if verdict.withheld:
        raise Forbidden(WITHHELD)
    if verdict.action in ("reject", "soft_fail"):
        raise Forbidden(verdict.reason or REFUSED)


def _to_row(facts: MediaFacts) -> FactsRow:
    picture = facts.perceptual_hash
    if picture is not None and picture >= SIGN:
        picture -= SIGN * 2
    return FactsRow(
        facts.sha256, facts.mime_type, facts.size_bytes, facts.width, facts.height, picture
    )


def _from_row(row: FactsRow) -> MediaFacts:
    picture = row.perceptual_hash
    if picture is not None and picture < 0:
        picture += SIGN * 2
    return MediaFacts(row.mime_type, row.size_bytes, row.sha256, row.width, row.height, picture)
