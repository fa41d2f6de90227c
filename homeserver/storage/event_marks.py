"""What content policy leaves beside an event, in the transaction that writes it.

A held or flagged event enters the moderators' queue; media that policy strips is not served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from homeserver.protocol.media_uris import media_uris
from homeserver.storage.database import Connection

if TYPE_CHECKING:
    from homeserver.storage.event_records import EventRecord

_NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
INSERT_ITEMS = f"""
INSERT INTO moderation_queue (kind, subject, event_id, room_id, sender, rule, unsent, created_at)
SELECT kind, event_id, event_id, room_id, sender, rule, unsent, {_NOW_MS}
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[])
    AS new (kind, event_id, room_id, sender, rule, unsent)
ON CONFLICT DO NOTHING
"""
# Not what others uploaded, or posted before: else anybody could take it away from them by
# posting it where a rule strips it.
INSERT_STRIPPED_MEDIA = f"""
INSERT INTO stripped_media (origin, media_id, rule, event_id, created_at)
SELECT new.origin, new.media_id, rule, new.event_id, {_NOW_MS}
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
    AS new (origin, media_id, rule, event_id, sender)
WHERE NOT EXISTS (SELECT 1 FROM media
        WHERE media.origin = new.origin AND media.media_id = new.media_id
            AND media.uploader <> new.sender)
    AND NOT EXISTS (SELECT 1 FROM media_references other JOIN events e USING (event_id)
        WHERE other.origin = new.origin AND other.media_id = new.media_id
            AND other.sender <> new.sender AND e.rejected IS NULL AND NOT e.soft_failed
            AND e.withheld IS NULL)
ON CONFLICT DO NOTHING
"""


async def write_marks(connection: Connection, records: Sequence[EventRecord]) -> None:
    """Write what policy says of these events; nothing for most."""
    items = [
        (kind, event.event_id, event.room_id, event.sender, rule, record.unsent)
        for record in records
        for event in (record.event,)
        for kind, rule in _items(record)
    ]
    if items:
        await connection.execute(INSERT_ITEMS, *map(list, zip(*items, strict=True)))
    stripped = [
        (uri.origin, uri.media_id, record.strip_rule, record.event.event_id, record.event.sender)
        for record in records
        if record.strip_rule is not None
        for uri in media_uris(record.event.content)
    ]
    if stripped:
        await connection.execute(INSERT_STRIPPED_MEDIA, *map(list, zip(*stripped, strict=True)))


def _items(record: EventRecord) -> Sequence[tuple[str, str]]:
    """Kinds of items of the queue that an event makes, each with its rule."""
    items = []
    if record.withheld is not None:
        items.append(("held", record.withheld))
    if record.flags:
        items.append(("flagged", ", ".join(record.flags)))
    return items
