"""A conversation's members, a page at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.storage.database import Queryable

# Memberships, and whom somebody wants to invite, in the order of user IDs.  Who has left and is to
# be invited again counts as the latter.
_PEOPLE = """
SELECT m.user_id, CASE m.membership WHEN 'join' THEN 'joined' WHEN 'invite' THEN 'invited'
        WHEN 'knock' THEN 'requested' WHEN 'ban' THEN 'banned'
        ELSE CASE WHEN m.sender = m.user_id THEN 'left' ELSE 'removed' END END AS state,
    m.event_id, m.sender
FROM memberships m WHERE m.room_id = $1 AND (m.membership IN ('join', 'invite')
    OR NOT EXISTS (SELECT 1 FROM pending_invites p
        WHERE p.room_id = $1 AND p.user_id = m.user_id))
UNION ALL
SELECT p.user_id, CASE WHEN p.next_attempt_at IS NULL THEN 'not_invited' ELSE 'inviting' END,
    NULL, p.inviter
FROM pending_invites p WHERE p.room_id = $1 AND NOT EXISTS (SELECT 1 FROM memberships m
    WHERE m.room_id = $1 AND m.user_id = p.user_id AND m.membership IN ('join', 'invite'))
"""
SELECT_MEMBERS = f"""
SELECT user_id, state, event_id, sender FROM ({_PEOPLE}) people
WHERE user_id > $2 AND state = ANY($3::text[])
    AND ($4::text[] IS NULL OR user_id = ANY($4::text[]))
    AND ($5::text[] IS NULL OR user_id <> ALL($5::text[]))
ORDER BY user_id LIMIT $6
"""
# Names are in the member events.
SELECT_NAMED_MEMBERS = f"""
SELECT people.*, convert_from(e.pdu, 'UTF8')::json -> 'content' ->> 'displayname' AS name
FROM (
    SELECT user_id, state, event_id, sender FROM ({_PEOPLE}) everybody
    WHERE user_id > $2 AND state = ANY($3::text[])
        AND ($4::text[] IS NULL OR user_id = ANY($4::text[]))
        AND ($5::text[] IS NULL OR user_id <> ALL($5::text[]))
    ORDER BY user_id LIMIT $6
) people LEFT JOIN events e USING (event_id) ORDER BY user_id
"""
SELECT_MEMBER = f"SELECT user_id, state, event_id, sender FROM ({_PEOPLE}) p WHERE user_id = $2"
# Since when each has been there, and who had invited them.
SELECT_STAYS = """
SELECT DISTINCT ON (user_id) user_id, origin_server_ts, before, before_sender FROM (
    SELECT state_key AS user_id, origin_server_ts, position, membership,
        lag(membership) OVER past AS before, lag(sender) OVER past AS before_sender
    FROM (
        SELECT state_key, origin_server_ts, position, sender,
            convert_from(pdu, 'UTF8')::json -> 'content' ->> 'membership' AS membership
        FROM events WHERE room_id = $1 AND type = 'm.room.member'
            AND state_key = ANY($2::text[]) AND rejected IS NULL AND NOT soft_failed
            AND (timeline_order IS NULL OR timeline_order > 0)
    ) changes WINDOW past AS (PARTITION BY state_key ORDER BY position)
) stays WHERE membership = 'join' AND before IS DISTINCT FROM 'join'
ORDER BY user_id, position DESC
"""


@dataclass(frozen=True, slots=True)
class MemberRow:
    """Somebody's place in a conversation.  ``event_id``: None while they are only to be invited."""

    user_id: str
    state: str
    event_id: str | None
    sender: str


@dataclass(frozen=True, slots=True)
class Stay:
    """Since when (ms) somebody has been in a conversation, and who had invited them."""

    since: int
    invited_by: str | None


async def get_members(
    db: Queryable,
    room_id: str,
    *,
    after: str,
    states: Collection[str],
    among: Collection[str] | None,
    without: Collection[str] | None,
    limit: int,
) -> list[MemberRow]:
    """Members in some states, in the order of user IDs."""
    rows = await db.fetch(
        SELECT_MEMBERS,
        room_id,
        after,
        list(states),
        list(among) if among is not None else None,
        list(without) if without is not None else None,
        limit,
    )
    return [MemberRow(**row) for row in rows]


async def get_named_members(
    db: Queryable,
    room_id: str,
    *,
    after: str,
    states: Collection[str],
    among: Collection[str] | None,
    without: Collection[str] | None,
    limit: int,
) -> list[tuple[MemberRow, str | None]]:
    """The same with the names that they have there."""
    rows = await db.fetch(
        SELECT_NAMED_MEMBERS,
        room_id,
        after,
        list(states),
        list(among) if among is not None else None,
        list(without) if without is not None else None,
        limit,
    )
    return [
        (MemberRow(row["user_id"], row["state"], row["event_id"], row["sender"]), row["name"])
        for row in rows
    ]


async def get_member(db: Queryable, room_id: str, user_id: str) -> MemberRow | None:
    """Somebody's place in a conversation, if they have or had one."""
    row = await db.fetchrow(SELECT_MEMBER, room_id, user_id)
    return MemberRow(**row) if row is not None else None


async def get_stays(db: Queryable, room_id: str, user_ids: Collection[str]) -> dict[str, Stay]:
    """User ID -> their present, or last, stay."""
    rows = await db.fetch(SELECT_STAYS, room_id, list(user_ids))
    return {
        row["user_id"]: Stay(
            row["origin_server_ts"],
            row["before_sender"] if row["before"] == "invite" else None,
        )
        for row in rows
    }
