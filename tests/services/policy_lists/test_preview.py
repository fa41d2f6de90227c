"""What a draft would cut, counted."""

from __future__ import annotations

import pytest

from homeserver.services.policy_lists.policy_list import ListSettings, PolicyList
from homeserver.services.policy_lists.preview import MOST_SHOWN, Consequence, Preview, Previews
from homeserver.storage.database import Database
from homeserver.storage.policy_lists import EntryRow, ListRow

ACCOUNT = "@policy:one.test"
MEMBERS = {
    "!a": ["@alice:one.test", "@bob:one.test", "@x:evil.example", "@y:sub.evil.example:8448"],
    "!b": ["@alice:one.test", "@z:fine.example"],
    "!c": ["@x:evil.example", "@z:fine.example"],
    "!list": [ACCOUNT, "@x:evil.example"],
}
CONTACTS = [("@alice:one.test", "@x:evil.example"), ("@bob:one.test", "@q:fine.example")]
REQUESTS = [("@alice:one.test", "@spam1:evil.example"), ("@bob:one.test", "@spam2:fine.example")]


@pytest.fixture
async def previews(database: Database) -> Previews:
    members = [(room, user) for room, users in MEMBERS.items() for user in users]
    await database.executemany(
        "INSERT INTO memberships (room_id, user_id, membership, event_id, sender, position, local)"
        " VALUES ($1, $2, 'join', '$e', $2, 1, $2 LIKE '%:one.test')",
        members,
    )
    await database.executemany(
        "INSERT INTO consent_current (owner, scope, peer, state)"
        " VALUES ($1, 'message', $2, 'granted')",
        CONTACTS,
    )
    await database.executemany(
        "INSERT INTO message_requests (owner, sender, server, scope, room_id, state, attempts,"
        " created_at, updated_at, expires_at, position) VALUES"
        " ($1, $2, substr($2, strpos($2, ':') + 1), 'message', '!r', 'pending', 1, 0, 0, 1, 1)",
        REQUESTS,
    )
    return Previews(server_name="one.test", account=ACCOUNT, database=database)


def drafted(*entries: tuple[str, str], applied: bool = False) -> PolicyList:
    row = ListRow(1, "list", False, "!list", "", 0, "", None, None, None)
    rows = [
        EntryRow(kind, entity, None, "", not applied, applied, False, 0) for kind, entity in entries
    ]
    return PolicyList(row, ListSettings(), {entry.key: entry for entry in rows})


def counts(consequence: Consequence) -> tuple[int, int, int, int]:
    impact = consequence.impact
    return impact.users, impact.rooms, impact.contacts, impact.requests


async def one(previews: Previews, kind: str, entity: str) -> tuple[int, int, int, int]:
    preview = await previews.preview(drafted((kind, entity)))
    (consequence,) = preview.consequences
    return counts(consequence)


@pytest.mark.parametrize(
    ("kind", "entity", "expected"),
    [
        ("server", "evil.example", (2, 1, 1, 1)),
        ("server", "*.evil.example", (2, 1, 0, 0)),
        ("server", "sub.evil.example", (2, 1, 0, 0)),
        ("server", "*example", (2, 2, 2, 2)),
        ("server", "*", (2, 2, 2, 2)),
        ("server", "unknown.example", (0, 0, 0, 0)),
        ("server", "one.test", (0, 0, 0, 0)),
        ("user", "@x:evil.example", (2, 1, 1, 0)),
        ("user", "@z:fine.example", (1, 1, 0, 0)),
        ("user", "@spam*:*", (0, 0, 0, 2)),
        ("user", "@?:evil.example", (2, 1, 1, 0)),
        ("user", "@*:one.test", (0, 0, 0, 0)),
        ("user", "@50%_:fine.example", (0, 0, 0, 0)),
        ("room", "!a", (2, 1, 0, 0)),
        ("room", "!?", (2, 2, 0, 0)),
        ("room", "#alias:fine.example", (0, 0, 0, 0)),
    ],
)
async def test_an_entry_is_counted(
    previews: Previews, kind: str, entity: str, expected: tuple[int, int, int, int]
) -> None:
    assert await one(previews, kind, entity) == expected


async def test_what_several_entries_touch_counts_once_and_the_most_comes_first(
    previews: Previews,
) -> None:
    entries = (("server", "fine.example"), ("server", "evil.example"), ("server", "*.example"))

    preview = await previews.preview(drafted(*entries))

    entities = [item.entry.entity for item in preview.consequences]
    assert entities == ["*.example", "evil.example", "fine.example"]
    assert (preview.total.users, preview.total.rooms, preview.total.contacts) == (2, 2, 2)
    assert (preview.added, preview.removed, preview.omitted) == (3, 0, 0)


@pytest.mark.parametrize(
    ("kind", "entity", "warning"),
    [
        ("server", "one.test", "this server"),
        ("server", "*.test", "this server"),
        ("user", "@*:*", "everything"),
        ("user", "@alice:one.test", "a user of this server"),
        ("user", "@*:one.test", "own users"),
        ("user", "@x:evil.example", ""),
    ],
)
async def test_what_is_dangerous_is_said(
    previews: Previews, kind: str, entity: str, warning: str
) -> None:
    preview = await previews.preview(drafted((kind, entity)))

    (consequence,) = preview.consequences
    assert warning in consequence.warning
    assert bool(warning) == bool(consequence.warning)


async def test_what_would_go_is_counted_too(previews: Previews) -> None:
    preview: Preview = await previews.preview(drafted(("server", "evil.example"), applied=True))

    assert (preview.added, preview.removed, preview.total.users) == (0, 1, 2)


async def test_a_large_draft_is_counted_whole_and_shown_in_part(previews: Previews) -> None:
    many = [("server", f"n{number}.example") for number in range(MOST_SHOWN)]

    preview = await previews.preview(drafted(*many, ("server", "evil.example")))

    assert (len(preview.consequences), preview.omitted) == (MOST_SHOWN, 1)
    assert preview.consequences[0].entry.entity == "evil.example"
