"""Registration, as a client sees it."""

import asyncio

import pytest

from homeserver.storage import registration_tokens
from tests.client_api.conftest import Server

DUMMY = {"type": "m.login.dummy"}
TOKEN = {"type": "m.login.registration_token"}
VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"


async def register(server: Server, body: dict, **kwargs) -> dict:
    return await server.post("/register", body, **kwargs)


async def test_a_newcomer_registers_and_is_logged_in(server: Server):
    body = {"username": "alice", "password": "sesame", "device_id": "PHONE"}
    challenge = await register(server, body, status=401)
    assert challenge["flows"] == [{"stages": ["m.login.dummy"]}]
    assert "errcode" not in challenge

    answer = await register(server, {**body, "auth": {**DUMMY, "session": challenge["session"]}})

    assert answer["user_id"] == "@alice:one.example"
    assert answer["device_id"] == "PHONE"
    whoami = await server.get("/account/whoami", token=answer["access_token"])
    assert whoami == {
        "user_id": "@alice:one.example",
        "device_id": "PHONE",
        "is_guest": False,
    }
    profile = await server.get("/profile/@alice:one.example")
    assert profile == {"displayname": "alice"}
    await server.log_in("alice")


async def test_a_client_may_send_the_dummy_stage_at_once(server: Server):
    answer = await register(server, {"username": "alice", "password": "sesame", "auth": DUMMY})

    assert answer["user_id"] == "@alice:one.example"


async def test_login_may_be_inhibited(server: Server):
    answer = await register(
        server,
        {"username": "alice", "password": "sesame", "inhibit_login": True, "auth": DUMMY},
    )

    assert answer == {"user_id": "@alice:one.example", "home_server": "one.example"}


async def test_a_client_that_can_refresh_gets_a_pair(server: Server):
    answer = await register(
        server,
        {"username": "alice", "password": "sesame", "refresh_token": True, "auth": DUMMY},
    )

    assert answer["refresh_token"]
    assert answer["expires_in_ms"] > 0


@pytest.mark.parametrize(
    ("username", "user_id"),
    [
        ("Alice", "@alice:one.example"),
        ("@alice:one.example", "@alice:one.example"),
        ("alice@one.example", "@alice:one.example"),
        ("a.b_c=d-e/f+3", "@a.b_c=d-e/f+3:one.example"),
    ],
)
async def test_names_that_are_taken(server: Server, username: str, user_id: str):
    body = {"username": username, "password": "sesame", "auth": DUMMY}

    assert (await register(server, body))["user_id"] == user_id


@pytest.mark.parametrize(
    "username",
    ["al ice", "älice", "alice!", "", "@alice:two.example", "alice@two.example", "a\0b", "a" * 250],
)
async def test_names_that_are_invalid(server: Server, username: str):
    body = {"username": username, "password": "sesame"}

    answer = await register(server, body, status=400)

    assert answer["errcode"] == "M_INVALID_USERNAME"


async def test_without_a_name_one_is_made_up(server: Server):
    answer = await register(server, {"password": "sesame", "auth": DUMMY})

    assert answer["user_id"].endswith(":one.example")


async def test_a_name_in_use_is_told_before_any_authentication(server: Server):
    await server.new_account("alice")

    answer = await register(server, {"username": "ALICE", "password": "x"}, status=400)
    available = await server.get("/register/available?username=alice", status=400)

    assert answer["errcode"] == "M_USER_IN_USE"
    assert available["errcode"] == "M_USER_IN_USE"
    assert await server.get("/register/available?username=bob") == {"available": True}


