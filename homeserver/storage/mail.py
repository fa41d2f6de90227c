"""Mail that waits for the SMTP server."""

from __future__ import annotations

from dataclasses import dataclass, field

from homeserver.storage.database import Queryable

INSERT_MAIL = """
INSERT INTO mail_queue (recipient, subject, text_body, html_body, queued_at, due_at)
SELECT $1, $2, $3, $4, $5, $5
WHERE (SELECT count(*) FROM (SELECT 1 FROM mail_queue LIMIT $6) AS waiting) < $6
RETURNING mail_id
"""
# Whoever takes a mail has it until `$2`; should its process die, it is due again then.
TAKE_DUE = """
UPDATE mail_queue SET due_at = $2, attempts = attempts + 1
WHERE mail_id = (SELECT mail_id FROM mail_queue WHERE due_at <= $1
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING mail_id, recipient, subject, text_body, html_body, queued_at, attempts
"""
POSTPONE = "UPDATE mail_queue SET due_at = $2 WHERE mail_id = $1"
DELETE_MAIL = "DELETE FROM mail_queue WHERE mail_id = $1"
SELECT_NEXT_DUE = "SELECT min(due_at) FROM mail_queue"


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail that was taken to be sent.  Times in ms."""

    mail_id: int
    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    text_body: str = field(repr=False)
    html_body: str = field(repr=False)
    queued_at: int
    attempts: int


async def insert_mail(
    db: Queryable, recipient: str, subject: str, text: str, html: str, *, now: int, most: int
) -> bool:
    """Have a mail wait.  False if as many as may wait do."""
    row = await db.fetchval(INSERT_MAIL, recipient, subject, text, html, now, most)
    return row is not None


async def take_due_mail(db: Queryable, now: int, until: int) -> QueuedMail | None:
    """A mail that is due, for nobody else until a time (ms)."""
    row = await db.fetchrow(TAKE_DUE, now, until)
    return QueuedMail(**row) if row is not None else None


async def postpone_mail(db: Queryable, mail_id: int, due_at: int) -> None:
    """Try a mail again at a time (ms)."""
    await db.execute(POSTPONE, mail_id, due_at)


async def delete_mail(db: Queryable, mail_id: int) -> None:
    """A mail was sent, or given up."""
    await db.execute(DELETE_MAIL, mail_id)


async def get_next_due(db: Queryable) -> int | None:
    """When a mail is due next (ms)."""
    due: int | None = await db.fetchval(SELECT_NEXT_DUE)
    return due
