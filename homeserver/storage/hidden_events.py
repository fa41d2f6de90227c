"""Events that one reader does not get any more: deleted for themselves alone, or viewed once."""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.storage.database import Connection, Queryable
from homeserver.storage.log import Record

INSERT_HIDDEN = """
INSERT INTO hidden_events (user_id, event_id, room_id, hidden_at)
SELECT $1, event_id, $2, $4 FROM unnest($3::text[]) AS event_id ON CONFLICT DO NOTHING
"""
DELETE_HIDDEN = "DELETE FROM hidden_events WHERE user_id = $1 AND event_id = ANY($2::text[])"
INSERT_VIEWS = """
INSERT INTO message_views (event_id, user_id, device_id, seen_at)
SELECT new.event_id, $2, $3, $4 FROM unnest($1::text[]) AS new (event_id)
WHERE EXISTS (SELECT 1 FROM message_ends e WHERE e.event_id = new.event_id)
ON CONFLICT DO NOTHING
"""
SELECT_OWNERS = """
SELECT DISTINCT user_id FROM hidden_events UNION SELECT DISTINCT user_id FROM message_views
"""
# What is hidden is hidden with its edits.  What was viewed once is shown again when it is redacted.
SELECT_HIDDEN = """
WITH chosen AS (
    SELECT event_id FROM hidden_events WHERE user_id = $1
    UNION SELECT v.event_id FROM message_views v JOIN events e USING (event_id)
    WHERE v.user_id = $1 AND e.redacted_by IS NULL
)
SELECT event_id FROM chosen
UNION SELECT e.event_id FROM chosen JOIN events e
    ON e.relates_to = chosen.event_id AND e.relation_type = 'm.replace'
"""
SELECT_IN_ROOM = """
SELECT event_id FROM hidden_events WHERE user_id = $1 AND room_id = $2
ORDER BY hidden_at DESC, event_id LIMIT $3
"""
DELETE_ALL_HIDDEN = "DELETE FROM hidden_events WHERE user_id = $1"
DELETE_ALL_VIEWS = "DELETE FROM message_views WHERE user_id = $1"
SELECT_COUNT = "SELECT count(*) FROM hidden_events WHERE user_id = $1"


class HiddenRecord(Record, eq=False):
    """A user hides events of a room from themselves, or no longer does; on its way to the log."""

    user_id: str
    room_id: str
    event_ids: Sequence[str]
    hidden: bool
    changed_at: int  # ms

    def touched_users(self) -> Sequence[str]:
        """The user alone."""
        return (self.user_id,)

    @classmethod
    async def write(cls, connection: Connection, batch: Sequence[tuple[int, HiddenRecord]]) -> None:
        """Write the changes in their order."""
        for _, record in batch:
            event_ids = list(record.event_ids)
            if record.hidden:
                await connection.execute(
                    INSERT_HIDDEN, record.user_id, record.room_id, event_ids, record.changed_at
                )
            else:
                await connection.execute(DELETE_HIDDEN, record.user_id, event_ids)


class ViewedRecord(Record, eq=False):
    """A user has seen messages that may be viewed once; on its way to the log.

    ``device_id``: the device that downloaded their media; None: a receipt says so.
    """

    user_id: str
    event_ids: Sequence[str]
    device_id: str | None
    seen_at: int  # ms

    def touched_users(self) -> Sequence[str]:
        """The user alone."""
        return (self.user_id,)

    @classmethod
    async def write(cls, connection: Connection, batch: Sequence[tuple[int, ViewedRecord]]) -> None:
        """Note who has seen what, the first time; nothing for messages that have ended."""
        for _, record in batch:
            await connection.execute(
                INSERT_VIEWS,
                list(record.event_ids),
                record.user_id,
                record.device_id,
                record.seen_at,
            )


async def get_owners(db: Queryable) -> set[str]:
    """The users for whom anything is hidden."""
    return {row["user_id"] for row in await db.fetch(SELECT_OWNERS)}


async def get_hidden(db: Queryable, user_id: str) -> frozenset[str]:
    """All events that are hidden from a user."""
    return frozenset(row["event_id"] for row in await db.fetch(SELECT_HIDDEN, user_id))


async def get_hidden_in_room(db: Queryable, user_id: str, room_id: str, limit: int) -> list[str]:
    """What a user hid in a room, the latest first."""
    return [row["event_id"] for row in await db.fetch(SELECT_IN_ROOM, user_id, room_id, limit)]


async def count_hidden(db: Queryable, user_id: str) -> int:
    """How many events a user hid."""
    count: int = await db.fetchval(SELECT_COUNT, user_id)
    return count


async def forget_user(db: Queryable, user_id: str) -> None:
    """Forget what a user hid and saw: their account has ended."""
    await db.execute(DELETE_ALL_HIDDEN, user_id)
    await db.execute(DELETE_ALL_VIEWS, user_id)
