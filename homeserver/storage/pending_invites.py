"""Invitations that go out in the background, and those that could not be made."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_INVITES = """
INSERT INTO pending_invites (room_id, user_id, inviter, is_direct, reason, created_at,
    next_attempt_at)
SELECT $1, user_id, $3, $4, $5, $6, $6 FROM unnest($2::text[]) AS new (user_id)
ON CONFLICT (room_id, user_id) DO UPDATE SET inviter = EXCLUDED.inviter,
    reason = EXCLUDED.reason, created_at = EXCLUDED.created_at,
    next_attempt_at = EXCLUDED.next_attempt_at, attempts = 0, problem = NULL, detail = NULL
"""
# Whoever takes an invitation has some time for it; then another one may.
TAKE_INVITES = """
UPDATE pending_invites p SET next_attempt_at = $2, attempts = attempts + 1
FROM (
    SELECT room_id, user_id FROM pending_invites
    WHERE next_attempt_at <= $1 AND ($4::text IS NULL OR room_id = $4)
    ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED
) due
WHERE p.room_id = due.room_id AND p.user_id = due.user_id
RETURNING p.room_id, p.user_id, p.inviter, p.is_direct, p.reason, p.created_at, p.attempts,
    p.problem, p.detail, p.next_attempt_at
"""
SET_PROBLEM = """
UPDATE pending_invites SET problem = $3, detail = $4, next_attempt_at = $5
WHERE room_id = $1 AND user_id = $2
"""
DELETE_INVITES = "DELETE FROM pending_invites WHERE room_id = $1 AND user_id = ANY($2::text[])"
DELETE_ROOM = "DELETE FROM pending_invites WHERE room_id = $1"
SELECT_INVITES = """
SELECT room_id, user_id, inviter, is_direct, reason, created_at, attempts, problem, detail,
    next_attempt_at
FROM pending_invites WHERE room_id = $1 AND user_id = ANY($2::text[])
"""
SELECT_NEXT = "SELECT min(next_attempt_at) FROM pending_invites WHERE next_attempt_at IS NOT NULL"


class PendingInvite(Struct, frozen=True):
    """An invitation that is not out yet.  Times in ms.

    ``next_attempt_at`` None: given up, for the reason in ``problem`` and ``detail``.
    """

    room_id: str
    user_id: str
    inviter: str
    is_direct: bool
    reason: str | None
    created_at: int
    attempts: int
    problem: str | None
    detail: str | None
    next_attempt_at: int | None


async def insert_invites(
    db: Queryable,
    room_id: str,
    user_ids: Collection[str],
    *,
    inviter: str,
    is_direct: bool,
    reason: str | None,
    now: int,
) -> None:
    """Note whom somebody wants to invite; what failed before is tried anew."""
    await db.execute(INSERT_INVITES, room_id, list(user_ids), inviter, is_direct, reason, now)


async def take_invites(
    db: Queryable, *, now: int, until: int, limit: int, room_id: str | None = None
) -> list[PendingInvite]:
    """Take some that are due, for oneself until a time (ms)."""
    return [
        PendingInvite(**row) for row in await db.fetch(TAKE_INVITES, now, until, limit, room_id)
    ]


async def set_problem(
    db: Queryable,
    invite: PendingInvite,
    *,
    problem: str,
    detail: str,
    next_attempt_at: int | None,
) -> None:
    """Note why one could not be made, and when it is tried again; None: never."""
    await db.execute(SET_PROBLEM, invite.room_id, invite.user_id, problem, detail, next_attempt_at)


async def delete_invites(db: Queryable, room_id: str, user_ids: Collection[str]) -> None:
    """They are out, or not wanted any longer."""
    await db.execute(DELETE_INVITES, room_id, list(user_ids))


async def get_invites(
    db: Queryable, room_id: str, user_ids: Collection[str]
) -> dict[str, PendingInvite]:
    """User ID -> what became of the wish to invite them, where it is not done."""
    rows = await db.fetch(SELECT_INVITES, room_id, list(user_ids))
    return {row["user_id"]: PendingInvite(**row) for row in rows}


async def get_next(db: Queryable) -> int | None:
    """When the next attempt is due (ms)."""
    due: int | None = await db.fetchval(SELECT_NEXT)
    return due
