"""Password, deactivation, third-party identifiers, and the authentication they ask for."""

import asyncio

import pytest

from homeserver import app_keys
from tests.client_api.conftest import Account, Server


def proof(password: str = "sesame", **more) -> dict:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": password,
        **more,
    }


async def change(server: Server, alice: Account | None, auth: dict | None, **kwargs) -> dict:
    logout_devices = kwargs.pop("logout_devices", True)
    body = {"new_password": "open", "logout_devices": logout_devices}
    if auth is not None:
        body["auth"] = auth
    token = alice.token if alice is not None else None
    return await server.post("/account/password", body, token=token, **kwargs)


async def test_changing_the_password_asks_for_the_old_one(server: Server):
    alice = await server.new_account("alice")

    challenge = await change(server, alice, None, status=401)
    wrong = await change(server, alice, proof("wrong", session=challenge["session"]), status=401)
    await change(server, alice, proof(session=challenge["session"]))

    assert challenge["flows"] == [{"stages": ["m.login.password"]}]
    assert wrong["errcode"] == "M_FORBIDDEN"
    assert wrong["session"] == challenge["session"]
    await server.log_in("alice", "open")
    login = {"type": "m.login.password", "user": "alice", "password": "sesame"}
    await server.post("/login", login, status=403)


async def test_changing_the_password_logs_the_other_devices_out(server: Server):
    alice = await server.new_account("alice")
    other = await server.log_in("alice")

    await change(server, alice, proof())

    await server.get("/account/whoami", token=alice.token)
    await server.get("/account/whoami", token=other.token, status=401)
    assert server.others.deleted == [(alice.user_id, other.device_id)]


async def test_the_other_devices_may_stay(server: Server):
    alice = await server.new_account("alice")
    other = await server.log_in("alice")

    await change(server, alice, proof(), logout_devices=False)

    await server.get("/account/whoami", token=other.token)


async def test_without_a_token_the_password_says_who_it_is(server: Server):
    await server.new_account("alice")

    await change(server, None, None, status=401)
    await change(server, None, proof())

    await server.log_in("alice", "open")


async def test_one_user_cannot_give_the_password_of_another(server: Server):
    await server.new_account("alice")
    mallory = await server.new_account("mallory")

    answer = await change(server, mallory, proof(), status=401)

    assert answer["errcode"] == "M_FORBIDDEN"


@pytest.mark.parametrize("password", ["", "x" * 2000])
async def test_a_password_that_will_not_do_is_refused_at_once(server: Server, password: str):
    alice = await server.new_account("alice")

    answer = await server.post(
        "/account/password", {"new_password": password}, token=alice.token, status=400
    )

    assert answer["errcode"] == "M_WEAK_PASSWORD"


# ---------------------------------------------------------------- sessions of authentication


async def test_a_session_counts_for_its_own_operation(server: Server):
    alice = await server.new_account("alice")
    challenge = await change(server, alice, None, status=401)
    page = f"/_matrix/client/v3/auth/m.login.password/fallback/web?session={challenge['session']}"
    async with server.client.post(page, data={"user": "alice", "password": "sesame"}) as response:
        assert response.status == 200
        assert "window.onAuthDone" in await response.text()

    stolen = await server.post(
        "/account/deactivate",
        {"auth": {"session": challenge["session"]}},
        token=alice.token,
        status=401,
    )

    assert "completed" not in stolen
    assert stolen["session"] != challenge["session"]


async def test_what_was_completed_counts_for_one_request(server: Server):
    alice = await server.new_account("alice")
    challenge = await change(server, alice, None, status=401)
    session = {"session": challenge["session"]}
    page = f"/_matrix/client/v3/auth/m.login.password/fallback/web?session={challenge['session']}"
    async with server.client.post(page, data={"user": "alice", "password": "sesame"}) as response:
        assert response.status == 200

    other = {"new_password": "other", "auth": session}
    await server.post("/account/password", other, token=alice.token, status=401)
    await change(server, alice, session, status=401)


async def test_a_stage_completed_on_the_page_lets_the_request_through(server: Server):
    alice = await server.new_account("alice")
    challenge = await change(server, alice, None, status=401)
    page = f"/_matrix/client/v3/auth/m.login.password/fallback/web?session={challenge['session']}"
    async with server.client.get(page) as response:
        assert response.status == 200
        assert response.content_type == "text/html"
    async with server.client.post(page, data={"user": "alice", "password": "no"}) as response:
        assert response.status == 403
        assert "Wrong user name or password" in await response.text()
    await change(server, alice, {"session": challenge["session"]}, status=401)

    async with server.client.post(page, data={"user": "alice", "password": "sesame"}):
        pass
    await change(server, alice, {"session": challenge["session"]})

    await server.log_in("alice", "open")


async def test_the_page_names_what_is_confirmed(server: Server):
    alice = await server.new_account("alice")
    challenge = await change(server, alice, None, status=401)
    page = f"/_matrix/client/v3/auth/m.login.password/fallback/web?session={challenge['session']}"

    async with server.client.get(page) as response:
        shown = await response.text()
    async with server.client.post(page, data={"user": "alice", "password": "no"}) as response:
        refused = await response.text()

    for text in (shown, refused):
        assert "<strong>POST /_matrix/client/v3/account/password</strong>" in text
        assert "Go on only if you have just asked for it" in text


