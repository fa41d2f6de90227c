"""Logging in, refreshing and logging out, as a client sees it."""

import pytest

from homeserver import app_keys
from homeserver.config import RateConfig
from tests.client_api.conftest import Account, Server


def password_login(user: str, password: str = "sesame", **more) -> dict:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        **more,
    }


async def refreshed(server: Server, token: str | None, **kwargs) -> dict:
    return await server.post("/refresh", {"refresh_token": token}, **kwargs)


async def whoami(server: Server, token: str, **kwargs) -> dict:
    return await server.get("/account/whoami", token=token, **kwargs)


async def test_the_flows_are_password_and_token(server: Server):
    answer = await server.get("/login")

    assert answer == {
        "flows": [
            {"type": "m.login.password"},
            {"type": "m.login.token", "get_login_token": True},
        ]
    }


@pytest.mark.parametrize(
    "name", ["alice", "Alice", "@alice:one.example", "alice@one.example", "@ALICE:one.example"]
)
async def test_a_user_name_may_be_spelt_in_every_way(server: Server, name: str):
    await server.new_account("alice")

    answer = await server.post("/login", password_login(name))

    assert answer["user_id"] == "@alice:one.example"
    assert answer["home_server"] == "one.example"
    assert answer["access_token"].startswith("cmt_")
    assert answer["well_known"]["m.homeserver"]["base_url"] == "https://matrix.one.example"
    assert "refresh_token" not in answer


@pytest.mark.parametrize(
    "identity",
    [
        {"user": "alice"},
        {"medium": "email", "address": "alice@one.example"},
        {
            "identifier": {
                "type": "m.id.thirdparty",
                "medium": "email",
                "address": "alice@one.example",
            }
        },
    ],
)
async def test_older_forms_and_an_address_in_the_place_of_an_email_are_taken(
    server: Server, identity: dict
):
    await server.new_account("alice")

    answer = await server.post(
        "/login", {"type": "m.login.password", "password": "sesame", **identity}
    )

    assert answer["user_id"] == "@alice:one.example"


@pytest.mark.parametrize(
    "body",
    [
        password_login("alice", "wrong"),
        password_login("nobody"),
        password_login("@alice:two.example"),
        password_login("al\0ice"),
        password_login(""),
        {
            "type": "m.login.password",
            "password": "sesame",
            "identifier": {"type": "m.id.phone", "country": "GB", "phone": "07700900001"},
        },
        {"type": "m.login.password", "password": "sesame", "identifier": {"type": "m.id.user"}},
        {"type": "m.login.token", "token": "cml_unknown"},
    ],
)
async def test_a_wrong_name_password_or_token_is_forbidden(server: Server, body: dict):
    await server.new_account("alice")

    answer = await server.post("/login", body, status=403)

    assert answer["errcode"] == "M_FORBIDDEN"


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"type": 1}, "M_BAD_JSON"),
        ({"type": "m.login.sso"}, "M_UNKNOWN"),
        ({"type": "m.login.password", "user": "alice"}, "M_MISSING_PARAM"),
        ({**password_login("alice"), "device_id": 7}, "M_BAD_JSON"),
        ({**password_login("alice"), "device_id": "a\0b"}, "M_INVALID_PARAM"),
        ({**password_login("alice"), "initial_device_display_name": "\0"}, "M_INVALID_PARAM"),
    ],
)
async def test_a_malformed_login_is_a_bad_request(server: Server, body: dict, errcode: str):
    await server.new_account("alice")

    answer = await server.post("/login", body, status=400)

    assert answer["errcode"] == errcode


async def test_a_token_that_is_missing_or_unknown_is_refused(server: Server):
    missing = await server.get("/account/whoami", status=401)
    unknown = await whoami(server, "cmt_unknown", status=401)

    assert missing["errcode"] == "M_MISSING_TOKEN"
    assert unknown["errcode"] == "M_UNKNOWN_TOKEN"
    assert not unknown.get("soft_logout")


async def test_a_token_may_stand_in_the_query(server: Server):
    alice = await server.new_account("alice")

    answer = await server.get(f"/account/whoami?access_token={alice.token}")

    assert answer["user_id"] == "@alice:one.example"
    assert answer["device_id"] == alice.device_id


async def test_a_device_that_logs_in_again_keeps_its_name_and_loses_its_old_token(server: Server):
    first = await server.new_account(
        "alice", device_id="PHONE", initial_device_display_name="Phone"
    )
    await whoami(server, first.token)

    second = await server.log_in("alice", device_id="PHONE", initial_device_display_name="Other")

    await whoami(server, first.token, status=401)
    devices = await server.get("/devices", token=second.token)
    assert [(d["device_id"], d["display_name"]) for d in devices["devices"]] == [("PHONE", "Phone")]


async def test_logging_out_deletes_the_device_and_its_keys(server: Server):
    phone = await server.new_account("alice", device_id="PHONE")
    laptop = await server.log_in("alice", device_id="LAPTOP")

    await server.post("/logout", token=phone.token)

    await whoami(server, phone.token, status=401)
    await whoami(server, laptop.token)
    devices = await server.get("/devices", token=laptop.token)
    assert [device["device_id"] for device in devices["devices"]] == ["LAPTOP"]
    assert server.others.deleted == [("@alice:one.example", "PHONE")]


async def test_logging_out_everywhere(server: Server):
    phone = await server.new_account("alice")
    laptop = await server.log_in("alice")

    await server.post("/logout/all", token=phone.token)

    await whoami(server, phone.token, status=401)
    await whoami(server, laptop.token, status=401)


