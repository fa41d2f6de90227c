"""What is known of files by their content, and what content policy decided about each."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Queryable

INSERT_FACTS = """
INSERT INTO media_facts (sha256, mime_type, size_bytes, width, height, perceptual_hash)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (sha256) DO NOTHING
"""
SELECT_FACTS = """
SELECT sha256, mime_type, size_bytes, width, height, perceptual_hash FROM media_facts
WHERE sha256 = $1
"""
SELECT_FACTS_OF = """
SELECT m.origin, m.media_id, m.sha256, f.mime_type, f.size_bytes, f.width, f.height,
    f.perceptual_hash
FROM unnest($1::text[], $2::text[]) AS wanted (origin, media_id)
JOIN media m USING (origin, media_id) LEFT JOIN media_facts f USING (sha256)
"""
# A moderator's word on the same content stands.
UPSERT_VERDICT = """
INSERT INTO media_verdicts AS old (origin, media_id, sha256, policy, action, rule, reason, uploader,
    created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (origin, media_id) DO UPDATE SET sha256 = EXCLUDED.sha256, policy = EXCLUDED.policy,
    action = EXCLUDED.action, rule = EXCLUDED.rule, reason = EXCLUDED.reason,
    uploader = EXCLUDED.uploader, created_at = EXCLUDED.created_at, decided_by = NULL
WHERE old.decided_by IS NULL OR old.sha256 <> EXCLUDED.sha256
"""
VERDICT = "origin, media_id, sha256, policy, action, rule, reason, uploader, created_at, decided_by"
SELECT_VERDICT = f"SELECT {VERDICT} FROM media_verdicts WHERE origin = $1 AND media_id = $2"
SELECT_WITHHELD = f"""
SELECT {VERDICT} FROM media_verdicts
WHERE action IN ('hold', 'strip') AND created_at >= $1 ORDER BY created_at LIMIT $2
"""
ANY_LASTING = """
SELECT EXISTS (SELECT FROM media_verdicts
    WHERE action IN ('hold', 'strip') OR (decided_by IS NOT NULL AND action = 'reject'))
"""
DECIDE = """
UPDATE media_verdicts SET action = $3, decided_by = $4
WHERE origin = $1 AND media_id = $2 AND action IN ('hold', 'strip')
"""


class FactsRow(Struct, frozen=True):
    """What is known of content."""

    sha256: bytes
    mime_type: str
    size_bytes: int
    width: int | None  # pixels
    height: int | None
    perceptual_hash: int | None  # signed


class MediaVerdict(Struct, frozen=True):
    """What was decided about a file."""

    origin: str
    media_id: str
    sha256: bytes
    policy: str  # by which rules and checks
    action: str  # accept, hold, strip, soft_fail, reject
    rule: str
    reason: str
    uploader: str | None
    created_at: int  # ms
    decided_by: str | None = None  # a moderator

    @property
    def withheld(self) -> bool:
        """Whether the file waits for a moderator."""
        return self.action in ("hold", "strip")


async def put_facts(db: Queryable, facts: FactsRow) -> None:
    """Note what is known of content."""
    await db.execute(
        INSERT_FACTS,
        facts.sha256,
        facts.mime_type,
        facts.size_bytes,
        facts.width,
        facts.height,
        facts.perceptual_hash,
    )


async def get_facts(db: Queryable, sha256: bytes) -> FactsRow | None:
    """What is known of content."""
    row = await db.fetchrow(SELECT_FACTS, sha256)
    return FactsRow(**row) if row is not None else None


async def get_facts_of(
    db: Queryable, uris: Sequence[MediaUri]
) -> dict[MediaUri, tuple[bytes, FactsRow | None]]:
    """The hash of each file that is here, and what is known of its content, if anything is."""
    origins, media_ids = [uri.origin for uri in uris], [uri.media_id for uri in uris]
    found = {}
    for row in await db.fetch(SELECT_FACTS_OF, origins, media_ids):
        origin, media_id, *columns = row
        facts = FactsRow(*columns) if row["mime_type"] is not None else None
        found[MediaUri(origin, media_id)] = (row["sha256"], facts)
    return found


async def put_verdict(db: Queryable, verdict: MediaVerdict) -> None:
    """Note what was decided, unless a moderator has decided about the same content."""
    await db.execute(
        UPSERT_VERDICT,
        verdict.origin,
        verdict.media_id,
        verdict.sha256,
        verdict.policy,
        verdict.action,
        verdict.rule,
        verdict.reason,
        verdict.uploader,
        verdict.created_at,
    )


async def get_verdict(db: Queryable, origin: str, media_id: str) -> MediaVerdict | None:
    """What was decided about a file."""
    row = await db.fetchrow(SELECT_VERDICT, origin, media_id)
    return MediaVerdict(**row) if row is not None else None


async def get_withheld(db: Queryable, since_ms: int, limit: int) -> list[MediaVerdict]:
    """Files that wait for a moderator, the oldest first."""
    return [MediaVerdict(**row) for row in await db.fetch(SELECT_WITHHELD, since_ms, limit)]


async def any_lasting_verdict(db: Queryable) -> bool:
    """Whether anything is withheld that no rule or check would withhold anew."""
    row = await db.fetchrow(ANY_LASTING)
    return row is not None and bool(row["exists"])


async def decide(db: Queryable, origin: str, media_id: str, action: str, moderator: str) -> bool:
    """Note a moderator's word on a file that waits; False if it does not wait."""
    status: str = await db.execute(DECIDE, origin, media_id, action, moderator)
    return not status.endswith(" 0")
