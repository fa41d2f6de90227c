"""Which versions of which documents a user has accepted, and when."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from homeserver.storage.database import Queryable

INSERT_ACCEPTED = """
INSERT INTO terms_accepted (user_id, name, version, accepted_at, how)
SELECT $1, name, version, $4, $5 FROM unnest($2::text[], $3::text[]) AS t (name, version)
ON CONFLICT DO NOTHING
"""
SELECT_ACCEPTED = """
SELECT name, version, accepted_at, how FROM terms_accepted WHERE user_id = $1
ORDER BY accepted_at, name, version
"""


class AcceptedTerms(Struct, frozen=True):
    """A version of a document that a user has accepted; ``how``: where they were asked."""

    name: str
    version: str
    accepted_at: int
    how: str


async def insert_accepted(
    db: Queryable, user_id: str, versions: Mapping[str, str], now: int, how: str
) -> None:
    """Note that a user accepts these documents (name -> version)."""
    await db.execute(INSERT_ACCEPTED, user_id, list(versions), list(versions.values()), now, how)


async def get_accepted(db: Queryable, user_id: str) -> list[AcceptedTerms]:
    """All that a user has ever accepted, the oldest first."""
    return [AcceptedTerms(**row) for row in await db.fetch(SELECT_ACCEPTED, user_id)]
