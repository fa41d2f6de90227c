"""Events that relate to others: edits, threads, references.  Only what shows counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

_SHOWN = """c.timeline_order IS NOT NULL AND c.rejected IS NULL AND NOT c.soft_failed
    AND c.withheld IS NULL"""
COUNTS = f"{_SHOWN} AND c.redacted_by IS NULL"


def not_of(alias: str, parameter: int) -> str:
    """Leave out senders, all senders of instances, and single events, that an array names."""
    array = f"ALL(${parameter}::text[])"
    server = f"substr({alias}.sender, strpos({alias}.sender, ':') + 1)"
    of_server = f"({server} <> {array} OR '+' || {alias}.sender = ANY(${parameter}::text[]))"
    return f"{alias}.sender <> {array} AND {of_server} AND {alias}.event_id <> {array}"


# One look at an index for each event and kind.
SELECT_KINDS = """
SELECT wanted.event_id, kind.name FROM unnest($1::text[]) AS wanted (event_id)
CROSS JOIN unnest($2::text[]) AS kind (name)
WHERE EXISTS (SELECT 1 FROM events c
    WHERE c.relates_to = wanted.event_id AND c.relation_type = kind.name)
"""
SELECT_RELATED = f"""
SELECT wanted.event_id FROM unnest($1::text[]) AS wanted (event_id) JOIN events target
    USING (event_id)
WHERE EXISTS (SELECT 1 FROM events c
    WHERE c.relates_to = wanted.event_id AND c.room_id = target.room_id
        AND c.relation_type IS NOT NULL
        AND ($2::text[] IS NULL OR c.relation_type = ANY($2::text[]))
        AND ($3::text[] IS NULL OR c.sender = ANY($3::text[]))
        AND c.timeline_order <= $5 AND {not_of("c", 4)} AND {COUNTS})
"""
SELECT_EDITS = f"""
SELECT wanted.event_id AS original, edit.event_id
FROM unnest($1::text[], $2::text[]) AS wanted (event_id, sender) CROSS JOIN LATERAL (
    SELECT c.event_id FROM events c
    WHERE c.relates_to = wanted.event_id AND c.relation_type = 'm.replace'
        AND c.sender = wanted.sender AND {COUNTS}
    ORDER BY c.origin_server_ts DESC, c.event_id DESC LIMIT 3
) edit
"""
SELECT_THREADS = f"""
SELECT wanted.event_id AS root, thread.replies, thread.participated, latest.event_id AS latest
FROM unnest($1::text[]) AS wanted (event_id) JOIN events root USING (event_id)
CROSS JOIN LATERAL (
    SELECT count(*) AS replies, bool_or(c.sender = $2) AS participated,
        max(c.timeline_order) AS last
    FROM events c WHERE c.relates_to = wanted.event_id AND c.relation_type = 'm.thread'
        AND c.room_id = root.room_id AND {not_of("c", 3)} AND {COUNTS}
        AND ($4::bigint[] IS NULL OR EXISTS (
            SELECT 1 FROM unnest($4::bigint[], $5::bigint[]) AS seen (after, upto)
            WHERE c.timeline_order > seen.after AND c.timeline_order <= seen.upto))
) thread
JOIN events latest ON latest.room_id = root.room_id AND latest.timeline_order = thread.last
"""
SELECT_REFERENCES = f"""
SELECT wanted.event_id AS target, found.event_id
FROM unnest($1::text[]) AS wanted (event_id) JOIN events target USING (event_id)
CROSS JOIN LATERAL (
    SELECT c.event_id FROM events c
    WHERE c.relates_to = wanted.event_id AND c.relation_type = 'm.reference'
        AND c.room_id = target.room_id AND {not_of("c", 2)} AND {COUNTS}
    ORDER BY c.timeline_order LIMIT $3
) found
"""
SELECT_CHILDREN = f"""
WITH RECURSIVE children (event_id, depth) AS (
    SELECT event_id, 1 FROM events WHERE relates_to = $2
        AND ($4::text IS NULL OR relation_type = $4) AND ($5::text IS NULL OR type = $5)
    UNION
    SELECT e.event_id, children.depth + 1 FROM children
    JOIN events e ON e.relates_to = children.event_id WHERE children.depth < $3
        AND ($4::text IS NULL OR e.relation_type = $4) AND ($5::text IS NULL OR e.type = $5)
)
SELECT c.event_id, c.timeline_order FROM children JOIN events c USING (event_id)
WHERE c.room_id = $1 AND c.timeline_order > $6 AND c.timeline_order <= $7 AND {COUNTS}
GROUP BY c.event_id
"""
SELECT_CHILDREN_BACKWARDS = f"{SELECT_CHILDREN} ORDER BY c.timeline_order DESC LIMIT $8"
SELECT_CHILDREN_FORWARDS = f"{SELECT_CHILDREN} ORDER BY c.timeline_order LIMIT $8"
SELECT_ANNOTATED = f"""
SELECT EXISTS (
    SELECT 1 FROM events c WHERE c.relates_to = $2 AND c.relation_type = 'm.annotation'
        AND c.relation_key = $5 AND c.room_id = $1 AND c.sender = $3 AND c.type = $4 AND {COUNTS})
