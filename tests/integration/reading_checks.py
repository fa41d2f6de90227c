"""What is wrong with what is read: the secret shows, or what may be seen does not."""

from __future__ import annotations

import re

import orjson

from homeserver.storage import outbox
from tests.integration.reading_world import END, SECRET, World
from tests.integration.ways_of_reading import direct, read_as_client, read_as_instance
from tests.integration.withheld_events import Kind, purged, viewed

EVENT_ID = re.compile(r"""['"](?:event_id|id|last_reply_id)['"]: ?['"](\$[^'"]+)['"]""")


def seen(kind: Kind, world: World, text: str) -> list[str]:
    """What of the secret shows in an answer."""
    found = [SECRET] if SECRET in text else []
    if kind.ids:
        return found
    # not where another event cites it, or the reader's own receipt or list of what they hid
    return found + [m[0] for m in EVENT_ID.finditer(text) if m[1] in world.secrets]


async def check_client(world: World, kind: Kind, who: str, *, way_of: str) -> list[str]:
    """Each cell that is wrong."""
    wrong = []
    for way, (shows_end, text) in (await read_as_client(world, who)).items():
        if found := seen(kind, world, text):
            place = text.find(found[0])
            around = text[max(0, place - 300) : place + 200]
            wrong.append(f"{way_of}: {way} shows {found}: {around}")
        if shows_end and END not in text:
            wrong.append(f"{way_of}: {way} does not show the end")
    for event_id in world.secrets:
        hide = kind.for_all and not kind.ids  # else it would hide what the next look is to find
        for way, (status, text) in (await direct(world, who, event_id, hide=hide)).items():
            if SECRET in text or (not kind.ids and status != 404) or status >= 500:
                wrong.append(f"{way_of}: {way} of {event_id} is {status}: {text}")
    return wrong


async def check_unread(world: World, kind: Kind, who: str) -> list[str]:
    """The count is that of the messages that the reader sees, edits aside."""
    if kind.ids or kind.make in (viewed, purged):
        return []  # redacted ones count on; the reader has read; the purge forgets by and by
    part = (await world.call(who, "GET", "/sync"))["rooms"]["join"][world.room_id]
    path = f"/rooms/{world.room_id}/messages?dir=f&limit=100"
    chunk = (await world.call(who, "GET", path))["chunk"]
    joined = max(
        place for place, event in enumerate(chunk) if event.get("state_key") == f"@{who}:one.test"
    )
    expected = [
        event
        for event in chunk[joined:]
        if event["type"] == "m.room.message"
        and event["content"].get("m.relates_to", {}).get("rel_type") != "m.replace"
    ]
    count = part["unread_notifications"]["notification_count"]
    return [] if count == len(expected) else [f"unread: {count} for {len(expected)}"]


async def check_instance(world: World, kind: Kind) -> list[str]:
    wrong = []
    for way, text in (await read_as_instance(world)).items():
        if kind.elsewhere != "whole" and SECRET in text:
            wrong.append(f"instance: {way} shows the secret")
        absent = kind.elsewhere == "absent" and way.startswith("event ")
        if absent and not text.startswith("(404"):
            wrong.append(f"instance: {way} is {text}")
        if way == "backfill" and END not in text:
            wrong.append(f"instance: {way} has no end: {text}")
    wrong += [f"send_join: {pdu}" for pdu in world.peer.answered if SECRET in str(pdu)]
    query = "SELECT DISTINCT servers FROM destination_sets"
    for row in await world.database.fetch(query):
        for server in row["servers"]:
            for pending in await outbox.get_pending(world.database, server, 0, 100):
                body = orjson.dumps(orjson.loads(pending.pdu)).decode()
                if kind.elsewhere != "whole" and SECRET in body and not pending.redacted:
                    wrong.append(f"instance: the outbox has {pending.event_id}")
    return wrong