# ---------------------------------------------------------------- refreshing


async def test_an_expired_token_is_a_soft_logout_until_it_is_refreshed(server: Server):
    alice = await server.new_account("alice", refresh_token=True)
    await whoami(server, alice.token)
    server.clock.now += 5 * 60_000

    expired = await whoami(server, alice.token, status=401)
    new = await refreshed(server, alice.refresh_token)

    assert expired["errcode"] == "M_UNKNOWN_TOKEN"
    assert expired["soft_logout"] is True
    assert new["expires_in_ms"] == 5 * 60_000
    answer = await whoami(server, new["access_token"])
    assert answer["device_id"] == alice.device_id


async def test_the_old_pair_is_good_until_the_new_access_token_is_used(server: Server):
    alice = await server.new_account("alice", refresh_token=True)

    lost = await refreshed(server, alice.refresh_token)
    new = await refreshed(server, alice.refresh_token)
    await whoami(server, alice.token)
    await whoami(server, lost["access_token"], status=401)

    await whoami(server, new["access_token"])

    await whoami(server, alice.token, status=401)
    answer = await refreshed(server, alice.refresh_token, status=401)
    assert answer["errcode"] == "M_UNKNOWN_TOKEN"
    await whoami(server, new["access_token"])


async def test_the_old_pair_is_good_until_the_new_refresh_token_is_used(server: Server):
    alice = await server.new_account("alice", refresh_token=True)
    new = await refreshed(server, alice.refresh_token)

    newer = await refreshed(server, new["refresh_token"])

    await refreshed(server, alice.refresh_token, status=401)
    await whoami(server, newer["access_token"])


async def test_a_refresh_token_dies_with_its_device(server: Server):
    alice = await server.new_account("alice", refresh_token=True)

    await server.post("/logout", token=alice.token)

    await refreshed(server, alice.refresh_token, status=401)


# ---------------------------------------------------------------- login tokens


async def login_token(server: Server, alice: Account) -> str:
    path = "/_matrix/client/v1/login/get_token"
    challenge = await server.post(path, token=alice.token, status=401)
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "sesame",
        "session": challenge["session"],
    }
    answer = await server.post(path, {"auth": auth}, token=alice.token)
    assert answer["expires_in_ms"] == 120_000
    token: str = answer["login_token"]
    return token


async def test_a_login_token_logs_in_one_more_client_once(server: Server):
    alice = await server.new_account("alice")
    token = await login_token(server, alice)

    answer = await server.post("/login", {"type": "m.login.token", "token": token})

    assert answer["user_id"] == alice.user_id
    assert answer["device_id"] != alice.device_id
    await server.post("/login", {"type": "m.login.token", "token": token}, status=403)


async def test_a_login_token_expires(server: Server):
    token = await login_token(server, await server.new_account("alice"))

    server.clock.now += 120_000

    await server.post("/login", {"type": "m.login.token", "token": token}, status=403)


# ---------------------------------------------------------------- limits and figures


async def test_too_many_logins_are_told_to_wait(start_server):
    server = await start_server(rates={"login": RateConfig(per_second=0.001, burst=2)})
    await server.app[app_keys.ACCOUNTS].create("alice", "sesame")
    for _ in range(2):
        await server.post("/login", password_login("alice"))

    answer = await server.post("/login", password_login("alice"), status=429)

    assert answer["errcode"] == "M_LIMIT_EXCEEDED"
    assert 0 < answer["retry_after_ms"] <= 1_000_000


async def test_guesses_at_one_account_are_limited_wherever_they_come_from(start_server):
    server = await start_server(
        rates={
            "login": RateConfig(1000, 1000),
            "login_account": RateConfig(per_second=0.001, burst=2),
        }
    )
    await server.app[app_keys.ACCOUNTS].create("alice", "sesame")
    for _ in range(2):
        await server.post("/login", password_login("alice", "wrong"), status=403)

    await server.post("/login", password_login("ALICE@one.example"), status=429)
    await server.post("/login", password_login("bob"), status=403)


async def test_a_device_shows_when_and_from_where_it_was_last_seen(server: Server):
    alice = await server.new_account("alice")
    server.clock.now += 61_000
    await whoami(server, alice.token)

    await server.app[app_keys.SESSIONS].write_sightings()

    device = await server.get(f"/devices/{alice.device_id}", token=alice.token)
    assert device["last_seen_ts"] == server.clock.now
    assert device["last_seen_ip"] == "127.0.0.1"


async def test_a_proxy_on_this_machine_says_from_where(server: Server):
    alice = await server.new_account("alice")
    server.clock.now += 61_000
    headers = {
        "Authorization": f"Bearer {alice.token}",
        "X-Forwarded-For": "198.51.100.7, 2001:db8::7",
    }
    async with server.client.get("/_matrix/client/v3/account/whoami", headers=headers):
        pass

    await server.app[app_keys.SESSIONS].write_sightings()

    device = await server.get(f"/devices/{alice.device_id}", token=alice.token)
    assert device["last_seen_ip"] == "2001:db8::7"


async def test_a_token_revoked_by_another_process_dies_within_a_minute(server: Server, database):
    alice = await server.new_account("alice")
    await whoami(server, alice.token)
    await database.execute("DELETE FROM access_tokens")

    server.clock.now += 60_000

    await whoami(server, alice.token, status=401)
