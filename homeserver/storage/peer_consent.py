"""What other Comity instances said of their users' consent to ours."""

from __future__ import annotations

from homeserver.storage.database import Queryable

UPSERT = """
INSERT INTO peer_consent (peer, user_id, scope, state, updated_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id, peer, scope)
DO UPDATE SET state = EXCLUDED.state, updated_at = EXCLUDED.updated_at
"""
SELECT_WITHDRAWN = """
SELECT user_id, peer, scope FROM peer_consent WHERE state = 'not_given'
"""


async def put(
    db: Queryable, peer: str, user_id: str, scope: str, state: str, updated_at: int
) -> None:
    """Note what an instance said."""
    await db.execute(UPSERT, peer, user_id, scope, state, updated_at)


async def get_withdrawn(db: Queryable) -> list[tuple[str, str, str]]:
    """``(our user, peer, scope)`` for which consent was taken back."""
    rows = await db.fetch(SELECT_WITHDRAWN)
    return [(row["user_id"], row["peer"], row["scope"]) for row in rows]
