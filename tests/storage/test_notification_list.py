"""How the database finds what users were notified of, where there is very much of it."""

from __future__ import annotations

from homeserver.storage import notification_list as storage
from homeserver.storage.database import Database

ROOMS, ROWS, BOB = 20, 2_000, "@bob:one.test"
EVERY = 500  # of so many rows one is a highlight
FILL = """
INSERT INTO notifications (room_id, audience, position, event_id, sender, thread_id, highlight)
SELECT '!' || room, CASE WHEN number % $3 = 0 THEN $4 ELSE 'default' END, number * $1 + room,
    '$' || number || '-' || room, '@alice:one.test', 'main', number % $3 = 0
FROM generate_series(0, $1 - 1) room, generate_series(1, $2) number
"""


async def test_highlights_are_found_by_an_index_of_their_own(database: Database) -> None:
    await database.execute(FILL, ROOMS, ROWS, EVERY, BOB)
    await database.execute("ANALYZE notifications")
    rooms = [f"!{number}" for number in range(ROOMS)]
    audiences = ["default", BOB]

    plan = await database.fetch(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {storage.SELECT_PAGE_OF_HIGHLIGHTS}",
        rooms,
        BOB,
        audiences,
        2**62,
        11,
    )
    found = await storage.get_page(
        database, rooms, BOB, audiences=audiences, before=2**62, only_highlights=True, limit=11
    )

    (row,) = plan
    (whole,) = row[0]
    assert "notifications_highlights" in str(whole["Plan"])
    blocks = whole["Plan"]["Shared Hit Blocks"] + whole["Plan"]["Shared Read Blocks"]
    assert blocks < ROWS
    assert len(found) == 22
    assert all(each.highlight for each in found)
    assert [each.position for each in found] == sorted((f.position for f in found), reverse=True)
