"""A mail as it goes over the wire.  Pure.

Nothing that somebody else chose can become a header: addresses are parsed, a subject is one line.
RFC 5322; RFC 3834 for ``Auto-Submitted``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from homeserver.protocol.email_addresses import header_address, one_line

LONGEST_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one address, in plain text and in HTML."""

    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)


def compose(mail: Mail, *, sender: Address, message_id: str, now_ms: int) -> EmailMessage:
    """The message.  Raises :class:`InvalidEmailAddress` if nothing can be sent to ``mail.to``."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = header_address(mail.to)
    message["Subject"] = one_line(mail.subject, LONGEST_SUBJECT)
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, UTC))
    message["Message-ID"] = f"<{message_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # no answers of machines on holiday
    message.set_content(mail.text.encode("utf-8", "replace").decode())
    message.add_alternative(mail.html.encode("utf-8", "replace").decode(), subtype="html")
    return message
