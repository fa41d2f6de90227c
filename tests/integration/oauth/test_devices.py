"""Devices without a browser are logged in with a code."""

from __future__ import annotations

import time

import pytest

from homeserver.storage.database import Database
from tests.integration.oauth_people import LINK, Browser, Client, post, scope, who
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_device_without_a_browser_is_logged_in(
    one: Instance, browser: Browser, client: Client
) -> None:
    asked = await client.token_of_device("TELEVISION")
    waiting = await client.poll(asked["device_code"], 400)
    faster = await client.poll(asked["device_code"], 400)

    await browser.open(LINK)
    entered = await browser.sign_in()
    code = asked["user_code"].replace("-", " ").lower()
    consent = await browser.open(LINK, user_code=code)
    done = await browser.submit(answer="allow")
    tokens = await client.poll(asked["device_code"])
    again = await client.poll(asked["device_code"], 400)

    assert (waiting["error"], faster["error"]) == ("authorization_pending", "slow_down")
    assert asked["interval"] == 5
    assert asked["verification_uri_complete"].endswith(f"/link?user_code={asked['user_code']}")
    assert "shows a code" in entered.text
    assert asked["user_code"] in consent.text
    assert "go back to your device" in done.text
    known = await who(one, tokens["access_token"])
    assert (known["user_id"], known["device_id"]) == (f"@{browser.user}:one.test", "TELEVISION")
    assert tokens["scope"] == scope("TELEVISION")
    assert again["error"] == "invalid_grant"
    await client.refresh(tokens["refresh_token"])


@pytest.mark.parametrize(
    ("ip", "here"),
    [
        ("127.0.0.1", "you come from there, too"),
        ("203.0.113.7", "you come from 127.0.0.1"),
        (None, "you come from 127.0.0.1"),
    ],
)
async def test_who_enters_a_code_is_told_who_has_asked_for_it(
    database: Database, browser: Browser, client: Client, ip: str | None, here: str
) -> None:
    asked = await client.token_of_device()
    await database.execute(
        "UPDATE oauth_device_codes SET created_at = $1, ip = $2, user_agent = $3",
        1_789_000_000_000,
        ip,
        "A <TV> app/1.0",
    )
    await browser.open(LINK, user_code=asked["user_code"])

    page = await browser.sign_in()

    assert "2026-09-10 00:26 UTC" in page.text
    assert f"<dd>{ip or 'an unknown address'} ({here})</dd>" in page.text
    assert "A &lt;TV&gt; app/1.0" in page.text
    assert "has sent you the code" in page.text


async def test_it_is_noted_who_asks_for_a_code(database: Database, client: Client) -> None:
    await client.token_of_device("NOTED")

    row = await database.fetchrow(
        "SELECT ip, user_agent FROM oauth_device_codes WHERE scope LIKE '%NOTED'"
    )

    assert row is not None
    assert row["ip"] == "127.0.0.1"
    assert "aiohttp" in row["user_agent"]


async def test_a_device_that_is_not_allowed_is_told_so(browser: Browser, client: Client) -> None:
    asked = await client.token_of_device()
    await browser.open(LINK, user_code=asked["user_code"])
    await browser.sign_in()

    await browser.submit(answer="refuse")

    assert (await client.poll(asked["device_code"], 400))["error"] == "access_denied"


async def test_a_devices_code_expires(database: Database, browser: Browser, client: Client) -> None:
    asked = await client.token_of_device()
    minute_ago = int(time.time() * 1000) - 60_000
    await database.execute("UPDATE oauth_device_codes SET expires_at = $1", minute_ago)

    page = await browser.open(LINK, user_code=asked["user_code"])
    page = await browser.sign_in()

    assert page.status == 404
    assert (await client.poll(asked["device_code"], 400))["error"] == "expired_token"


async def test_a_device_code_is_its_clients_alone(
    one: Instance, browser: Browser, client: Client
) -> None:
    other = await Client.register(one, client_name="Another")
    asked = await client.token_of_device()
    await browser.open(LINK, user_code=asked["user_code"])
    await browser.sign_in()
    await browser.submit(answer="allow")

    refused = await other.poll(asked["device_code"], 400)

    assert refused["error"] in ("invalid_grant", "unauthorized_client")
    await client.poll(asked["device_code"])


@pytest.mark.parametrize("code", ["", "BCDF-GHJK", "x" * 21, "ÄÖÜ", "' OR 1=1"])
async def test_a_code_that_no_device_shows_is_refused(
    browser: Browser, client: Client, code: str
) -> None:
    await browser.open("/_comity/account/sign-in")
    await browser.sign_in()

    page = await browser.open(LINK, user_code=code)

    assert page.status == (404 if code else 200)
    assert 'name="answer"' not in page.text


async def test_a_client_that_has_not_registered_the_grant_gets_no_code(one: Instance) -> None:
    client = await Client.register(one, grant_types=["authorization_code", "refresh_token"])
    fields = {"client_id": client.client_id, "scope": scope("X")}

    refused = await post(one, "device", fields, status=400)
    unknown = await post(one, "device", {**fields, "client_id": "unknown"}, status=400)
    unscoped = await (await Client.register(one)).token(400, grant_type="refresh_token")

    assert refused["error"] == "unauthorized_client"
    assert unknown["error"] == "invalid_client"
    assert unscoped["error"] == "invalid_request"
