"""E-mail pushers: a mail about what has been unread for a while, and not too often.

A job of the caretaker.  What was read before its mail is due is left out, and where nothing is left
there is no mail.  Spec: client-server API, ``POST /pushers/set``, kind ``email``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.services.mail.smtp import MailFailed
from homeserver.services.push.addresses import UnsubscribeLinks
from homeserver.services.push.badges import Badges
from homeserver.services.push.digest import Line, digest
from homeserver.services.push.mail_bounds import MOST_READ
from homeserver.services.push.payloads import PushableEvents, PushedEvent, RoomNames
from homeserver.services.push.pushers import Addresses, Pushers
from homeserver.services.push.sending import retry_delay_ms
from homeserver.storage import push_mail as storage
from homeserver.storage import push_queue
from homeserver.storage import pushers as pusher_storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.pushers import Pusher

logger = structlog.get_logger(__name__)

AT_ONCE = 50  # pushers
UNKNOWN_AGAIN_MS = 1_000
FIRST_PAUSES = 6  # a mail server that is away is asked again after a minute at the earliest


class MailQueue(Protocol):
    """Sends mail, if not at once, then later."""

    async def queue(
        self, to: str, subject: str, text: str, html: str, *, connection: Connection | None = None
    ) -> None:
        """Have a mail sent, once the connection's transaction has ended.

        Raises :class:`MailFailed`.
        """

    def wake(self) -> None:
        """There is mail in the queue."""


class _TakenElsewhere(Exception):
    """Another process has mailed it meanwhile."""


class MailSettings(Struct, frozen=True):
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
        self._counted_on: set[int] = set()

    def queued(self, pusher_ids: Iterable[int]) -> bool:
        """Something was queued for pushers; whether a mail may be due sooner than was known.

        It is not for those that have been waiting already.
        """
        new = set(pusher_ids) - self._counted_on
        self._counted_on |= new
        return bool(new)

    def changed(self, pusher_ids: Iterable[int]) -> None:
        """Pushers were set again: look anew when they are due."""
        self._counted_on.difference_update(pusher_ids)

    async def next_due(self) -> int | None:
        """When the next mail is to be written (ms)."""
        found = await self._next(1)
        return found[0][1] if found else None

    async def step(self) -> bool:
        """Write some mails that are due."""
        now = self._clock_ms()
        due = [pusher_id for pusher_id, due_at in await self._next(AT_ONCE) if due_at <= now]
        busy = False
        for pusher_id in due:
            pusher = self._pushers.get(pusher_id)
            if pusher is None:  # gone a moment ago, or not yet in memory
                await pusher_storage.set_retry(self._database, pusher_id, 0, now + UNKNOWN_AGAIN_MS)
                continue
            busy = True
            try:
                await self._look_after(pusher)
            except Exception as error:  # it must not keep others from their mails
                logger.exception("a mail could not be written", user_id=pusher.user_id)
                await self._put_off(pusher, type(error).__name__)
        return busy

    async def _next(self, limit: int) -> list[tuple[int, int]]:
        settings = self._settings
        return await storage.get_next(
            self._database, after_ms=settings.after_ms, every_ms=settings.every_ms, limit=limit
        )

    async def _look_after(self, pusher: Pusher) -> None:
        self._counted_on.discard(pusher.pusher_id)
        if not await self._addresses.has_email(pusher.user_id, pusher.pushkey):
            await self._pushers.remove(pusher)
            return
        pushes = await push_queue.get_items(self._database, pusher.pusher_id, MOST_READ)
        queue_ids = [push.queue_id for push in pushes]
        unread = await self._events.get_many(pusher, pushes)
        if not unread:
            await push_queue.delete_items(self._database, queue_ids)
            return
        mail = await self._compose(pusher, unread)
        sent_at = self._clock_ms()
        try:
            # The mail waits, and what it says waits no longer, from one moment to the next.
            async with self._database.transaction() as connection:
                if await storage.take(connection, queue_ids) < len(queue_ids):
                    raise _TakenElsewhere
                await pusher_storage.set_sent(connection, pusher.pusher_id, sent_at)
                await self._mailer.queue(pusher.pushkey, *mail, connection=connection)
        except _TakenElsewhere:
            return
        except MailFailed as error:
            await self._put_off(pusher, str(error))
            return
        pusher.failures, pusher.retry_at, pusher.sent_at = 0, None, sent_at
        self._mailer.wake()

    async def _put_off(self, pusher: Pusher, reason: str) -> None:
        failures = pusher.failures + 1
        logger.warning("no mail to a pusher", user_id=pusher.user_id, reason=reason)
        retry_at = self._clock_ms() + retry_delay_ms(failures + FIRST_PAUSES)
        pusher.failures, pusher.retry_at = failures, retry_at
        await pusher_storage.set_retry(self._database, pusher.pusher_id, failures, retry_at)

    async def _compose(self, pusher: Pusher, unread: Sequence[PushedEvent]) -> tuple[str, str, str]:
        """The subject, the text, and the text as HTML."""
        lines = [await self._line(pusher, pushed) for pushed in unread]
        badge = await self._badges.get(pusher.user_id)
        return digest(
            lines,
            server=self._server_name,
            user_id=pusher.user_id,
            address=pusher.pushkey,
            unread=badge.unread,
            unsubscribe=self._links.make(pusher),
            with_text=self._settings.with_text,
        )

    async def _line(self, pusher: Pusher, pushed: PushedEvent) -> Line:
        event, reader = pushed.event, pusher.user_id
        name, _ = await self._names.room(event.room_id, reader)
        sender = await self._names.member(event.room_id, event.sender, reader)
        return Line(event.room_id, name or "a room", sender or event.sender, event)
