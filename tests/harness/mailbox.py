"""An SMTP server that keeps what it is given."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword


class Mailbox:
    """Mails that arrived.  ``answers``: what the server says to the next ones, in place of 250."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.answers: list[str] = []
        self.port = 0
        self._arrived = asyncio.Condition()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        """A mail arrives.  (The name is aiosmtpd's.)"""
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        async with self._arrived:
            self._arrived.notify_all()
        return "250 taken"

    async def wait_for(self, count: int) -> list[EmailMessage]:
        """The mails, once there are so many."""
        async with asyncio.timeout(30), self._arrived:
            await self._arrived.wait_for(lambda: len(self.mails) >= count)
        return self.mails

    def text(self, number: int = -1) -> str:
        """What a mail says."""
        body = self.mails[number].get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    def link(self, number: int = -1) -> str:
        """The first link of a mail."""
        match = re.search(r"https?://\S+", self.text(number))
        assert match is not None, self.text(number)
        return match[0]


def _knows(user: bytes, password: bytes) -> Any:
    def authenticate(_server: Any, _session: Any, _envelope: Any, _kind: str, data: Any) -> Any:
        assert isinstance(data, LoginPassword)
        good = (data.login, data.password) == (user, password)
        return AuthResult(success=good, handled=False)

    return authenticate


@asynccontextmanager
async def mailbox(
    *,
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
) -> AsyncIterator[Mailbox]:
    """A running SMTP server on a port of its own; ``login``: the user and password it wants."""
    box = Mailbox()
    options: dict[str, Any] = {"hostname": "mail.test", "enable_SMTPUTF8": True}
    if login is not None:
        options |= {
            "authenticator": _knows(login[0].encode(), login[1].encode()),
            "auth_required": True,
            "auth_require_tls": False,
        }
    if starttls is not None:
        options |= {"tls_context": starttls, "require_starttls": True}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, loop=loop, **options), "127.0.0.1", 0, ssl=tls
    )
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()


def settings(box: Mailbox, **more: Any) -> dict[str, Any]:
    """``email`` of the configuration of an instance that sends there."""
    return {
        "host": "127.0.0.1",
        "port": box.port,
        "tls": "none",
        "from": "Example Chat <noreply@example.org>",
        "timeout_seconds": 5,
        **more,
    }
