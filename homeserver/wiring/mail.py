"""Mail."""

from __future__ import annotations

from homeserver.config import Config
from homeserver.protocol.email_addresses import parse_sender
from homeserver.services.mail import Mailer
from homeserver.services.mail.smtp import Smtp
from homeserver.storage.database import Database
from homeserver.wiring.basics import clock_ms


def make_mailer(config: Config, database: Database) -> Mailer:
    """The mailer; one that sends nothing, where the configuration names no SMTP server."""
    email = config.email
    return Mailer(
        smtp=make_smtp(config),
        sender=parse_sender(email.sender) if email.sender is not None else None,
        max_queued=email.max_queued,
        database=database,
        clock_ms=clock_ms,
    )


def make_smtp(config: Config) -> Smtp | None:
    """The SMTP server of the configuration."""
    if config.email.host is None:
        return None
    return Smtp(config.email, server_name=config.server_name)
