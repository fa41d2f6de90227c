"""Media that the message which referred to it has given up: what may be deleted, and is."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from homeserver.protocol.media_uris import MediaUri
from homeserver.storage.database import Queryable
from homeserver.storage.erasures import GIVE_UP_MEDIA
from homeserver.storage.media_limits import count_out

INSERT = """
INSERT INTO media_deletions (origin, media_id, sender)
SELECT origin, media_id, $3 FROM unnest($1::text[], $2::text[]) AS new (origin, media_id)
ON CONFLICT DO NOTHING
"""
SELECT = "SELECT origin, media_id, sender FROM media_deletions LIMIT $1"
DELETE = "DELETE FROM media_deletions WHERE origin = $1 AND media_id = $2"
SELECT_IS_REFERRED_TO = """
SELECT EXISTS (SELECT 1 FROM media_references WHERE origin = $1 AND media_id = $2)
"""
# Avatars of anybody, what is in the user's profile and account data (sticker packs) and in their
# rooms' avatars and image packs (of before these counted as references), and what they have
# scheduled.
SELECT_IS_IN_USE = """
SELECT EXISTS (SELECT 1 FROM profiles WHERE fields->>'avatar_url' = $2)
    OR EXISTS (SELECT 1 FROM profiles WHERE user_id = $1 AND position($2 IN fields::text) > 0)
    OR EXISTS (SELECT 1 FROM account_data WHERE user_id = $1
        AND position($2 IN content::text) > 0)
    OR EXISTS (SELECT 1 FROM memberships m JOIN events e USING (event_id) WHERE m.user_id = $1
        AND position(convert_to($2, 'UTF8') IN e.pdu) > 0)
    OR EXISTS (SELECT 1 FROM memberships m JOIN events e ON e.room_id = m.room_id
        AND e.type IN ('m.room.avatar', 'm.room.image_pack', 'im.ponies.room_emotes')
        AND e.state_key IS NOT NULL WHERE m.user_id = $1
        AND position(convert_to($2, 'UTF8') IN e.pdu) > 0)
    OR EXISTS (SELECT 1 FROM scheduled_sends WHERE user_id = $1
        AND state IN ('scheduled', 'sending') AND position($3 IN body::text) > 0)
"""
SELECT_MEDIA = """
SELECT uploader, sha256, size_bytes, coalesce(quarantined_by,
    (SELECT c.quarantined_by FROM quarantined_content c WHERE c.sha256 = media.sha256),
    (SELECT u.quarantined_by FROM quarantined_uris u WHERE (u.origin, u.media_id) = ($1, $2))
) AS quarantined_by
FROM media WHERE origin = $1 AND media_id = $2 FOR UPDATE
"""
DELETE_MEDIA = "DELETE FROM media WHERE origin = $1 AND media_id = $2"
# That a file was refused is kept, and what a moderator said of another instance's: it could be
# fetched again.
DELETE_VERDICT = """
DELETE FROM media_verdicts
WHERE origin = $1 AND media_id = $2 AND action NOT IN ('reject', 'soft_fail')
    AND (decided_by IS NULL OR uploader IS NOT NULL)
"""
SELECT_REDACTED = """
SELECT event_id FROM redacted_contents WHERE NOT media_deleted AND redacted_at <= $1
ORDER BY redacted_at LIMIT $2
"""
SELECT_OLDEST_REDACTED = "SELECT min(redacted_at) FROM redacted_contents WHERE NOT media_deleted"
SET_MEDIA_DELETED = """
UPDATE redacted_contents SET media_deleted = true WHERE event_id = ANY($1::text[])
"""
SELECT_CONTENTS = """
SELECT event_id FROM redacted_contents WHERE redacted_at <= $1 ORDER BY redacted_at LIMIT $2
"""
SELECT_OLDEST_CONTENT = "SELECT min(redacted_at) FROM redacted_contents"
DELETE_CONTENTS = "DELETE FROM redacted_contents WHERE event_id = ANY($1::text[])"


class GivenUp(Struct, frozen=True):
    """Media that a message referred to which is gone."""

    origin: str
    media_id: str
    sender: str

    @property
    def uri(self) -> str:
        """Its ``mxc://`` URI."""
        return f"mxc://{self.origin}/{self.media_id}"


class MediaToDelete(Struct, frozen=True):
    """What must be known of a file before it is deleted."""

    uploader: str | None
    sha256: bytes
    size_bytes: int
    quarantined_by: str | None


async def insert_given_up(db: Queryable, uris: Iterable[MediaUri], sender: str) -> None:
    """Media that a sender needs no more."""
    listed = list(dict.fromkeys(uris))
    await db.execute(
        INSERT, [uri.origin for uri in listed], [uri.media_id for uri in listed], sender
    )


async def get_given_up(db: Queryable, limit: int) -> list[GivenUp]:
    """Some of what is to be looked at."""
    return [GivenUp(**row) for row in await db.fetch(SELECT, limit)]


async def delete_given_up(db: Queryable, media: GivenUp) -> None:
    """It was looked at."""
    await db.execute(DELETE, media.origin, media.media_id)


async def is_referred_to(db: Queryable, media: GivenUp) -> bool:
    """Whether an event refers to it still."""
    found: bool = await db.fetchval(SELECT_IS_REFERRED_TO, media.origin, media.media_id)
    return found


async def is_in_use(db: Queryable, media: GivenUp) -> bool:
    """Whether a file of a user's is in use where no reference is noted."""
    found: bool = await db.fetchval(SELECT_IS_IN_USE, media.sender, media.uri, media.media_id)
    return found


async def lock_media(db: Queryable, media: GivenUp) -> MediaToDelete | None:
    """What is known of a file; nobody changes it until the transaction ends."""
    row = await db.fetchrow(SELECT_MEDIA, media.origin, media.media_id)
    return MediaToDelete(**row) if row is not None else None


async def delete_media(db: Queryable, media: GivenUp, known: MediaToDelete) -> None:
    """Forget a file; its bytes may have other users."""
    await db.execute(DELETE_MEDIA, media.origin, media.media_id)
    await db.execute(DELETE_VERDICT, media.origin, media.media_id)
    if known.uploader is not None:
        await count_out(db, known.uploader, known.size_bytes)


# ---------------------------------------------------------------- redacted events


async def give_up_redacted_media(db: Queryable, before: int, limit: int) -> int:
    """Give up the media of events redacted before a time (ms); how many events."""
    event_ids = [row["event_id"] for row in await db.fetch(SELECT_REDACTED, before, limit)]
    if event_ids:
        await db.execute(GIVE_UP_MEDIA, event_ids)
        await db.execute(SET_MEDIA_DELETED, event_ids)
    return len(event_ids)


async def get_oldest_redacted(db: Queryable) -> int | None:
    """When the first event was redacted (ms) whose media was not given up yet."""
    oldest: int | None = await db.fetchval(SELECT_OLDEST_REDACTED)
    return oldest


async def get_redacted_contents(db: Queryable, before: int, limit: int) -> list[str]:
    """Events redacted before a time (ms) whose content is still here."""
    return [row["event_id"] for row in await db.fetch(SELECT_CONTENTS, before, limit)]


async def get_oldest_content(db: Queryable) -> int | None:
    """When the first event was redacted (ms) whose content is still here."""
    oldest: int | None = await db.fetchval(SELECT_OLDEST_CONTENT)
    return oldest


async def delete_redacted_contents(db: Queryable, event_ids: Iterable[str]) -> None:
    """Their content is gone."""
    await db.execute(DELETE_CONTENTS, list(event_ids))