"""
# Threads by their last reply: a reply is the last if its thread has none after it.
SELECT_THREAD_ROOTS = f"""
SELECT c.relates_to AS root, c.timeline_order FROM events c
WHERE c.room_id = $1 AND c.relation_type = 'm.thread' AND c.timeline_order <= $2
    AND {not_of("c", 3)} AND {COUNTS}
    AND NOT EXISTS (SELECT 1 FROM events later
        WHERE later.relates_to = c.relates_to AND later.relation_type = 'm.thread'
            AND later.room_id = c.room_id AND later.timeline_order > c.timeline_order
            AND later.rejected IS NULL AND NOT later.soft_failed AND later.withheld IS NULL
            AND later.redacted_by IS NULL
            AND {not_of("later", 3)})
    AND ($4::text IS NULL
        OR EXISTS (SELECT 1 FROM events root WHERE root.event_id = c.relates_to
            AND root.sender = $4)
        OR EXISTS (SELECT 1 FROM events mine WHERE mine.relates_to = c.relates_to
            AND mine.relation_type = 'm.thread' AND mine.room_id = c.room_id
            AND mine.sender = $4 AND mine.redacted_by IS NULL AND mine.rejected IS NULL))
ORDER BY c.timeline_order DESC LIMIT $5
"""


class ThreadRow(Struct, frozen=True):
    """A thread in short.  ``latest``: its last reply."""

    root: str
    replies: int
    participated: bool
    latest: str


class Placed(Struct, frozen=True):
    """An event and its timeline order."""

    event_id: str
    timeline_order: int


async def get_kinds(
    db: Queryable, event_ids: Collection[str], kinds: Collection[str]
) -> dict[str, set[str]]:
    """Event ID -> which kinds of relations point to it, of some kinds."""
    found: dict[str, set[str]] = {}
    for row in await db.fetch(SELECT_KINDS, list(event_ids), list(kinds)):
        found.setdefault(row["event_id"], set()).add(row["name"])
    return found


async def get_related(
    db: Queryable,
    event_ids: Collection[str],
    *,
    types: Collection[str] | None,
    senders: Collection[str] | None,
    without: Collection[str],
    upto: int,
) -> set[str]:
    """Which events have a relation of one of the types by one of the senders; None: of any, by any.

    ``without``: senders and instances that do not count.  ``upto``: nor what is later.
    """
    rows = await db.fetch(
        SELECT_RELATED,
        list(event_ids),
        None if types is None else list(types),
        None if senders is None else list(senders),
        list(without),
        upto,
    )
    return {row["event_id"] for row in rows}


async def get_edits(db: Queryable, originals: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Event ID -> its newest edits, for ``(event ID, sender)`` pairs."""
    found: dict[str, list[str]] = {}
    for row in await db.fetch(
        SELECT_EDITS, [event_id for event_id, _ in originals], [sender for _, sender in originals]
    ):
        found.setdefault(row["original"], []).append(row["event_id"])
    return found


async def get_threads(
    db: Queryable,
    event_ids: Collection[str],
    reader: str,
    without: Collection[str],
    ranges: Collection[tuple[int, int]] | None = None,
) -> list[ThreadRow]:
    """The threads that start from some events, leaving out some senders or instances.

    ``ranges``: only replies at ``after < timeline_order <= upto`` of one of them count.
    """
    after = [after for after, _ in ranges] if ranges is not None else None
    upto = [upto for _, upto in ranges] if ranges is not None else None
    rows = await db.fetch(SELECT_THREADS, list(event_ids), reader, list(without), after, upto)
    return [ThreadRow(**row) for row in rows]


async def get_references(
    db: Queryable, event_ids: Collection[str], without: Collection[str], limit: int
) -> dict[str, list[str]]:
    """Event ID -> the first events that refer to it, leaving out some senders or instances."""
    found: dict[str, list[str]] = {}
    for row in await db.fetch(SELECT_REFERENCES, list(event_ids), list(without), limit):
        found.setdefault(row["target"], []).append(row["event_id"])
    return found


async def has_annotated(
    db: Queryable, room_id: str, event_id: str, sender: str, event_type: str, key: str
) -> bool:
    """Whether somebody has annotated an event with a key, and not taken it back."""
    found: bool = await db.fetchval(SELECT_ANNOTATED, room_id, event_id, sender, event_type, key)
    return found


async def get_children(
    db: Queryable,
    room_id: str,
    event_id: str,
    *,
    hops: int,
    relation_type: str | None,
    event_type: str | None,
    after: int,
    upto: int,
    backwards: bool,
    limit: int,
) -> list[Placed]:
    """What relates to an event, over several hops, at ``after < timeline_order <= upto``."""
    query = SELECT_CHILDREN_BACKWARDS if backwards else SELECT_CHILDREN_FORWARDS
    rows = await db.fetch(
        query, room_id, event_id, hops, relation_type, event_type, after, upto, limit
    )
    return [Placed(**row) for row in rows]


async def get_thread_roots(
    db: Queryable,
    room_id: str,
    *,
    upto: int,
    without: Collection[str],
    participant: str | None,
    limit: int,
) -> list[Placed]:
    """Roots of a room's threads with the order of the last reply, the latest first."""
    rows = await db.fetch(SELECT_THREAD_ROOTS, room_id, upto, list(without), participant, limit)
    return [Placed(row["root"], row["timeline_order"]) for row in rows]
