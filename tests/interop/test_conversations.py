"""Conversations across two servers: made through the API, seen by stock clients, and back.

Alice's server is a Comity; she uses the Conversations API, and Bob a stock client.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import nio  # type: ignore[import-untyped]

from homeserver.services.conversations.shapes.people import address

from .conftest import Pair
from .person import Person
from .test_delivery import api

PATIENCE_SECONDS = 60.0


def path(conversation_id: str) -> str:
    return f"/conversations/{quote(conversation_id)}"


async def until(look: Callable[[], Awaitable[Any]], what: Callable[[Any], bool]) -> Any:
    """What is seen, once it is as expected."""
    seen: Any = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                seen = await look()
                if what(seen):
                    return seen
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not as expected: {seen}") from None


async def group(alice: Person, bob: Person, **request: Any) -> str:
    """A group of Alice's in which Bob is."""
    body = {"members": [address(bob.user_id)], **request}
    made: str = (await api(alice, "POST", "/conversations", body, status=201))["id"]
    await bob.join(made)
    await alice.sees_membership(made, bob, "join")
    return made


async def knock(person: Person, room_id: str, server: str) -> None:
    """Knock through a server; the client names none by itself."""
    url = f"{person.server.client_url}/_matrix/client/v3/knock/{quote(room_id)}"
    headers = {"Authorization": f"Bearer {person.client.access_token}"}
    servers = {"via": server, "server_name": server}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={}, headers=headers, params=servers) as response,
    ):
        assert response.status == 200, await response.text()


async def test_a_group_crosses(pair: Pair) -> None:
    """Bob's client sees its name; Alice's list of members says that he is in."""
    alice, bob = pair.alice, pair.bob

    made = await group(alice, bob, name="Boats")

    members = (await api(alice, "GET", f"{path(made)}/members"))["items"]
    states = {member["person"]["address"]: member["state"] for member in members}
    assert states == {address(alice.user_id): "joined", address(bob.user_id): "joined"}
    (his,) = [m for m in members if m["person"]["address"] == address(bob.user_id)]
    assert (his["person"]["is_local"], his["invited_by"]) == (False, address(alice.user_id))
    assert bob.client.rooms[made].name == "Boats"
    await bob.send(made, "ahoy")
    shown = await until(
        lambda: api(alice, "GET", path(made)),
        lambda seen: (seen["last_message"] or {}).get("text") == "ahoy",
    )
    assert shown["unread"]["messages"] == 1


async def test_who_is_handed_the_group_has_it(pair: Pair) -> None:
    """Bob may then lower Alice, whatever server he is on."""
    alice, bob = pair.alice, pair.bob
    made = await group(alice, bob)

    after = await api(alice, "POST", f"{path(made)}/owner", {"person": address(bob.user_id)})

    assert after["my_role"] == "admin"

    async def lower() -> Any:
        answer = await bob.client.room_get_state_event(made, "m.room.power_levels")
        return getattr(answer, "content", {})

    levels = await until(lower, lambda seen: seen.get("users", {}).get(bob.user_id) == 100)
    assert levels["users"][alice.user_id] == 50
    levels["users"][alice.user_id] = 0
    await bob.client.room_put_state(made, "m.room.power_levels", levels)
    await until(lambda: api(alice, "GET", path(made)), lambda seen: seen["my_role"] == "member")


async def test_a_direct_conversation_of_a_stock_client_is_used(pair: Pair) -> None:
    """Alice answers what Bob began, in the same room."""
    alice, bob = pair.alice, pair.bob
    made = (await bob.client.room_create(is_direct=True, invite=[alice.user_id])).room_id
    await until(
        lambda: api(alice, "GET", "/conversations?state=invited&limit=100"),
        lambda seen: made in [item["id"] for item in seen["items"]],
    )

    request = {"kind": "direct", "peer": address(bob.user_id)}
    found = await api(alice, "POST", "/conversations", request, status=201)

    assert (found["id"], found["kind"], found["state"]) == (made, "direct", "active")
    await bob.sees_membership(made, alice, "join")


async def test_asking_and_being_let_in_across_servers(pair: Pair) -> None:
    """A knock of Bob's client is a request in Alice's list; approved, he may come."""
    alice, bob = pair.alice, pair.bob
    made = (await api(alice, "POST", "/conversations", {"join": "approval"}, status=201))["id"]

    await knock(bob, made, alice.user_id.partition(":")[2])
    asking = await until(
        lambda: api(alice, "GET", f"{path(made)}/members?state=requested"),
        lambda seen: bool(seen["items"]),
    )
    approved = await api(alice, "POST", f"{path(made)}/members/{address(bob.user_id)}/approve", {})

    assert asking["items"][0]["person"]["address"] == address(bob.user_id)
    assert approved["state"] == "invited"
    await bob.join(made)
    await alice.sees_membership(made, bob, "join")


async def test_an_open_room_on_another_server_is_joined_by_its_alias(pair: Pair) -> None:
    """Alice names what she read somewhere: her instance has never heard of the room."""
    alice, bob = pair.alice, pair.bob
    name = f"square-{pair.name}"
    made = await bob.client.room_create(
        preset=nio.RoomPreset.public_chat, alias=name, name="Town square"
    )
    alias = quote(f"#{name}:{bob.user_id.partition(':')[2]}")

    joined = await api(alice, "POST", f"/conversations/{alias}/join", {})

    assert (joined["id"], joined["state"]) == (made.room_id, "active")
    assert (joined["name"], joined["join"]) == ("Town square", "open")
    assert (joined["my_role"], joined["member_count"]) == ("member", 2)
    await bob.sees_membership(made.room_id, alice, "join")


async def test_who_asks_on_another_server_is_let_in(pair: Pair) -> None:
    """Alice asks; Bob's client invites her; she accepts."""
    alice, bob = pair.alice, pair.bob
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    made = (await bob.client.room_create(initial_state=[rule], name="Club")).room_id
    server = bob.user_id.partition(":")[2]

    asked = await api(alice, "POST", f"{path(made)}/ask", {"message": "Let me in", "via": [server]})
    await bob.sees_membership(made, alice, "knock")
    await bob.client.room_invite(made, alice.user_id)
    invited = await until(
        lambda: api(alice, "GET", path(made)), lambda seen: seen["state"] == "invited"
    )
    active = await api(alice, "POST", f"{path(made)}/accept", {})

    assert (asked["state"], invited["name"], active["state"]) == ("asked", "Club", "active")
    await bob.sees_membership(made, alice, "join")


async def test_who_was_removed_is_out_and_who_was_banned_stays_out(pair: Pair) -> None:
    alice, bob = pair.alice, pair.bob
    made = await group(alice, bob)
    his = f"{path(made)}/members/{address(bob.user_id)}"

    await api(alice, "DELETE", his)
    await bob.sees_membership(made, bob, "leave")
    banned = await api(alice, "POST", f"{his}/ban", {"reason": "Spam"})

    assert (banned["state"], banned["reason"]) == ("banned", "Spam")
    listed = await api(alice, "POST", f"{path(made)}/members", {"people": [bob.user_id]})
    assert listed["problems"][0]["code"] == "banned"
