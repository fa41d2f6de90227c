"""Sliding sync keeps what ``/sync`` keeps from a reader: strangers' requests, who is blocked."""

from __future__ import annotations

from pathlib import Path

from homeserver.storage.database import Database
from tests.integration.consent_world import ALICE, BOB, OURS, direct, with_defaults
from tests.integration.sliding import SlidingClient, texts


async def test_a_request_shows_nothing_of_the_strangers_choosing_until_it_is_accepted(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="ask", group="ask") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        client = SlidingClient(one, bob)
        client.list("all", 99)
        await client.sync()
        state = [{"type": "m.room.avatar", "content": {"url": "mxc://one.test/worse"}}]
        room = await one.room(alice, name="Buy!", topic="Now!", initial_state=state, invite=[BOB])
        second = await one.room(alice, name="Buy more!", invite=[BOB])
        asked = await client.sync(timeout=30_000)
        answer = {"answer": "accept", "sender": ALICE}
        await one.call("POST", f"{OURS}/requests/answer", answer, token=bob)

        accepted = await client.sync(timeout=30_000)
        after = await client.sync()

        assert list(asked["rooms"]) == [room] and asked["lists"]["all"]["count"] == 1
        text = str(asked)
        assert "mxc://" not in text and "Buy" not in text and "Now!" not in text
        assert set(accepted["rooms"]) == {room, second}
        assert "Buy!" in str(accepted["rooms"][room]) and "mxc://" in str(accepted["rooms"][room])
        assert after["rooms"] == {}


async def test_an_invite_of_somebody_who_is_blocked_is_in_no_list(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="open") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = (await direct(one, alice, BOB))["room_id"]
        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", {"state": "denied"}, token=bob)
        client = SlidingClient(one, bob)
        client.list("all", 99)
        client.subscribe(room)

        answer = await client.sync()

        assert answer["rooms"] == {} and answer["lists"]["all"]["count"] == 0


async def test_what_somebody_says_who_is_blocked_neither_comes_nor_moves_the_room(
    database: Database, tmp_path: Path
) -> None:
    async with with_defaults(database, tmp_path, message="open") as one:
        alice, bob = await one.register("alice"), await one.register("bob")
        room = await one.room(alice)
        await one.call("POST", f"/join/{room}", {}, token=bob)
        await one.say(bob, room, "mine")
        client = SlidingClient(one, bob)
        client.list("all", 99)
        first = await client.sync()
        await one.call("PUT", f"{OURS}/consent/message/{ALICE}", {"state": "denied"}, token=bob)
        await one.say(alice, room, "unheard")

        answer = await client.sync()
        fresh = await SlidingClient(one, bob, conn_id="x").sync()
        anew = SlidingClient(one, bob, conn_id="y")
        anew.list("all", 99)
        whole = (await anew.sync())["rooms"][room]

        assert answer["rooms"] == fresh["rooms"] == {}
        assert texts(whole) == ["mine"]
        assert whole["bump_stamp"] == first["rooms"][room]["bump_stamp"]
