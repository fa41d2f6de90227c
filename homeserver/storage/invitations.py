"""Invitations to this instance: codes that members hand out, and who came by them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.storage.database import Connection, Queryable

LOCK_INVITER = "SELECT 1 FROM accounts WHERE user_id = $1 FOR UPDATE"
COUNT_OPEN = """
SELECT count(*) FROM invitations WHERE inviter = $1 AND revoked_at IS NULL AND expires_at > $2
    AND uses_completed < uses_allowed
"""
DELETE_STALE = """
DELETE FROM invitations WHERE inviter = $1 AND uses_completed = 0 AND expires_at < $2
"""
INSERT_INVITATION = """
INSERT INTO invitations (code, inviter, uses_allowed, note, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""
COLUMNS = """
code, inviter, uses_allowed, uses_completed, note, created_at, expires_at, revoked_at
"""
SELECT_INVITATION = f"SELECT {COLUMNS} FROM invitations WHERE code = $1"
SELECT_INVITATIONS = f"""
SELECT {COLUMNS} FROM invitations WHERE inviter = $1 ORDER BY created_at DESC, code LIMIT $2
"""
SELECT_USES = """
SELECT user_id, code, inviter, used_at, room_id, welcomed_at FROM invitation_uses
WHERE code = ANY($1::text[]) ORDER BY used_at, user_id
"""
DELETE_UNUSED = """
DELETE FROM invitations WHERE code = $1 AND inviter = $2 AND uses_completed = 0 RETURNING code
"""
REVOKE = """
UPDATE invitations SET revoked_at = coalesce(revoked_at, $3) WHERE code = $1 AND inviter = $2
RETURNING code
"""
# Not once the inviter's account has ended.
USE = """
UPDATE invitations i SET uses_completed = uses_completed + 1 FROM accounts a
WHERE code = $1 AND a.user_id = i.inviter AND a.deactivated_at IS NULL
    AND revoked_at IS NULL AND expires_at > $2 AND uses_completed < uses_allowed
RETURNING inviter
"""
INSERT_USE = "INSERT INTO invitation_uses (user_id, code, inviter, used_at) VALUES ($1, $2, $3, $4)"
SELECT_PENDING = """
SELECT user_id FROM invitation_uses WHERE welcomed_at IS NULL AND used_at <= $1
ORDER BY used_at LIMIT $2
"""
# Held to the transaction's end: of several processes one does the work.
TAKE_PENDING = """
SELECT user_id, code, inviter, used_at, room_id, welcomed_at FROM invitation_uses
WHERE user_id = $1 AND welcomed_at IS NULL FOR UPDATE SKIP LOCKED
"""
SET_WELCOMED = "UPDATE invitation_uses SET room_id = $2, welcomed_at = $3 WHERE user_id = $1"
# Rooms to which the one invited the other as a direct chat, whether that was answered or not.
# PostgreSQL cannot read JSON with a NUL in it, and anybody may write one.
SELECT_DIRECT_CHAT = """
SELECT m.room_id FROM memberships m
JOIN events e ON e.room_id = m.room_id AND e.type = 'm.room.member' AND e.state_key = m.user_id
WHERE m.user_id = $1 AND m.membership IN ('invite', 'join') AND e.sender = $2
    AND strpos(convert_from(e.pdu, 'UTF8'), '"is_direct":true') > 0
ORDER BY e.position LIMIT 1
"""


class Invitation(Struct, frozen=True):
    """A code, how often it may be used and how often it was.  Times in ms."""

    code: str
    inviter: str
    uses_allowed: int
    uses_completed: int
    note: str | None
    created_at: int
    expires_at: int
    revoked_at: int | None

    def state(self, now: int) -> str:
        """``open``, ``used``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        if self.uses_completed >= self.uses_allowed:
            return "used"
        return "open" if self.expires_at > now else "expired"


class InvitationUse(Struct, frozen=True):
    """A newcomer, by which code they came, and the chat with their inviter."""

    user_id: str
    code: str
    inviter: str
    used_at: int
    room_id: str | None
    welcomed_at: int | None


async def insert_invitation(
    connection: Connection, invitation: Invitation, *, most_open: int, stale_before: int
) -> bool:
    """Add an invitation, in a transaction.  False if its maker has that many open ones.

    Those that expired unused before ``stale_before`` (ms) are deleted on the way.
    """
    inviter = invitation.inviter
    await connection.execute(LOCK_INVITER, inviter)
    if await connection.fetchval(COUNT_OPEN, inviter, invitation.created_at) >= most_open:
        return False
    await connection.execute(DELETE_STALE, inviter, stale_before)
    await connection.execute(
        INSERT_INVITATION,
        invitation.code,
        inviter,
        invitation.uses_allowed,
        invitation.note,
        invitation.created_at,
        invitation.expires_at,
    )
    return True


async def get_invitation(db: Queryable, code: str) -> Invitation | None:
    """An invitation, open or not."""
    row = await db.fetchrow(SELECT_INVITATION, code)
    return Invitation(**row) if row is not None else None


async def get_invitations(db: Queryable, inviter: str, limit: int = 500) -> list[Invitation]:
    """A member's invitations, the newest first."""
    return [Invitation(**row) for row in await db.fetch(SELECT_INVITATIONS, inviter, limit)]


async def get_uses(db: Queryable, codes: Sequence[str]) -> list[InvitationUse]:
    """Who came by these codes, the first first."""
    return [InvitationUse(**row) for row in await db.fetch(SELECT_USES, list(codes))]


async def revoke_invitation(db: Queryable, code: str, inviter: str, now: int) -> bool:
    """Make a member's code void; it goes entirely if nobody used it.  False: there is none."""
    if await db.fetchval(DELETE_UNUSED, code, inviter) is not None:
        return True
    return await db.fetchval(REVOKE, code, inviter, now) is not None


async def use_invitation(connection: Connection, code: str, user_id: str, now: int) -> bool:
    """Use a code once for a new account.  False if it is unknown, void, expired or used up."""
    inviter = await connection.fetchval(USE, code, now)
    if inviter is None:
        return False
    await connection.execute(INSERT_USE, user_id, code, inviter, now)
    return True


async def get_pending(db: Queryable, used_before: int, limit: int = 100) -> list[str]:
    """Newcomers who have not been welcomed, the first first."""
    rows = await db.fetch(SELECT_PENDING, used_before, limit)
    return [row["user_id"] for row in rows]


async def take_pending(connection: Connection, user_id: str) -> InvitationUse | None:
    """A newcomer to welcome, until the transaction ends; None if it is done or being done."""
    row = await connection.fetchrow(TAKE_PENDING, user_id)
    return InvitationUse(**row) if row is not None else None


async def set_welcomed(db: Queryable, user_id: str, room_id: str | None, now: int) -> None:
    """Note that a newcomer has been welcomed, and in which room, if there is one."""
    await db.execute(SET_WELCOMED, user_id, room_id, now)


async def get_direct_chat(db: Queryable, user_id: str, inviter: str) -> str | None:
    """The first direct chat to which a user was invited by another, unless they left it."""
    room_id: str | None = await db.fetchval(SELECT_DIRECT_CHAT, user_id, inviter)
    return room_id
