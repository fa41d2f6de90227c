"""What admins changed: who, what, when, and what came of it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT = """
INSERT INTO admin_audit (created_at, actor, action, target, details)
VALUES ($1, $2, $3, $4, $5) RETURNING audit_id
"""
INSERT_DONE = """
INSERT INTO admin_audit (created_at, actor, action, target, details, status)
VALUES ((extract(epoch FROM now()) * 1000)::bigint, $1, $2, $3, '{}', 200)
"""
SET_STATUS = "UPDATE admin_audit SET status = $2 WHERE audit_id = $1"
SELECT = """
SELECT audit_id, created_at, actor, action, target, details, status FROM admin_audit
WHERE audit_id < $1 AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
    AND ($4::text IS NULL OR position($4 IN target) > 0)
ORDER BY audit_id DESC LIMIT $5
"""


class AuditEntry(Struct, frozen=True):
    """One deed.  ``status``: the answer's HTTP status; null: the server stopped before its end."""

    audit_id: int
    created_at: int  # ms
    actor: str
    action: str
    target: str
    details: dict[str, Any]
    status: int | None


async def begin(
    db: Queryable, *, now_ms: int, actor: str, action: str, target: str, details: dict[str, Any]
) -> int:
    """Note a deed that is about to be done; the entry's ID."""
    audit_id: int = await db.fetchval(INSERT, now_ms, actor, action, target, details)
    return audit_id


async def end(db: Queryable, audit_id: int, status: int) -> None:
    """Note what came of it."""
    await db.execute(SET_STATUS, audit_id, status)


async def note_deed(db: Queryable, actor: str, action: str, user: str) -> None:
    """Note what was done to an account without the API."""
    await db.execute(INSERT_DONE, actor, action, f"/users/{user}")


async def get_entries(
    db: Queryable,
    *,
    before: int,
    actor: str | None,
    action: str | None,
    target: str | None,
    limit: int,
) -> list[AuditEntry]:
    """Entries with a lower ID, the newest first; ``target``: a part of the path."""
    rows = await db.fetch(SELECT, before, actor, action, target, limit)
    return [AuditEntry(**row) for row in rows]
