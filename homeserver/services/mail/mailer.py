"""Sends mail: at once, so that who waits learns whether it went; or later, until it has gone.

What must arrive is queued in the database, and survives a restart.  No log has an address in full,
nor a word of what a mail says.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from email.headerregistry import Address

import structlog

from homeserver.protocol.email_addresses import InvalidEmailAddress, shown_email
from homeserver.services.due_worker import DueWorker
from homeserver.services.mail.composing import Mail, compose
from homeserver.services.mail.smtp import MailDisabled, MailFailed, Smtp
from homeserver.storage import mail as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.mail import QueuedMail

logger = structlog.get_logger(__name__)

AT_ONCE = 4  # connections to the SMTP server
MOST_WAITING = 200  # who wait for one of them
PAUSE_MS = 60_000  # after the first failure; doubled after each
LONGEST_PAUSE_MS = 3_600_000
GIVE_UP_AFTER_MS = 24 * 3_600_000
LEASE_MS = 10 * 60_000
REST_SECONDS = 0.05
CLOSE_SECONDS = 3.0


class Mailer:
    """Sends mail through one SMTP server, if there is one."""

    def __init__(
        self,
        *,
        smtp: Smtp | None,
        sender: Address | None,
        max_queued: int,
        database: Database,
        clock_ms: Callable[[], int],
    ) -> None:
        """``smtp``, ``sender`` None: this instance sends no mail."""
        self._smtp = smtp
        self._sender = sender
        self._max_queued = max_queued
        self._database = database
        self._clock_ms = clock_ms
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._worker = DueWorker(
            "mail queue", self._work, clock_ms=clock_ms, pause_seconds=REST_SECONDS
        )

    @property
    def enabled(self) -> bool:
        """Whether this instance sends mail."""
        return self._smtp is not None

    async def start(self) -> None:
        """Go on with what waits."""
        if self.enabled:
            await self._worker.start()

    async def close(self) -> None:
        """Stop after the mail that is on its way; what waits stays for the next start."""
        await self._worker.close(patience_seconds=CLOSE_SECONDS)  # its lease ends by itself

    async def send(self, to: str, subject: str, text: str, html: str) -> None:
        """Send a mail now.

        Raises: :class:`MailDisabled`, :class:`MailFailed` if the SMTP server has not taken it.
        """
        if self._waiting >= MOST_WAITING:
            raise MailFailed("too many mails at once", temporary=True)
        self._waiting += 1
        try:
            await self._send(Mail(to, subject, text, html))
        except MailFailed as error:
            logger.warning("mail not sent", to=shown_email(to), reason=error.reason)
            raise
        finally:
            self._waiting -= 1

    async def queue(
        self, to: str, subject: str, text: str, html: str, *, connection: Connection | None = None
    ) -> None:
        """Have a mail sent as soon as the SMTP server takes it, for a day at most.

        ``connection``: in its transaction; after the commit the caller is to :meth:`wake`.
        Raises: :class:`MailDisabled`, :class:`MailFailed` if too many wait already.
        """
        if not self.enabled:
            raise MailDisabled()
        stored = await storage.insert_mail(
            connection or self._database,
            to,
            subject.replace("\0", ""),
            text.replace("\0", ""),
            html.replace("\0", ""),
            now=self._clock_ms(),
            most=self._max_queued,
        )
        if not stored:
            logger.error("mail dropped: too many wait for the SMTP server", to=shown_email(to))
            raise MailFailed("the queue is full", temporary=True)
        if connection is None:
            self.wake()

    def wake(self) -> None:
        """There is mail in the queue."""
        self._worker.wake()

    async def _send(self, mail: Mail) -> None:
        if self._smtp is None or self._sender is None:
            raise MailDisabled()
        try:
            message = compose(
                mail,
                sender=self._sender,
                message_id=secrets.token_hex(16),
                now_ms=self._clock_ms(),
            )
        except InvalidEmailAddress as error:
            raise MailFailed("not an e-mail address", temporary=False) from error
        async with self._slots:
            await self._smtp.send(message)

    # ------------------------------------------------------------ the queue

    async def _work(self) -> int | None:
        await self.work_off()
        return await storage.get_next_due(self._database)

    async def work_off(self) -> None:
        """Try all that is due now."""
        while not self._worker.is_closing:
            now = self._clock_ms()
            queued = await storage.take_due_mail(self._database, now, now + LEASE_MS)
            if queued is None:
                return
            await self._try(queued)

    async def _try(self, queued: QueuedMail) -> None:
        to = shown_email(queued.recipient)
        mail = Mail(queued.recipient, queued.subject, queued.text_body, queued.html_body)
        try:
            await self._send(mail)
        except MailFailed as error:
            now = self._clock_ms()
            if error.temporary and now - queued.queued_at < GIVE_UP_AFTER_MS:
                pause_ms = min(PAUSE_MS * 2 ** min(queued.attempts - 1, 10), LONGEST_PAUSE_MS)
                await storage.postpone_mail(self._database, queued.mail_id, now + pause_ms)
                logger.info("mail postponed", to=to, reason=error.reason, pause_ms=pause_ms)
                return
            logger.error("mail given up", to=to, reason=error.reason, attempts=queued.attempts)
        await storage.delete_mail(self._database, queued.mail_id)
