"""A conversation's members, a page at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import orjson
from msgspec import Struct

from homeserver.storage.database import Queryable

# Memberships, and whom somebody wants to invite, in the order of user IDs.  Who has left and is to
# be invited again counts as the latter.
_MEMBERSHIP_STATE = """CASE m.membership WHEN 'join' THEN 'joined' WHEN 'invite' THEN 'invited'
    WHEN 'knock' THEN 'requested' WHEN 'ban' THEN 'banned'
    ELSE CASE WHEN m.sender = m.user_id THEN 'left' ELSE 'removed' END END"""
_PENDING_STATE = "CASE WHEN p.next_attempt_at IS NULL THEN 'not_invited' ELSE 'inviting' END"
_IS_NOT_PENDING = """(m.membership IN ('join', 'invite') OR NOT EXISTS (
    SELECT 1 FROM pending_invites p WHERE p.room_id = $1 AND p.user_id = m.user_id))"""
_IS_PENDING = """NOT EXISTS (SELECT 1 FROM memberships m WHERE m.room_id = $1
    AND m.user_id = p.user_id AND m.membership IN ('join', 'invite'))"""
_WANTED = """{user_id} > $2 AND {state} = ANY($3::text[])
    AND ($4::text[] IS NULL OR {user_id} = ANY($4::text[]))
    AND ($5::text[] IS NULL OR {user_id} <> ALL($5::text[]))"""
# Each part is read along its primary key, as far as the page goes.
SELECT_MEMBERS = f"""
(SELECT m.user_id, {_MEMBERSHIP_STATE} AS state, m.event_id, m.sender FROM memberships m
WHERE m.room_id = $1 AND {_WANTED.format(user_id="m.user_id", state=_MEMBERSHIP_STATE)}
    AND {_IS_NOT_PENDING} ORDER BY m.user_id LIMIT $6)
UNION ALL
(SELECT p.user_id, {_PENDING_STATE}, NULL, p.inviter FROM pending_invites p
WHERE p.room_id = $1 AND {_WANTED.format(user_id="p.user_id", state=_PENDING_STATE)}
    AND {_IS_PENDING} ORDER BY p.user_id LIMIT $6)
ORDER BY user_id LIMIT $6
"""
# Names are in the member events; PostgreSQL could not read those with a NUL in them.
SELECT_NAMED_MEMBERS = f"""
SELECT people.*, e.pdu FROM ({SELECT_MEMBERS}) people LEFT JOIN events e USING (event_id)
ORDER BY user_id
"""
SELECT_MEMBER = f"""
SELECT m.user_id, {_MEMBERSHIP_STATE} AS state, m.event_id, m.sender FROM memberships m
WHERE m.room_id = $1 AND m.user_id = $2 AND {_IS_NOT_PENDING}
UNION ALL
SELECT p.user_id, {_PENDING_STATE}, NULL, p.inviter FROM pending_invites p
WHERE p.room_id = $1 AND p.user_id = $2 AND {_IS_PENDING}
"""
# The last changes of each one's membership, the newest first.
SELECT_CHANGES = """
SELECT wanted.user_id, found.* FROM unnest($2::text[]) AS wanted (user_id) CROSS JOIN LATERAL (
    SELECT origin_server_ts, sender, pdu FROM events
    WHERE room_id = $1 AND type = 'm.room.member' AND state_key = wanted.user_id
        AND rejected IS NULL AND NOT soft_failed
        AND (timeline_order IS NULL OR timeline_order > 0)
    ORDER BY position DESC LIMIT $3
) found
"""
MOST_CHANGES = 20


class MemberRow(Struct, frozen=True):
    """Somebody's place in a conversation.  ``event_id``: None while they are only to be invited."""

    user_id: str
    state: str
    event_id: str | None
    sender: str


class Stay(Struct, frozen=True):
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
) -> list[tuple[MemberRow, Any]]:
    """The same with the names that they have there: anything that JSON can be."""
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
        (
            MemberRow(row["user_id"], row["state"], row["event_id"], row["sender"]),
            _content(row["pdu"]).get("displayname"),
        )
        for row in rows
    ]


async def get_member(db: Queryable, room_id: str, user_id: str) -> MemberRow | None:
    """Somebody's place in a conversation, if they have or had one."""
    row = await db.fetchrow(SELECT_MEMBER, room_id, user_id)
    return MemberRow(**row) if row is not None else None


async def get_stays(db: Queryable, room_id: str, user_ids: Collection[str]) -> dict[str, Stay]:
    """User ID -> their present stay; those are left out who have changed their names so often since
    that it is not found."""
    changes: dict[str, list[tuple[str | None, int, str]]] = {}
    rows = await db.fetch(SELECT_CHANGES, room_id, list(user_ids), MOST_CHANGES)
    for row in rows:
        membership = _content(row["pdu"]).get("membership")
        change = (membership, row["origin_server_ts"], row["sender"])
        changes.setdefault(row["user_id"], []).append(change)
    found = {user_id: _stay(listed) for user_id, listed in changes.items()}
    return {user_id: stay for user_id, stay in found.items() if stay is not None}


def _stay(changes: Sequence[tuple[str | None, int, str]]) -> Stay | None:
    """The stay that the newest of somebody's changes belongs to."""
    since = None
    for membership, at, sender in changes:
        if membership != "join":
            return Stay(since, sender if membership == "invite" else None) if since else None
        since = at
    return Stay(since, None) if since is not None and len(changes) < MOST_CHANGES else None


def _content(pdu: bytes | None) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(pdu)["content"] if pdu is not None else {}
    return content