async def test_the_page_takes_no_password_for_a_session_that_somebody_began_without_a_token(
    server: Server,
):
    alice = await server.new_account("alice")
    challenge = await change(server, None, None, status=401)
    page = f"/_matrix/client/v3/auth/m.login.password/fallback/web?session={challenge['session']}"

    async with server.client.get(page) as response:
        assert response.status == 403
        assert "<form" not in await response.text()
    async with server.client.post(page, data={"user": "alice", "password": "sesame"}) as response:
        assert response.status == 403
        assert "onAuthDone" not in await response.text()
    refused = await change(server, None, {"session": challenge["session"]}, status=401)

    assert "completed" not in refused
    await server.log_in("alice", "sesame")
    await server.get("/account/whoami", token=alice.token)


async def test_the_page_knows_only_sessions_and_stages_of_this_server(server: Server):
    for path in ("m.login.dummy/fallback/web?session=x", "m.login.sso/fallback/web"):
        async with server.client.get(f"/_matrix/client/v3/auth/{path}") as response:
            page = await response.text()

        assert (response.status, response.content_type) == (404, "text/html")
        assert "That did not work" in page


async def test_a_session_expires(server: Server):
    alice = await server.new_account("alice")
    challenge = await change(server, alice, None, status=401)

    server.clock.now += 30 * 60_000

    again = await change(server, alice, {"session": challenge["session"]}, status=401)
    assert again["session"] != challenge["session"]


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "m.login.dummy"},
        {"type": 7},
        {"type": ["m.login.password"]},
        {"type": "m.login.password"},
        {"type": "m.login.password", "password": 7},
        {"type": "m.login.password", "session": 7, "password": "no"},
        {"session": "a\0b"},
    ],
)
async def test_malformed_proof_is_no_proof(server: Server, auth: dict):
    alice = await server.new_account("alice")

    answer = await change(server, alice, auth, status=401)

    assert answer["flows"] == [{"stages": ["m.login.password"]}]


# ---------------------------------------------------------------- deactivation


async def test_a_deactivated_account_is_gone_but_for_its_name(server: Server):
    alice = await server.new_account("alice", refresh_token=True)
    await server.put(f"/user/{alice.user_id}/account_data/org.example", {"a": 1}, token=alice.token)
    await server.post("/account/deactivate", {}, token=alice.token, status=401)

    answer = await server.post("/account/deactivate", {"auth": proof()}, token=alice.token)

    assert answer == {"id_server_unbind_result": "success"}
    await server.get("/account/whoami", token=alice.token, status=401)
    await server.post("/refresh", {"refresh_token": alice.refresh_token}, status=401)
    login = {"type": "m.login.password", "user": "alice", "password": "sesame"}
    refused = await server.post("/login", login, status=403)
    assert refused["errcode"] == "M_FORBIDDEN"
    await server.get("/register/available?username=alice", status=400)
    assert server.others.left_all == [alice.user_id]
    assert server.others.deleted == [(alice.user_id, alice.device_id)]
    assert await server.get(f"/profile/{alice.user_id}") == {}


async def test_erasure_takes_profile_and_account_data_too(server: Server, database):
    alice = await server.new_account("alice")
    await server.put(f"/user/{alice.user_id}/account_data/org.example", {"a": 1}, token=alice.token)

    body = {"auth": proof(), "erase": True}
    await server.post("/account/deactivate", body, token=alice.token)

    assert await server.get(f"/profile/{alice.user_id}") == {}
    assert await database.fetchval("SELECT count(*) FROM account_data") == 0
    assert await database.fetchval("SELECT erased FROM accounts")


async def test_what_a_crash_interrupts_is_finished_at_the_next_start(server: Server, database):
    alice = await server.new_account("alice")
    await database.execute("UPDATE accounts SET deactivated_at = 1")

    await server.app[app_keys.ACCOUNTS].resume()
    await asyncio.wait_for(server.others.left.wait(), 10)

    assert server.others.left_all == [alice.user_id]
    assert await database.fetchval("SELECT count(*) FROM access_tokens") == 0


# ---------------------------------------------------------------- the rest


async def test_a_third_party_learns_whose_openid_token_it_was_given(server: Server):
    alice = await server.new_account("alice")
    path = f"/user/{alice.user_id}/openid/request_token"
    userinfo = "/_matrix/federation/v1/openid/userinfo?access_token="

    answer = await server.post(path, token=alice.token)

    assert answer["matrix_server_name"] == "one.example"
    assert answer["token_type"] == "Bearer"
    assert await server.get(userinfo + answer["access_token"]) == {"sub": alice.user_id}
    await server.get("/account/whoami", token=answer["access_token"], status=401)
    await server.get(f"{userinfo}A{answer['access_token']}", status=401)
    server.clock.now += answer["expires_in"] * 1000
    await server.get(userinfo + answer["access_token"], status=401)


async def test_versions_capabilities_and_well_known(server: Server):
    alice = await server.new_account("alice")

    versions = await server.get("/_matrix/client/versions")
    capabilities = (await server.get("/capabilities", token=alice.token))["capabilities"]
    well_known = await server.get("/.well-known/matrix/client")

    assert versions["versions"][0] == "v1.1"
    assert versions["versions"][-1] == "v1.19"
    assert capabilities["m.room_versions"]["default"] == "12"
    assert set(capabilities["m.room_versions"]["available"]) == {str(n) for n in range(1, 13)}
    assert capabilities["m.3pid_changes"] == {"enabled": False}
    assert well_known == {"m.homeserver": {"base_url": "https://matrix.one.example"}}
