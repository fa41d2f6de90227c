"""Rooms that the world may read, read by strangers and guests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

V1 = "/_matrix/client/v1"
VISIBILITY = "m.room.history_visibility"
OPEN = {"mode": "open", "guests": True}


async def set_visibility(one: Instance, token: str, room_id: str, value: str) -> None:
    """Change who may read."""
    path = f"/rooms/{room_id}/state/{VISIBILITY}"
    await one.call("PUT", path, {"history_visibility": value}, token=token)


def ways(room_id: str, event_id: str) -> dict[str, str]:
    """Every way of reading a room, and an event of it."""
    room, first = f"/rooms/{room_id}", f"{V1}/rooms/{room_id}"
    return {
        "messages": f"{room}/messages?dir=b",
        "context": f"{room}/context/{event_id}",
        "event": f"{room}/event/{event_id}",
        "state": f"{room}/state",
        "state event": f"{room}/state/{VISIBILITY}/",
        "members": f"{room}/members",
        "relations": f"{first}/relations/{event_id}",
        "threads": f"{first}/threads",
        "date": f"{first}/timestamp_to_event?ts=0&dir=f",
        "aliases": f"{room}/aliases",
        "hierarchy": f"{first}/hierarchy",
        "summary": f"{V1}/room_summary/{room_id}",
    }


ALSO_FOR_GUESTS = ("messages", "context", "event", "state", "state event", "members")


async def test_strangers_and_guests_read_what_was_sent_while_the_world_may_read(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, registration=OPEN) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        guest = (await one.call("POST", "/register?kind=guest", {}))["access_token"]
        room_id = await one.room(ada, preset="private_chat")
        before = (await one.say(ada, room_id, "between us"))["event_id"]
        await set_visibility(one, ada, room_id, "world_readable")
        event_id = (await one.say(ada, room_id, "for all"))["event_id"]

        for path in ways(room_id, event_id).values():
            await one.call("GET", path, token=bob)
        for name in ALSO_FOR_GUESTS:
            await one.call("GET", ways(room_id, event_id)[name], token=guest)
        for token in (bob, guest):
            assert await one.texts(token, room_id) == ["for all"]
            hidden = f"/rooms/{room_id}/event/{before}"
            await one.call("GET", hidden, token=token, status=404)
            await one.call("GET", f"/rooms/{room_id}/context/{before}", token=token, status=404)
        around = await one.call("GET", f"/rooms/{room_id}/context/{event_id}", token=bob)
        assert before not in str(around)
        await one.call("GET", f"/rooms/{room_id}/joined_members", token=bob, status=403)
        await one.say(bob, room_id, "me, too", status=403)
        synced: dict[str, Any] = await one.call("GET", "/sync", token=bob)
        assert room_id not in str(synced.get("rooms"))


async def test_nobody_peeks_into_a_room_once_the_world_may_not_read_it(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path, registration=OPEN) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        guest = (await one.call("POST", "/register?kind=guest", {}))["access_token"]
        room_id = await one.room(ada, preset="private_chat")
        await set_visibility(one, ada, room_id, "world_readable")
        event_id = (await one.say(ada, room_id, "for all"))["event_id"]

        await set_visibility(one, ada, room_id, "shared")

        for name, path in ways(room_id, event_id).items():
            status = 404 if name in ("summary", "event", "relations") else 403
            await one.call("GET", path, token=bob, status=status)
            await one.call("GET", path, status=404 if name == "summary" else 401)
            if name in ALSO_FOR_GUESTS:
                await one.call("GET", path, token=guest, status=status)
