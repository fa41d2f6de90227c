"""E-mail pushers: a mail about what has been unread for a while, and not too often.

A job of the caretaker.  What was read before its mail is due is left out, and where nothing is left
there is no mail.  Spec: client-server API, ``POST /pushers/set``, kind ``email``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from homeserver.services.mail.smtp import MailFailed
from homeserver.services.push.addresses import UnsubscribeLinks
from homeserver.services.push.badges import Badges
from homeserver.services.push.digest import Line, digest
from homeserver.services.push.payloads import PushableEvents, PushedEvent, RoomNames
from homeserver.services.push.pushers import Addresses, Pushers
from homeserver.services.push.sending import retry_delay_ms
from homeserver.storage import push_mail as storage
from homeserver.storage import push_queue
from homeserver.storage import pushers as pusher_storage
from homeserver.storage.database import Database
from homeserver.storage.pushers import Pusher

logger = structlog.get_logger(__name__)

READ_AT_ONCE = 200
UNKNOWN_AGAIN_MS = 1_000
FIRST_PAUSES = 6  # a mail server that is away is asked again after a minute at the earliest


class MailQueue(Protocol):
    """Sends mail, if not at once, then later."""

    async def queue(self, to: str, subject: str, text: str, html: str) -> None:
        """Have a mail sent.  Raises :class:`MailFailed`."""


@dataclass(frozen=True, slots=True)
class MailSettings:
    """``push.email_*``.  ``after_ms``: how long something is unread before it is written of;
    ``every_ms``: between two mails of a pusher."""

    after_ms: int
    every_ms: int
    with_text: bool


class MailPushers:
    """Writes to those who asked for it."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        pushers: Pushers,
        addresses: Addresses,
        events: PushableEvents,
        names: RoomNames,
        badges: Badges,
        mailer: MailQueue,
        links: UnsubscribeLinks,
        settings: MailSettings,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._pushers = pushers
        self._addresses = addresses
        self._events = events
        self._names = names
        self._badges = badges
        self._mailer = mailer
        self._links = links
        self._settings = settings
        self._clock_ms = clock_ms

    async def next_due(self) -> int | None:
        """When the next mail is to be written (ms)."""
        found = await self._next()
        return found[1] if found is not None else None

    async def step(self) -> bool:
        """Write one mail that is due."""
        found = await self._next()
        if found is None or found[1] > self._clock_ms():
            return False
        pusher = self._pushers.get(found[0])
        if pusher is None:  # gone a moment ago, or not yet in memory
            later = self._clock_ms() + UNKNOWN_AGAIN_MS
            await pusher_storage.set_retry(self._database, found[0], 0, later)
            return False
        if not await self._addresses.has_email(pusher.user_id, pusher.pushkey):
            await self._pushers.remove(pusher)
            return True
        await self._write(pusher)
        return True

    async def _next(self) -> tuple[int, int] | None:
        settings = self._settings
        return await storage.get_next(
            self._database, after_ms=settings.after_ms, every_ms=settings.every_ms
        )

    async def _write(self, pusher: Pusher) -> None:
        pushes = await push_queue.get_items(self._database, pusher.pusher_id, READ_AT_ONCE)
        unread = [
            pushed
            for push in pushes
            if (pushed := await self._events.get(pusher, push)) is not None
        ]
        if unread:
            try:
                await self._send(pusher, unread)
            except MailFailed as error:
                failures = pusher.failures + 1
                logger.warning("no mail to a pusher", user_id=pusher.user_id, reason=str(error))
                retry_at = self._clock_ms() + retry_delay_ms(failures + FIRST_PAUSES)
                pusher.failures, pusher.retry_at = failures, retry_at
                await pusher_storage.set_retry(self._database, pusher.pusher_id, failures, retry_at)
                return
            pusher.failures, pusher.retry_at, pusher.sent_at = 0, None, self._clock_ms()
            await pusher_storage.set_sent(self._database, pusher.pusher_id, pusher.sent_at)
        await push_queue.delete_items(self._database, [push.queue_id for push in pushes])

    async def _send(self, pusher: Pusher, unread: Sequence[PushedEvent]) -> None:
        lines = [await self._line(pusher, pushed) for pushed in unread]
        badge = await self._badges.get(pusher.user_id)
        subject, text, html = digest(
            lines,
            server=self._server_name,
            user_id=pusher.user_id,
            address=pusher.pushkey,
            unread=badge.unread,
            unsubscribe=self._links.make(pusher),
            with_text=self._settings.with_text,
        )
        await self._mailer.queue(pusher.pushkey, subject, text, html)

    async def _line(self, pusher: Pusher, pushed: PushedEvent) -> Line:
        event, reader = pushed.event, pusher.user_id
        name, _ = await self._names.room(event.room_id, reader)
        sender = await self._names.member(event.room_id, event.sender, reader)
        return Line(event.room_id, name or "a room", sender or event.sender, event)
