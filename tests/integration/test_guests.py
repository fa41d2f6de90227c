"""Guests, on a whole instance.  Spec: guest access."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.storage.database import Database
from tests.integration.single import Instance, running

GUEST_ACCESS = {"type": "m.room.guest_access", "state_key": ""}


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    registration = {"mode": "open", "guests": True}
    async with running(database, tmp_path, registration=registration) as instance:
        yield instance


async def guest(one: Instance) -> tuple[str, str]:
    """A new guest's user ID and access token."""
    answer = await one.call("POST", "/register?kind=guest", {})
    return answer["user_id"], answer["access_token"]


async def open_room(one: Instance, token: str) -> str:
    """A room that takes guests."""
    state = [{**GUEST_ACCESS, "content": {"guest_access": "can_join"}}]
    return await one.room(token, initial_state=state)


async def joined(one: Instance, token: str, room_id: str) -> list[str]:
    """Who is in a room."""
    answer = await one.call("GET", f"/rooms/{room_id}/joined_members", token=token)
    return sorted(answer["joined"])


async def test_without_leave_of_the_admin_there_are_no_guests(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        answer = await one.call("POST", "/register?kind=guest", {}, status=403)

    assert answer["errcode"] == "M_GUEST_ACCESS_FORBIDDEN"


async def test_a_guest_speaks_where_guests_may_join_only(one: Instance) -> None:
    alice = await one.register("alice")
    open_id, closed_id = await open_room(one, alice), await one.room(alice)
    guest_id, token = await guest(one)

    await one.call("POST", f"/rooms/{open_id}/join", {}, token=token)
    await one.say(token, open_id, "hello")
    refusal = await one.call("POST", f"/rooms/{closed_id}/join", {}, token=token, status=403)

    assert refusal["errcode"] == "M_GUEST_ACCESS_FORBIDDEN"
    assert await one.texts(alice, open_id) == ["hello"]
    assert (await one.call("GET", "/account/whoami", token=token))["is_guest"] is True
    assert guest_id in await joined(one, alice, open_id)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/createRoom"),
        ("POST", "/rooms/!r:one.test/invite"),
        ("POST", "/user_directory/search"),
        ("POST", "/account/password"),
        ("PUT", "/profile/@g:one.test/avatar_url"),
        ("GET", "/pushrules/"),
        ("GET", "/api/v1/me"),
        ("GET", "/_comity/client/v1/invitations"),
    ],
)
async def test_what_the_spec_does_not_list_is_not_for_guests(
    one: Instance, method: str, path: str
) -> None:
    _, token = await guest(one)

    url = path if path.startswith(("/api", "/_comity")) else f"/_matrix/client/v3{path}"
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.request(method, url, json={}, headers=headers) as response:
        assert response.status == 403
        if not path.startswith("/api"):
            assert (await response.json())["errcode"] == "M_GUEST_ACCESS_FORBIDDEN"


async def test_what_the_spec_lists_is_for_guests(one: Instance) -> None:
    alice = await one.register("alice")
    room_id = await open_room(one, alice)
    guest_id, token = await guest(one)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=token)

    for path in ("state", "members", "messages?dir=b"):
        await one.call("GET", f"/rooms/{room_id}/{path}", token=token)
    for path in ("/publicRooms", f"/_matrix/client/v1/room_summary/{room_id}"):
        await one.call("GET", path, token=token)
    for path in ("/sync", "/devices", "/capabilities", f"/profile/{guest_id}"):
        await one.call("GET", path, token=token)
    name = {"displayname": "Passer-by"}
    await one.call("PUT", f"/profile/{guest_id}/displayname", name, token=token)
    await one.call("POST", "/keys/query", {"device_keys": {}}, token=token)
    await one.call("POST", f"/rooms/{room_id}/leave", {}, token=token)
    await one.call("POST", "/logout", {}, token=token)


async def test_guests_leave_a_room_that_no_longer_takes_them(one: Instance) -> None:
    alice = await one.register("alice")
    room_id = await open_room(one, alice)
    _, token = await guest(one)
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=token)
    path = f"/rooms/{room_id}/state/m.room.guest_access"

    await one.call("PUT", path, {"guest_access": "forbidden"}, token=alice)
    since = (await one.call("GET", "/sync", token=alice))["next_batch"]
    while len(await joined(one, alice, room_id)) > 1:
        answer = await one.call("GET", f"/sync?timeout=5000&since={since}", token=alice)
        assert answer["next_batch"] != since, "nobody left"
        since = answer["next_batch"]

    assert await joined(one, alice, room_id) == ["@alice:one.test"]
    await one.call("POST", f"/rooms/{room_id}/join", {}, token=token, status=403)


async def test_guests_leave_a_room_that_closed_before_the_server_stopped(one: Instance) -> None:
    alice = await one.register("alice")
    room_id = await one.room(alice)
    guest_id, token = await guest(one)
    guests = one.wiring.account_access.guests
    await one.wiring.membership.join(UserId(guest_id), room_id)

    await guests.close()
    await guests.start()

    while len(await joined(one, alice, room_id)) > 1:
        await one.call("GET", "/sync", token=token)


async def test_a_guest_becomes_a_user_under_the_same_name(one: Instance) -> None:
    guest_id, token = await guest(one)
    name = guest_id[1:].partition(":")[0]
    request = {
        "username": name,
        "password": "sesame",
        "guest_access_token": token,
        "auth": {"type": "m.login.dummy"},
    }

    other = await one.call("POST", "/register", {**request, "username": "else"}, status=403)
    made = await one.call("POST", "/register", request)

    assert other["errcode"] == "M_FORBIDDEN"
    assert made["user_id"] == guest_id
    for each in (token, made["access_token"]):
        whoami = await one.call("GET", "/account/whoami", token=each)
        assert (whoami["user_id"], whoami["is_guest"]) == (guest_id, False)
    login = {"type": "m.login.password", "user": name, "password": "sesame"}
    await one.call("POST", "/login", login)


async def test_only_a_guests_token_upgrades(one: Instance) -> None:
    token = await one.register("alice")
    request = {"username": "alice", "password": "x" * 10, "guest_access_token": token}

    await one.call("POST", "/register", request, status=403)
    await one.call("POST", "/register", {**request, "guest_access_token": "no"}, status=401)
