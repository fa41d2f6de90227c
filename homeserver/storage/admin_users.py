"""Accounts as admins look for them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.storage.database import Queryable

_COLUMNS = """
a.user_id, p.fields->>'displayname' AS display_name, a.admin, a.guest, a.created_at,
a.deactivated_at, a.erased, a.locked_at, a.suspended_at,
(SELECT max(last_seen_at) FROM devices d WHERE d.user_id = a.user_id) AS last_seen_at
"""
_FILTERS = """
($1::text IS NULL OR position(lower($1) IN lower(a.user_id)) > 0
    OR position(lower($1) IN lower(p.fields->>'displayname')) > 0)
AND ($2::boolean IS NULL OR a.admin = $2) AND ($3::boolean IS NULL OR a.guest = $3)
AND ($4::boolean IS NULL OR (a.deactivated_at IS NOT NULL) = $4)
AND ($5::boolean IS NULL OR (a.locked_at IS NOT NULL) = $5)
AND ($6::boolean IS NULL OR (a.suspended_at IS NOT NULL) = $6)
"""
SELECT_BY_NAME = f"""
SELECT {_COLUMNS} FROM accounts a LEFT JOIN profiles p USING (user_id)
WHERE {_FILTERS} AND a.user_id > $7 AND $8::bigint IS NOT NULL ORDER BY a.user_id LIMIT $9
"""
SELECT_BY_AGE = f"""
SELECT {_COLUMNS} FROM accounts a LEFT JOIN profiles p USING (user_id)
WHERE {_FILTERS} AND (a.created_at, a.user_id) < ($8, $7)
ORDER BY a.created_at DESC, a.user_id DESC LIMIT $9
"""
SELECT_ONE = f"""
SELECT {_COLUMNS} FROM accounts a LEFT JOIN profiles p USING (user_id) WHERE a.user_id = $1
"""
SELECT_JOINED = """
SELECT room_id FROM memberships WHERE user_id = $1 AND membership = 'join' AND room_id > $2
ORDER BY room_id LIMIT $3
"""
SELECT_FIGURES = """
SELECT (SELECT count(*) FROM memberships WHERE user_id = $1 AND membership = 'join')
        AS joined_rooms,
    (SELECT count(*) FROM devices WHERE user_id = $1) AS devices,
    count(*) AS media_files, coalesce(sum(size_bytes), 0)::bigint AS media_bytes
FROM media WHERE uploader = $1
"""
SELECT_ADDRESSES = "SELECT address FROM third_party_ids WHERE user_id = $1 ORDER BY address"


class User(Struct, frozen=True):
    """An account; times in ms."""

    user_id: str
    display_name: str | None
    admin: bool
    guest: bool
    created_at: int
    deactivated_at: int | None
    erased: bool
    locked_at: int | None
    suspended_at: int | None
    last_seen_at: int | None


class UserFigures(Struct, frozen=True):
    """How much a user has."""

    joined_rooms: int
    devices: int
    media_files: int
    media_bytes: int


class UserFilter(Struct, frozen=True):
    """Which accounts are looked for; null: all."""

    search: str | None = None  # a part of the user ID or of the display name
    admin: bool | None = None
    guest: bool | None = None
    deactivated: bool | None = None
    locked: bool | None = None
    suspended: bool | None = None

    def columns(self) -> Sequence[object]:
        """In the order of the query's parameters."""
        return (
            self.search,
            self.admin,
            self.guest,
            self.deactivated,
            self.locked,
            self.suspended,
        )


async def get_users_by_name(
    db: Queryable, wanted: UserFilter, *, after: str, limit: int
) -> list[User]:
    """Accounts in the order of their IDs."""
    rows = await db.fetch(SELECT_BY_NAME, *wanted.columns(), after, 0, limit)
    return [User(**row) for row in rows]


async def get_users_by_age(
    db: Queryable, wanted: UserFilter, *, before: tuple[int, str], limit: int
) -> list[User]:
    """Accounts, the newest first; older than the place ``(created_at, user_id)``."""
    created_at, user_id = before
    rows = await db.fetch(SELECT_BY_AGE, *wanted.columns(), user_id, created_at, limit)
    return [User(**row) for row in rows]


async def get_user(db: Queryable, user_id: str) -> User | None:
    """One account."""
    row = await db.fetchrow(SELECT_ONE, user_id)
    return User(**row) if row is not None else None


async def get_figures(db: Queryable, user_id: str) -> UserFigures:
    """How much a user has."""
    return UserFigures(**await db.fetchrow(SELECT_FIGURES, user_id))


async def get_addresses(db: Queryable, user_id: str) -> list[str]:
    """A user's e-mail addresses."""
    return [row["address"] for row in await db.fetch(SELECT_ADDRESSES, user_id)]


async def get_joined_rooms(db: Queryable, user_id: str, *, after: str, limit: int) -> list[str]:
    """The rooms a user is in, in the order of their IDs."""
    return [row["room_id"] for row in await db.fetch(SELECT_JOINED, user_id, after, limit)]
