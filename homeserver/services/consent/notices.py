"""Telling other Comity instances of consent given to, or taken back from, one of their users.

Only somebody who had consent is told that it is gone: a stranger who is blocked learns nothing.
Reports go the same way, without the name of who reports.
See ``docs/consent-between-instances.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.consent.peers import GRANTED, NOT_GIVEN, PeerConsent
from homeserver.services.consent.scopes import INCOMING
from homeserver.services.outgoing import EduQueue
from homeserver.services.rate_limits import RateLimits
from homeserver.services.values import is_text, is_user_id
from homeserver.storage import consent as storage
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice

logger = structlog.get_logger(__name__)

CONSENT_EDU = "dev.comity.consent"
REPORT_EDU = "dev.comity.report"
MAX_REASON = 1_000


class KnownPeers(Protocol):
    """Which instances are Comities; ``federation`` provides it."""

    async def is_comity(self, server_name: str) -> bool:
        """Whether an instance is one."""

    def heard_from(self, server_name: str) -> None:
        """An instance has used what only Comities know."""


class Moderators(Protocol):
    """Where reports go."""

    async def add(
        self,
        kind: str,
        *,
        sender: str | None = None,
        room_id: str | None = None,
        event_id: str | None = None,
        rule: str | None = None,
        note: str | None = None,
        reporter: str | None = None,
    ) -> int:
        """Add an item to the queue."""


class ConsentNotices:
    """Sends and takes notices about consent, and reports."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        log: Log,
        edus: EduQueue,
        peers: KnownPeers,
        peer_consent: PeerConsent,
        moderators: Moderators,
        knows: Callable[[str, str], Awaitable[bool]],
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        """``knows``: whether one of ours has to do with a user of another instance."""
        self._knows = knows
        self._rate_limits = rate_limits
        self._server_name = server_name
        self._database = database
        self._edus = edus
        self._peers = peers
        self._peer_consent = peer_consent
        self._moderators = moderators
        self._clock_ms = clock_ms
        self._waiting: asyncio.Queue[ConsentRecord] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        log.subscribe(self._on_notice)

    async def start(self) -> None:
        """Begin to send; what was not sent before the process ended goes first."""
        for record in await storage.get_unannounced(self._database):
            self._waiting.put_nowait(record)
        self._task = asyncio.create_task(self._run(), name="consent notices")

    async def close(self) -> None:
        """Stop; what is not sent yet is sent after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ------------------------------------------------------------ to other instances

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, ConsentRecord) and record.is_for_peer(self._server_name):
                self._waiting.put_nowait(record)

    async def _run(self) -> None:
        while True:
            record = await self._waiting.get()
            try:
                await self._announce(record)
            except Exception:
                logger.exception("consent not announced")

    async def _announce(self, record: ConsentRecord) -> None:
        server = server_name_of(record.peer)
        known = record.scope in INCOMING and await storage.was_granted(
            self._database, record.owner, record.peer, record.scope
        )
        if known and await self._peers.is_comity(server):
            content: JsonObject = {
                "user_id": record.owner,
                "peer": record.peer,
                "scope": record.scope,
                "state": GRANTED if record.state == "granted" else NOT_GIVEN,
            }
            key = f"{record.owner} {record.peer} {record.scope}"
            await self._edus.queue_edu([server], CONSENT_EDU, content, coalesce_key=key)
        await storage.set_announced(self._database, record)

    async def forward(
        self,
        reporter: str,
        target_user: str,
        room_id: str | None,
        event_id: str | None,
        reason: str | None,
    ) -> None:
        """Pass a report on to the reported user's instance, without who reports."""
        server = server_name_of(target_user)
        if server == self._server_name or not await self._peers.is_comity(server):
            return
        content: JsonObject = {"user_id": target_user, "reason": reason or ""}
        if room_id is not None:
            content["room_id"] = room_id
        if event_id is not None:
            content["event_id"] = event_id
        await self._edus.queue_edu([server], REPORT_EDU, content)

    # ------------------------------------------------------------ from other instances

    async def receive_consent(self, origin: str, content: JsonObject) -> None:
        """An instance tells of its user's consent to one of ours."""
        peer, user_id = content.get("user_id"), content.get("peer")
        scope, state = content.get("scope"), content.get("state")
        if not is_user_id(peer) or server_name_of(peer) != origin:
            return
        if not is_user_id(user_id) or server_name_of(user_id) != self._server_name:
            return
        if scope in INCOMING and state in (GRANTED, NOT_GIVEN):
            self._peers.heard_from(origin)
            if not await self._knows(user_id, peer):
                return  # nobody here was told of consent, so none was taken back
            await self._peer_consent.heard(peer, user_id, str(scope), str(state))

    async def receive_report(self, origin: str, content: JsonObject) -> None:
        """An instance passes on a report of one of our users.  Raises ``M_LIMIT_EXCEEDED``."""
        user_id, reason = content.get("user_id"), content.get("reason")
        if not is_user_id(user_id) or server_name_of(user_id) != self._server_name:
            return
        room_id, event_id = content.get("room_id"), content.get("event_id")
        self._peers.heard_from(origin)
        self._rate_limits.check("instance_report", origin)
        await self._moderators.add(
            "report",
            sender=user_id,
            room_id=room_id if is_text(room_id) else None,
            event_id=event_id if is_text(event_id) else None,
            note=reason[:MAX_REASON] if isinstance(reason, str) else None,
            reporter=origin,
        )
