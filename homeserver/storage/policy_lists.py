"""Policy lists, followed or imported: what they say, and what of it is in effect here."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import astuple

from homeserver.storage.database import Queryable

LIST_COLUMNS = """
list_id, name, imported, room_id, title, created_at, created_by, read_at, applied_at, problem
"""
SELECT_LISTS = f"SELECT {LIST_COLUMNS} FROM policy_lists ORDER BY list_id"
INSERT_LIST = f"""
INSERT INTO policy_lists (name, imported, created_at, created_by) VALUES ($1, $2, $3, $4)
RETURNING {LIST_COLUMNS}
"""
UPDATE_LIST = """
UPDATE policy_lists SET room_id = $2, title = $3, read_at = $4, applied_at = $5, problem = $6
WHERE list_id = $1
"""
DELETE_LIST = """
DELETE FROM policy_lists l WHERE list_id = $1
    AND NOT EXISTS (SELECT 1 FROM policy_acl_entries a WHERE a.list_id = l.list_id)
"""
RESET_LIST = "UPDATE policy_lists SET applied_at = NULL, read_at = NULL WHERE list_id = $1"
DELETE_ALL_ENTRIES = "DELETE FROM policy_list_entries WHERE list_id = $1"
SELECT_ENTRIES = """
SELECT kind, entity, action, reason, wanted, applied, declined, changed_at
FROM policy_list_entries WHERE list_id = $1 ORDER BY kind, entity
"""
UPSERT_ENTRIES = """
INSERT INTO policy_list_entries
    (list_id, kind, entity, action, reason, wanted, applied, declined, changed_at)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[],
    $7::boolean[], $8::boolean[], $9::bigint[])
ON CONFLICT (list_id, kind, entity) DO UPDATE SET action = EXCLUDED.action,
    reason = EXCLUDED.reason, wanted = EXCLUDED.wanted, applied = EXCLUDED.applied,
    declined = EXCLUDED.declined, changed_at = EXCLUDED.changed_at
"""
DELETE_ENTRIES = """
DELETE FROM policy_list_entries e USING unnest($2::text[], $3::text[]) AS gone (kind, entity)
WHERE e.list_id = $1 AND e.kind = gone.kind AND e.entity = gone.entity
"""


class ListRow(Struct):
    """A list.  Times in ms."""

    list_id: int
    name: str
    imported: bool
    room_id: str | None
    title: str
    created_at: int
    created_by: str
    read_at: int | None
    applied_at: int | None
    problem: str | None


class EntryRow(Struct, frozen=True):
    """One entry of a list.  ``wanted``: the list has it now; ``applied``: it is in effect here.

    Where they differ it is in the draft, unless the admin ``declined`` the change.
    """

    kind: str
    entity: str
    action: str | None  # block, flag, allow; None: as the list is configured
    reason: str
    wanted: bool
    applied: bool
    declined: bool
    changed_at: int  # ms

    @property
    def key(self) -> tuple[str, str]:
        """What is unique within a list."""
        return self.kind, self.entity

    @property
    def in_draft(self) -> bool:
        """Whether it waits for the admin's word."""
        return self.wanted != self.applied and not self.declined


async def get_lists(db: Queryable) -> list[ListRow]:
    """All lists, the oldest first."""
    return [ListRow(**row) for row in await db.fetch(SELECT_LISTS)]


async def insert_list(
    db: Queryable, name: str, *, imported: bool, created_at: int, created_by: str
) -> ListRow:
    """Add a list; its name must be new."""
    return ListRow(**await db.fetchrow(INSERT_LIST, name, imported, created_at, created_by))


async def update_list(db: Queryable, row: ListRow) -> None:
    """Store what changes about a list."""
    await db.execute(
        UPDATE_LIST, row.list_id, row.room_id, row.title, row.read_at, row.applied_at, row.problem
    )


async def delete_list(db: Queryable, list_id: int) -> None:
    """Delete a list's entries, and the list unless something of it is still in rooms' ACLs."""
    await db.execute(DELETE_ALL_ENTRIES, list_id)
    await db.execute(RESET_LIST, list_id)
    await db.execute(DELETE_LIST, list_id)


async def get_entries(db: Queryable, list_id: int) -> list[EntryRow]:
    """A list's entries."""
    return [EntryRow(**row) for row in await db.fetch(SELECT_ENTRIES, list_id)]


async def save_entries(db: Queryable, list_id: int, entries: Iterable[EntryRow]) -> None:
    """Add or replace entries."""
    rows = [astuple(entry) for entry in entries]
    if rows:
        await db.execute(UPSERT_ENTRIES, list_id, *map(list, zip(*rows, strict=True)))


async def delete_entries(db: Queryable, list_id: int, keys: Iterable[tuple[str, str]]) -> None:
    """Delete entries by kind and entity."""
    pairs = list(keys)
    if pairs:
        await db.execute(DELETE_ENTRIES, list_id, *map(list, zip(*pairs, strict=True)))
