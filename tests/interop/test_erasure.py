"""An erased account, as another instance sees it that joins afterwards."""

import itertools

from tests.harness import RawClient, eventually, raw_session

from .conftest import Pair

_serial = itertools.count(1)
PASSWORD = "correct horse"


async def test_an_instance_that_joins_later_is_served_redacted_messages(pair: Pair) -> None:
    """What the erased user wrote comes redacted, and is accepted; what others wrote comes whole."""
    name = f"{pair.name.replace('-', '')}{next(_serial)}"
    async with raw_session() as session:
        erin, dave = [RawClient(session, pair.servers[0].client_url) for _ in range(2)]
        await erin.register(f"erin{name}", PASSWORD)
        await dave.register(f"dave{name}", PASSWORD)
        room_id = await erin.create_room(preset="public_chat")
        await dave.join(room_id)
        await erin.send(room_id, "from Erin")
        await dave.send(room_id, "from Dave")

        identifier = {"type": "m.id.user", "user": erin.user_id}
        auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        await erin.call("POST", "account", "deactivate", body={"auth": auth, "erase": True})
        via = dave.user_id.partition(":")[2]
        frank = RawClient(session, pair.servers[1].client_url)
        await frank.register(f"frank{name}")
        await frank.join(room_id, via=via)

        async def backfilled() -> bool:
            events = await frank.history(room_id)
            return any(e["content"].get("body") == "from Dave" for e in events)

        await eventually(backfilled, "the history")
        theirs = [e for e in await frank.history(room_id) if e["type"] == "m.room.message"]
        assert {e["sender"]: e["content"].get("body") for e in theirs} == {
            erin.user_id: None,
            dave.user_id: "from Dave",
        }
        mine = [e for e in await dave.history(room_id) if e["type"] == "m.room.message"]
        assert {e["content"].get("body") for e in mine} == {"from Erin", "from Dave"}
