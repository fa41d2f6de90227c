"""The last presence of each user.  The live state is in memory; this outlasts a restart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from homeserver.storage.database import Queryable

UPSERT_PRESENCE = """
INSERT INTO presence (user_id, presence, status_msg, last_active_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (user_id) DO UPDATE SET presence = EXCLUDED.presence,
    status_msg = EXCLUDED.status_msg, last_active_at = EXCLUDED.last_active_at
"""
SELECT_PRESENCE = """
SELECT user_id, presence, status_msg, last_active_at FROM presence
WHERE user_id = ANY($1::text[])
"""


@dataclass(frozen=True, slots=True)
class PresenceRow:
    """A user's presence as last stored."""

    user_id: str
    presence: str
    status_msg: str | None
    last_active_at: int  # ms


async def put_presence(db: Queryable, rows: Sequence[PresenceRow]) -> None:
    """Store the presence of some users, each once."""
    await db.execute(
        UPSERT_PRESENCE,
        [row.user_id for row in rows],
        [row.presence for row in rows],
        [row.status_msg for row in rows],
        [row.last_active_at for row in rows],
    )


async def get_presence(db: Queryable, user_ids: Iterable[str]) -> dict[str, PresenceRow]:
    """The stored presence of these users."""
    rows = await db.fetch(SELECT_PRESENCE, list(user_ids))
    return {row["user_id"]: PresenceRow(**row) for row in rows}
