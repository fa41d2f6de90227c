"""Sliding sync of rooms which the user was out of, or of which the client lost an answer."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.single import Instance, running
from tests.integration.sliding import SlidingClient, texts


async def _show_to_members_since_they_joined(one: Instance, token: str, room: str) -> None:
    path = f"/rooms/{room}/state/m.room.history_visibility/"
    await one.call("PUT", path, {"history_visibility": "joined"}, token=token)


async def test_what_was_said_while_the_reader_was_out_stays_hidden_when_the_room_is_shown_again(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        sender, reader = await one.register("sender"), await one.register("reader")
        room = await one.room(sender)
        await _show_to_members_since_they_joined(one, sender, room)
        await one.call("POST", f"/join/{room}", {}, token=reader)
        client = SlidingClient(one, reader)
        client.subscribe(room, limit=20)
        await client.sync()
        client.body.pop("room_subscriptions")
        await client.sync()
        await one.call("POST", f"/rooms/{room}/leave", {}, token=reader)
        await client.sync()
        await client.sync()
        await one.say(sender, room, "not for the reader")
        await one.call("POST", f"/join/{room}", {}, token=reader)
        await client.sync()
        await client.sync()
        await one.say(sender, room, "for the reader")

        client.subscribe(room, limit=20)
        part = (await client.sync())["rooms"][room]

        assert part["initial"] is True
        assert "for the reader" in texts(part)
        assert "not for the reader" not in texts(part)
