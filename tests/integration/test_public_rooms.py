"""The published room directory through a whole instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.integration.single import Instance, running


async def search(one: Instance, token: str, status: int = 200, **body: Any) -> Any:
    """Search the directory."""
    return await one.call("POST", "/publicRooms", body, token=token, status=status)


def ids(answer: dict[str, Any]) -> list[str]:
    """The rooms of a page."""
    return [room["room_id"] for room in answer["chunk"]]


async def test_the_directory_is_searched_and_paged_in_a_stable_order(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        listed = {"visibility": "public"}
        names = {}
        for number in range(5):
            room_id = await one.room(ada, name=f"Tea {number}", **listed)
            names[room_id] = number
        space = await one.room(
            ada, topic="of TEA", creation_content={"type": "m.space"}, room_alias_name="x", **listed
        )
        await one.room(ada, name="Tea at home")
        await one.call("POST", f"/rooms/{space}/join", {}, token=bob)

        everything = await one.call("GET", "/publicRooms")
        found, since = [], ""
        for _ in range(3):
            page = await one.call("GET", f"/publicRooms?limit=2{since}")
            found += ids(page)
            since = f"&since={page.get('next_batch')}"
        before = await one.call("GET", f"/publicRooms?limit=2&since={page['prev_batch']}")

        assert ids(everything) == found
        assert found[0] == space  # the largest
        assert set(found) == {space, *names}
        assert everything["total_room_count_estimate"] == 6
        assert "next_batch" not in page
        assert ids(before) == found[2:4]
        assert ids(await search(one, ada, filter={"generic_search_term": "tea 3"})) == [
            room_id for room_id, number in names.items() if number == 3
        ]
        assert ids(await search(one, ada, filter={"generic_search_term": "of tea"})) == [space]
        assert ids(await search(one, ada, filter={"room_types": ["m.space"]})) == [space]
        assert len(ids(await search(one, ada, filter={"room_types": [None]}))) == 5
        for wrong in (
            {"limit": -1},
            {"since": "x"},
            {"since": "-2"},
            {"filter": {"room_types": 1}},
        ):
            await search(one, ada, status=400, **wrong)


async def test_what_is_shown_of_a_room_is_what_it_is_now(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada, bob = await one.register("ada"), await one.register("bob")
        room_id = await one.room(ada, name="Before", visibility="public")
        await one.call("GET", "/publicRooms")

        await one.call("POST", f"/rooms/{room_id}/join", {}, token=bob)
        path = f"/rooms/{room_id}/state/m.room.name"
        renamed = await one.call("PUT", path, {"name": "After"}, token=ada)
        (room,) = (await one.call("GET", "/publicRooms"))["chunk"]
        assert (room["name"], room["num_joined_members"]) == ("After", 2)

        await one.call("PUT", f"/rooms/{room_id}/redact/{renamed['event_id']}/x", {}, token=ada)
        (room,) = (await one.call("GET", "/publicRooms"))["chunk"]
        assert "name" not in room

        for token in (ada, bob):
            await one.call("POST", f"/rooms/{room_id}/leave", {}, token=token)
        assert (await one.call("GET", "/publicRooms"))["chunk"] == []


async def test_rooms_of_third_party_networks_are_listed_by_their_network(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        ada = await one.register("ada")
        plain = await one.room(ada, visibility="public")
        bridged, both = await one.room(ada), await one.room(ada, visibility="public")
        for network, room_id in (("irc", bridged), ("irc", both), ("xmpp", both)):
            await database.execute(
                "INSERT INTO appservice_room_lists (appservice_id, network_id, room_id)"
                " VALUES ('bridge', $1, $2)",
                network,
                room_id,
            )

        assert set(ids(await search(one, ada))) == {plain, both}
        assert set(ids(await search(one, ada, third_party_instance_id="irc"))) == {bridged, both}
        assert ids(await search(one, ada, third_party_instance_id="none")) == []
        every = await search(one, ada, include_all_networks=True)
        assert sorted(ids(every)) == sorted([plain, bridged, both])
        wrong = await search(
            one, ada, status=400, include_all_networks=True, third_party_instance_id="irc"
        )
        assert wrong["errcode"] == "M_INVALID_PARAM"
