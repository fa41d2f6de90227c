"""What attackers try with refresh tokens, each by its own test."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from homeserver.services.sessions import Origin
from homeserver.storage.database import Database
from tests.integration.oauth_people import OAUTH, Browser, Client, password_login, scope, who
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_refresh_can_be_repeated_until_its_answer_is_used(
    one: Instance, browser: Browser, client: Client
) -> None:
    first = await client.log_in(browser)

    await client.refresh(first["refresh_token"])  # the answer is lost
    second = await client.refresh(first["refresh_token"])

    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == scope("PHONE")
    await who(one, second["access_token"])
    await who(one, first["access_token"], 401)


async def test_a_used_refresh_token_that_comes_back_ends_the_session(
    one: Instance, browser: Browser, client: Client
) -> None:
    first = await client.log_in(browser)
    second = await client.refresh(first["refresh_token"])
    await who(one, second["access_token"])  # so the first pair is void

    stolen = await client.refresh(first["refresh_token"], 400)

    assert stolen["error"] == "invalid_grant"
    await who(one, second["access_token"], 401)
    await client.refresh(second["refresh_token"], 400)


async def test_two_who_have_the_same_refresh_token_cannot_both_go_on(
    one: Instance, browser: Browser, client: Client
) -> None:
    first = await client.log_in(browser)
    thief = await client.refresh(first["refresh_token"])
    owner = await client.refresh(first["refresh_token"])  # so what the thief has is void

    late = await client.refresh(thief["refresh_token"], 400)

    assert late["error"] == "invalid_grant"
    await who(one, owner["access_token"], 401)
    await client.refresh(owner["refresh_token"], 400)
    await client.refresh(first["refresh_token"], 400)


async def test_old_and_new_refresh_tokens_used_at_once_leave_nobody_in(
    one: Instance, browser: Browser, client: Client
) -> None:
    first = await client.log_in(browser)
    second = await client.refresh(first["refresh_token"])

    async def refresh(token: str) -> tuple[int, str]:
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": token,
            "client_id": client.client_id,
        }
        async with one.client.post(f"{OAUTH}/token", data=fields) as response:
            return response.status, (await response.json()).get("access_token", "")

    async def use(token: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"}
        path = "/_matrix/client/v3/account/whoami"
        async with one.client.get(path, headers=headers) as response:
            return response.status, ""

    answers = await asyncio.gather(
        *(refresh(pair["refresh_token"]) for pair in [first, second] * 4),
        *(use(second["access_token"]) for _ in range(3)),
    )

    assert {status for status, _ in answers} <= {200, 400, 401}
    for pair in (first, second):
        await client.refresh(pair["refresh_token"], 400)
    for _, token in answers:
        await who(one, token or "none", 401)


async def test_old_and_new_refresh_tokens_of_the_legacy_api_do_not_block_each_other(
    one: Instance, browser: Browser
) -> None:
    login = {**password_login(browser.user), "refresh_token": True}
    first = await one.call("POST", "/login", login)
    second = await one.call("POST", "/refresh", {"refresh_token": first["refresh_token"]})

    async def refresh(token: str) -> int:
        body = {"refresh_token": token}
        async with one.client.post("/_matrix/client/v3/refresh", json=body) as response:
            return response.status

    statuses = await asyncio.gather(
        *(refresh(pair["refresh_token"]) for pair in [first, second] * 6)
    )

    assert set(statuses) <= {200, 401}


async def test_who_comes_back_with_a_stolen_token_is_out_though_the_process_dies(
    one: Instance, browser: Browser, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await client.log_in(browser)
    second = await client.refresh(first["refresh_token"])
    await who(one, second["access_token"])

    async def die(_session: object) -> None:
        raise asyncio.CancelledError

    tokens = one.wiring.oauth.tokens
    with monkeypatch.context() as patched, suppress(asyncio.CancelledError):
        patched.setattr(tokens, "end", die)
        form = {"grant_type": ["refresh_token"], "refresh_token": [first["refresh_token"]]}
        await tokens.exchange({**form, "client_id": [client.client_id]}, Origin())

    await who(one, second["access_token"], 401)
    await client.refresh(second["refresh_token"], 400)


async def test_an_invented_refresh_token_ends_nothing(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    token = tokens["refresh_token"]

    for invented in ("", "cmr_", "cmr_!", token[:-4] + "AAAA", token[:30], "x" * 5_000, token * 9):
        refused = await client.refresh(invented, 400)
        assert refused["error"] in ("invalid_grant", "invalid_request")

    await who(one, tokens["access_token"])


async def test_another_client_cannot_refresh(
    one: Instance, browser: Browser, client: Client
) -> None:
    other = await Client.register(one, client_name="Another")
    tokens = await client.log_in(browser)

    refused = await other.refresh(tokens["refresh_token"], 400)

    assert refused["error"] == "invalid_grant"
    await client.refresh(tokens["refresh_token"])


async def test_a_scope_does_not_grow(browser: Browser, client: Client) -> None:
    tokens = await client.log_in(browser)

    refused = await client.refresh(tokens["refresh_token"], 400, scope=scope("OTHER"))

    assert refused["error"] == "invalid_scope"


async def test_the_two_apis_do_not_take_each_others_refresh_tokens(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    login = password_login(browser.user) | {"refresh_token": True}
    legacy = await one.call("POST", "/login", login)

    body = {"refresh_token": tokens["refresh_token"]}
    refused = await one.call("POST", "/refresh", body, status=401)
    refused_too = await client.refresh(legacy["refresh_token"], 400)

    assert refused["errcode"] == "M_UNKNOWN_TOKEN"
    assert refused_too["error"] == "invalid_grant"
    await client.refresh(tokens["refresh_token"])
    await one.call("POST", "/refresh", {"refresh_token": legacy["refresh_token"]})


async def test_an_unused_session_lapses(
    database: Database, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    await database.execute("UPDATE refresh_tokens SET created_at = 1")

    refused = await client.refresh(tokens["refresh_token"], 400)

    assert refused["error"] == "invalid_grant"


async def test_an_expired_access_token_is_softly_logged_out(
    one: Instance, database: Database, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    await database.execute("UPDATE access_tokens SET expires_at = 1 WHERE expires_at IS NOT NULL")

    refused = await who(one, tokens["access_token"], 401)

    assert refused["soft_logout"] is True
    await who(one, (await client.refresh(tokens["refresh_token"]))["access_token"])