async def test_of_two_who_want_one_name_one_gets_it(server: Server):
    body = {"username": "alice", "password": "sesame", "auth": DUMMY}

    async def attempt() -> int:
        async with server.client.post("/_matrix/client/v3/register", json=body) as response:
            return int(response.status)

    statuses = await asyncio.gather(*(attempt() for _ in range(8)))

    assert sorted(statuses) == [200] + [400] * 7


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"username": 7}, "M_BAD_JSON"),
        ({"username": "bob", "password": 7}, "M_BAD_JSON"),
        ({"username": "bob", "auth": []}, "M_BAD_JSON"),
        ({"username": "bob", "auth": DUMMY}, "M_MISSING_PARAM"),
        ({"username": "bob", "password": "", "auth": DUMMY}, "M_WEAK_PASSWORD"),
    ],
)
async def test_malformed_registrations(server: Server, body: dict, errcode: str):
    answer = await register(server, body, status=400)

    assert answer["errcode"] == errcode


async def test_guests_are_not_admitted(server: Server):
    answer = await server.post("/register?kind=guest", status=403)

    assert answer["errcode"] == "M_GUEST_ACCESS_FORBIDDEN"


async def test_nobody_registers_where_it_is_closed(start_server):
    server = await start_server(mode="closed")

    answer = await register(server, {"username": "alice", "password": "x"}, status=403)
    validity = await server.get(f"{VALIDITY}?token=t", status=403)

    assert answer["errcode"] == "M_FORBIDDEN"
    assert validity["errcode"] == "M_FORBIDDEN"


# ---------------------------------------------------------------- by token


async def add_token(server: Server, database, name: str = "welcome", **kwargs) -> None:
    await registration_tokens.insert_token(database, name, created_at=server.clock(), **kwargs)


async def test_a_newcomer_registers_by_token(start_server, database):
    server = await start_server(mode="token")
    await add_token(server, database, uses_allowed=1)
    body = {"username": "alice", "password": "sesame"}
    challenge = await register(server, body, status=401)
    assert challenge["flows"] == [{"stages": ["m.login.registration_token", "m.login.dummy"]}]

    wrong = await register(
        server,
        {**body, "auth": {**TOKEN, "token": "guess", "session": challenge["session"]}},
        status=401,
    )
    left = await register(
        server,
        {**body, "auth": {**TOKEN, "token": "welcome", "session": challenge["session"]}},
        status=401,
    )
    answer = await register(server, {**body, "auth": {**DUMMY, "session": challenge["session"]}})

    assert wrong["errcode"] == "M_FORBIDDEN"
    assert wrong["session"] == challenge["session"]
    assert left["completed"] == ["m.login.registration_token"]
    assert answer["user_id"] == "@alice:one.example"
    assert await server.get(f"{VALIDITY}?token=welcome") == {"valid": False}


async def test_a_token_is_never_used_more_often_than_allowed(start_server, database):
    server = await start_server(mode="token")
    await add_token(server, database, uses_allowed=3)

    async def attempt(number: int) -> int:
        body = {
            "username": f"user{number}",
            "password": "sesame",
            "auth": {**TOKEN, "token": "welcome"},
        }
        session = (await register(server, body, status=401))["session"]
        body["auth"] = {**DUMMY, "session": session}
        async with server.client.post("/_matrix/client/v3/register", json=body) as response:
            return int(response.status)

    statuses = await asyncio.gather(*(attempt(number) for number in range(8)))

    assert statuses.count(200) == 3
    accounts = await database.fetchval("SELECT count(*) FROM accounts")
    assert accounts == 3


async def test_an_expired_token_is_not_valid(start_server, database):
    server = await start_server(mode="token")
    await add_token(server, database, expires_at=server.clock() + 1000)
    assert await server.get(f"{VALIDITY}?token=welcome") == {"valid": True}

    server.clock.now += 1000

    assert await server.get(f"{VALIDITY}?token=welcome") == {"valid": False}


async def test_without_any_auth_nobody_gets_through(server: Server):
    body = {"username": "alice", "password": "sesame"}
    challenge = await register(server, body, status=401)

    await register(server, {**body, "auth": {"session": challenge["session"]}}, status=401)
    await register(server, {**body, "auth": {}}, status=401)
    answer = await register(server, {**body, "auth": {"type": "m.login.password"}}, status=401)

    assert answer["errcode"] == "M_FORBIDDEN"
