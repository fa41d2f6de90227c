"""Messages that end once they are read: who has read them, and what follows."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Queryable

SELECT_ROOMS = "SELECT DISTINCT room_id FROM message_ends WHERE from_read OR view_once"
SELECT_IS_WAITING = """
SELECT EXISTS (SELECT 1 FROM message_ends WHERE room_id = $1 AND (from_read OR view_once))
"""
# What is new by receipts: readers of messages that wait for one, each as long as it matters.
SELECT_READ = """
SELECT m.event_id, m.view_once, m.from_read, m.after_ms, r.user_id, min(r.ts) AS ts
FROM message_ends m JOIN receipts r ON r.room_id = m.room_id
    AND r.receipt_type IN ('m.read', 'm.read.private') AND r.user_id <> m.sender
    AND r.thread_id IN ('', m.thread_id)
    AND (r.event_order >= m.timeline_order OR r.event_id = m.event_id)
WHERE m.room_id = $1 AND ($2::text IS NULL OR r.user_id = $2) AND (m.from_read OR (m.view_once
    AND NOT EXISTS (SELECT 1 FROM message_views v
        WHERE v.event_id = m.event_id AND v.user_id = r.user_id)))
GROUP BY m.event_id, r.user_id ORDER BY m.event_id LIMIT $3
"""
START_TIMERS = """
UPDATE message_ends m SET from_read = false, due_at = least(m.due_at, new.due_at)
FROM unnest($1::text[], $2::bigint[]) AS new (event_id, due_at)
WHERE m.event_id = new.event_id AND m.from_read
"""
# A message from elsewhere ends here once all of here have seen it, one from here once all have.
# Where there may be media, who saw it last has a while to fetch it.
END_SEEN = """
UPDATE message_ends m SET due_at = least(m.due_at,
    $3::bigint + CASE WHEN e.type = 'm.room.encrypted' OR EXISTS (
        SELECT 1 FROM media_references r WHERE r.event_id = m.event_id) THEN $4::bigint ELSE 0 END)
FROM events e
WHERE m.room_id = $1 AND m.view_once AND e.event_id = m.event_id
    AND EXISTS (SELECT 1 FROM message_views v WHERE v.event_id = m.event_id)
    AND NOT EXISTS (
        SELECT 1 FROM memberships s
        WHERE s.room_id = m.room_id AND s.membership = 'join' AND s.user_id <> m.sender
            AND (s.local OR right(m.sender, length($2) + 1) = ':' || $2)
            AND NOT EXISTS (SELECT 1 FROM message_views v
                WHERE v.event_id = m.event_id AND v.user_id = s.user_id))
"""
SELECT_MEDIA = """
SELECT r.origin, r.media_id, m.event_id, m.room_id, m.sender FROM message_ends m
JOIN media_references r USING (event_id) WHERE m.view_once
"""
SELECT_VIEWS = """
SELECT event_id, device_id, seen_at FROM message_views
WHERE user_id = $1 AND event_id = ANY($2::text[])
"""
# Nobody makes another's upload unavailable by naming it in a message.
SELECT_IS_ORDINARY = """
SELECT EXISTS (SELECT 1 FROM media_references r WHERE r.origin = $1 AND r.media_id = $2
    AND r.event_id <> ALL($3::text[]))
    OR EXISTS (SELECT 1 FROM media m WHERE m.origin = $1 AND m.media_id = $2
        AND m.uploader <> ALL($4::text[]))
"""


class ReadMessage(Struct, frozen=True):
    """A message that waited to be read, and somebody who has."""

    event_id: str
    view_once: bool
    from_read: bool
    after_ms: int | None
    user_id: str
    ts: int  # ms, as the receipt says


class OnceMedia(Struct, frozen=True):
    """Media of a message that may be viewed once."""

    uri: MediaUri
    event_id: str
    room_id: str
    sender: str


class View(Struct, frozen=True):
    """When a user saw a message; ``device_id``: which downloaded its media, None: by a receipt."""

    event_id: str
    device_id: str | None
    seen_at: int


async def get_waiting_rooms(db: Queryable) -> set[str]:
    """Rooms with messages that end once they are read."""
    return {row["room_id"] for row in await db.fetch(SELECT_ROOMS)}


async def get_read(
    db: Queryable, room_id: str, user_id: str | None, limit: int
) -> list[ReadMessage]:
    """What receipts say of messages that wait for readers; of one user's, or of all."""
    rows = await db.fetch(SELECT_READ, room_id, user_id, limit)
    return [ReadMessage(**row) for row in rows]


async def start_timers(db: Queryable, due: dict[str, int]) -> None:
    """Event ID -> when it ends (ms), now that somebody has read it."""
    await db.execute(START_TIMERS, list(due), list(due.values()))


async def end_seen(db: Queryable, room_id: str, server_name: str, now: int, grace_ms: int) -> None:
    """Let those messages of a room end that everybody has seen."""
    await db.execute(END_SEEN, room_id, server_name, now, grace_ms)


async def is_waiting(db: Queryable, room_id: str) -> bool:
    """Whether a room has messages that end once they are read."""
    found: bool = await db.fetchval(SELECT_IS_WAITING, room_id)
    return found


async def get_once_media(db: Queryable) -> list[OnceMedia]:
    """The media of all messages that may be viewed once."""
    return [
        OnceMedia(
            MediaUri(row["origin"], row["media_id"]),
            row["event_id"],
            row["room_id"],
            row["sender"],
        )
        for row in await db.fetch(SELECT_MEDIA)
    ]


async def get_views(db: Queryable, user_id: str, event_ids: Iterable[str]) -> list[View]:
    """Which of some messages a user has seen."""
    rows = await db.fetch(SELECT_VIEWS, user_id, list(event_ids))
    return [View(**row) for row in rows]


async def is_ordinary(
    db: Queryable, uri: MediaUri, event_ids: Collection[str], senders: Collection[str]
) -> bool:
    """Whether messages other than these refer to a file, or none of the senders uploaded it."""
    found: bool = await db.fetchval(
        SELECT_IS_ORDINARY, uri.origin, uri.media_id, list(event_ids), list(senders)
    )
    return found
