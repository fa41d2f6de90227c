"""Account data and filters."""

import asyncio

import pytest

from homeserver import app_keys
from homeserver.errors import MatrixError
from tests.client_api.conftest import Server

GLOBAL = "/user/@alice:one.example/account_data"
ROOM = "/user/@alice:one.example/rooms/!room:one.example/account_data"
FILTER = "/user/@alice:one.example/filter"


@pytest.mark.parametrize("path", [GLOBAL, ROOM])
async def test_what_is_put_is_got_and_is_in_the_next_sync(server: Server, path: str):
    alice = await server.new_account("alice")
    await server.get(f"{path}/org.example", token=alice.token, status=404)

    for content in ({"a": 1}, {"a": 2}, {"a": "\0"}, {}):
        await server.put(f"{path}/org.example", content, token=alice.token)
        assert await server.get(f"{path}/org.example", token=alice.token) == content

    service = server.app[app_keys.ACCOUNT_DATA]
    rows = await service.changes(alice.user_id, 1, 2**40)
    assert [(row.room_id, row.type, row.content) for row in rows] == [
        ("" if path == GLOBAL else "!room:one.example", "org.example", {})
    ]
    assert await service.changes(alice.user_id, rows[0].position, 2**40) == []


async def test_many_at_once_keep_the_last(server: Server):
    alice = await server.new_account("alice")
    service = server.app[app_keys.ACCOUNT_DATA]

    await asyncio.gather(*(service.put(alice.user_id, "org.example", {"n": n}) for n in range(50)))

    assert await service.get(alice.user_id, "org.example") == {"n": 49}


@pytest.mark.parametrize("type_", ["m.push_rules", "m.fully_read"])
@pytest.mark.parametrize("path", [GLOBAL, ROOM])
async def test_what_the_server_manages_cannot_be_put(server: Server, path: str, type_: str):
    alice = await server.new_account("alice")

    answer = await server.put(f"{path}/{type_}", {}, token=alice.token, status=405)

    assert answer["errcode"] == "M_BAD_JSON"


async def test_nobody_touches_the_account_data_of_others(server: Server):
    await server.new_account("alice")
    bob = await server.new_account("bob")

    for path in (GLOBAL, ROOM):
        await server.put(f"{path}/org.example", {}, token=bob.token, status=403)
        await server.get(f"{path}/org.example", token=bob.token, status=403)
    await server.get(f"{GLOBAL}/org.example", status=401)


async def test_malformed_account_data(server: Server):
    alice = await server.new_account("alice")

    await server.put(f"{GLOBAL}/org.example", [1], token=alice.token, status=400)
    await server.put(f"{GLOBAL}/a%00b", {}, token=alice.token, status=400)
    await server.get(f"{GLOBAL}/a%00b", token=alice.token, status=400)
    await server.put(f"{GLOBAL}/{'x' * 256}", {}, token=alice.token, status=400)
    bad_room = "/user/@alice:one.example/rooms/@alice:one.example/account_data/org.example"
    answer = await server.put(bad_room, {}, token=alice.token, status=400)
    assert answer["errcode"] == "M_INVALID_PARAM"


# ---------------------------------------------------------------- filters


async def test_a_filter_is_stored_once(server: Server):
    alice = await server.new_account("alice")
    definition = {"room": {"timeline": {"limit": 5}}}

    first = await server.post(FILTER, definition, token=alice.token)
    other = await server.post(FILTER, {}, token=alice.token)
    again = await server.post(FILTER, definition, token=alice.token)

    assert first == again
    assert first != other
    path = f"{FILTER}/{first['filter_id']}"
    assert await server.get(path, token=alice.token) == definition
    service = server.app[app_keys.FILTERS]
    compiled = await service.resolve(alice.user_id, first["filter_id"])
    assert compiled.timeline.limit == 5
    assert compiled is await service.resolve(alice.user_id, first["filter_id"])


async def test_filters_stored_at_once_get_numbers_of_their_own(server: Server):
    alice = await server.new_account("alice")
    service = server.app[app_keys.FILTERS]

    ids = await asyncio.gather(
        *(service.create(alice.user_id, {"room": {"timeline": {"limit": n}}}) for n in range(4))
    )

    assert len(set(ids)) == 4


async def test_an_inline_filter(server: Server):
    service = server.app[app_keys.FILTERS]

    compiled = await service.resolve("@alice:one.example", '{"room":{"rooms":["!a:b"]}}')

    assert compiled.rooms == {"!a:b"}


@pytest.mark.parametrize("text", ["{", "{}x", "12", "x", "", "\0", "9" * 30, '{"room":7}'])
async def test_filters_that_are_none(server: Server, text: str):
    with pytest.raises(MatrixError):
        await server.app[app_keys.FILTERS].resolve("@alice:one.example", text)


async def test_filters_of_others_are_not_found(server: Server):
    alice = await server.new_account("alice")
    bob = await server.new_account("bob")
    filter_id = (await server.post(FILTER, {}, token=alice.token))["filter_id"]

    await server.get(f"{FILTER}/{filter_id}", token=bob.token, status=403)
    await server.post(FILTER, {}, token=bob.token, status=403)
    path = f"/user/@bob:one.example/filter/{filter_id}"
    await server.get(path, token=bob.token, status=404)


async def test_a_malformed_filter_is_refused(server: Server):
    alice = await server.new_account("alice")

    answer = await server.post(FILTER, {"room": {"timeline": 7}}, token=alice.token, status=400)

    assert answer["errcode"] == "M_BAD_JSON"
