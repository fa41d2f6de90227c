"""Clients register themselves, and log devices without a browser in; sessions end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from homeserver.services.oauth import clients
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.oauth_people import (
    CLIENT,
    LINK,
    OAUTH,
    Browser,
    Client,
    password_login,
    post,
    scope,
    shared_instance,
    who,
)
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")
REGISTER = f"{OAUTH}/register"


# ---------------------------------------------------------------- registration


async def test_the_specs_example_is_registered_without_what_is_not_known_here(
    one: Instance,
) -> None:
    metadata = {
        "client_name": "My App",
        "client_name#fr": "Mon application",
        "client_uri": "https://example.com/",
        "logo_uri": "https://example.com/logo.png",
        "tos_uri": "https://example.com/tos.html",
        "policy_uri": "https://example.com/policy.html",
        "redirect_uris": ["https://app.example.com/callback"],
        "token_endpoint_auth_method": "none",
        "response_types": ["code"],
        "grant_types": [
            "authorization_code",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "application_type": "web",
    }

    answer = await one.call("POST", REGISTER, metadata, status=201)

    del answer["client_id"], answer["client_id_issued_at"], metadata["client_name#fr"]
    assert answer == {**metadata, "grant_types": ["authorization_code", "refresh_token"]}


async def test_the_same_metadata_are_the_same_client(one: Instance) -> None:
    first = await one.call("POST", REGISTER, CLIENT, status=201)
    again = await one.call("POST", REGISTER, dict(reversed(CLIENT.items())), status=201)
    other = await one.call("POST", REGISTER, {**CLIENT, "client_name": "Other"}, status=201)

    assert again["client_id"] == first["client_id"] != other["client_id"]


NATIVE = {"application_type": "native", "client_uri": "https://example.com/"}


@pytest.mark.parametrize(
    "uri",
    [
        "com.example.app:/callback",
        "com.example:/",
        "com.example:callback",
        "http://localhost/callback",
        "http://127.0.0.1/callback",
        "http://[::1]/callback",
        "https://example.com/callback",
        "https://app.example.com/callback",
        "https://example.com:5173/?query=value",
    ],
)
async def test_redirect_uris_of_native_clients(one: Instance, uri: str) -> None:
    metadata = {**CLIENT, **NATIVE, "redirect_uris": [uri]}

    answer = await one.call("POST", REGISTER, metadata, status=201)

    assert answer["redirect_uris"] == [uri]


@pytest.mark.parametrize(
    "uri",
    [
        "example:/callback",
        "com.example.app://callback",
        "com.examples:/callback",
        "com:/callback",
        "com.example.app:/callback#fragment",
        "https://localhost/callback",
        "http://localhost:1234/callback",
        "http://user@localhost/callback",
        "http://localhost.evil.test/callback",
        "http://192.168.0.1/callback",
        "https://evil.test/callback",
        "https://example.com.evil.test/callback",
        "https://notexample.com/callback",
        "https://user:password@example.com/callback",
        "https://example.com/callback#",
        "https:///callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://example.com/\\evil",
        "https://example.com:port/",
        "https://[::1/",
        "",
        "x" * 3_000,
    ],
)
async def test_redirect_uris_that_no_client_may_have(one: Instance, uri: str) -> None:
    for kind in ("native", "web"):
        metadata = {**CLIENT, **NATIVE, "application_type": kind, "redirect_uris": [uri]}

        refused = await one.call("POST", REGISTER, metadata, status=400)

        assert refused["error"] in ("invalid_redirect_uri", "invalid_client_metadata")


@pytest.mark.parametrize(
    "uri", ["com.example.app:/callback", "http://localhost/callback", "http://example.com/callback"]
)
async def test_web_clients_are_on_the_web(one: Instance, uri: str) -> None:
    metadata = {**CLIENT, "client_uri": "https://example.com/", "redirect_uris": [uri]}

    refused = await one.call("POST", REGISTER, metadata, status=400)

    assert refused["error"] == "invalid_redirect_uri"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_uri": None},
        {"client_uri": "http://client.test/"},
        {"client_uri": "https://user@client.test/"},
        {"client_uri": ["https://client.test/"]},
        {"client_name": 7},
        {"client_name": "x" * 300},
        {"client_name": "two\nlines"},
        {"logo_uri": "https://elsewhere.test/logo.png"},
        {"tos_uri": "http://client.test/tos"},
        {"policy_uri": "javascript:alert(1)"},
        {"application_type": "toaster"},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"redirect_uris": "https://client.test/"},
        {"redirect_uris": [7]},
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": ["https://client.test/"] * 51},
        {"grant_types": {"authorization_code": True}},
        {"contacts": "me"},
        {"contacts": ["x" * 1_000] * 20},
    ],
)
async def test_metadata_that_do_not_hold_together_are_refused(
    one: Instance, changes: dict[str, Any]
) -> None:
    refused = await one.call("POST", REGISTER, {**CLIENT, **changes}, status=400)

    assert refused["error"] in ("invalid_client_metadata", "invalid_redirect_uri")
    assert refused["error_description"]


async def test_a_page_of_a_client_may_be_a_part_of_one(one: Instance) -> None:
    page = "https://client.test/legal#privacy"
    pages = {"client_uri": "https://client.test/#/", "tos_uri": page, "policy_uri": page}

    answer = await one.call("POST", REGISTER, {**CLIENT, **pages}, status=201)

    assert pages.items() <= answer.items()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"client_uri": "\\u0000"}'])
async def test_what_is_no_document_is_refused(one: Instance, body: bytes) -> None:
    async with one.client.post(REGISTER, data=body) as response:
        answer = await response.json()

    assert (response.status, answer["error"]) == (400, "invalid_client_metadata")


async def test_a_loopback_address_may_have_any_port(one: Instance, browser: Browser) -> None:
    metadata = {**NATIVE, "redirect_uris": ["http://127.0.0.1/callback"]}
    client = await Client.register(one, **metadata)
    uri = "http://127.0.0.1:50123/callback"

    code = await client.code(browser, redirect_uri=uri)
    others = ["http://127.0.0.1:1/other", "http://localhost:1/callback", "http://127.0.0.1.x:1/"]
    refused = [await browser.open(client.request(redirect_uri=other)) for other in others]

    assert [page.status for page in refused] == [400, 400, 400]
    await client.redeem(code, 400)
    code = await client.code(browser, redirect_uri=uri)
    assert (await client.redeem(code, redirect_uri=uri))["access_token"]


async def test_an_application_on_a_telephone_is_gone_back_to(
    one: Instance, browser: Browser
) -> None:
    metadata = {**NATIVE, "redirect_uris": ["com.example.app:/callback"]}
    client = await Client.register(one, **metadata)
    await browser.open(
        client.request(redirect_uri="com.example.app:/callback", response_mode="query")
    )
    consent = await browser.sign_in()

    page = await browser.submit(answer="allow")

    assert "form-action 'self' com.example.app:;" in consent.headers["Content-Security-Policy"]
    assert page.location.startswith("com.example.app:/callback?code=cmc_")


async def test_an_admin_can_say_whose_clients_may_register(
    postgres: TestPostgres, tmp_path: Any
) -> None:
    hosts = {"client_hosts": ["client.test"]}
    async with shared_instance(postgres, tmp_path, oauth=hosts) as one:
        await one.call("POST", REGISTER, CLIENT, status=201)
        other = {**CLIENT, **NATIVE, "redirect_uris": ["com.example:/"]}

        refused = await one.call("POST", REGISTER, other, status=400)

    assert refused["error"] == "invalid_client_metadata"


async def test_a_server_without_the_api_says_so(postgres: TestPostgres, tmp_path: Any) -> None:
    async with shared_instance(postgres, tmp_path, oauth={"enabled": False}) as one:
        for method, path in (
            ("GET", "/_matrix/client/v1/auth_metadata"),
            ("POST", REGISTER),
            ("GET", "/_comity/account"),
        ):
            assert (await one.call(method, path, status=404))["errcode"] == "M_UNRECOGNIZED"
        flows = (await one.call("GET", "/login"))["flows"]

    assert "m.login.sso" not in [flow["type"] for flow in flows]


async def test_clients_that_nobody_uses_are_forgotten(
    one: Instance, database: Database, browser: Browser
) -> None:
    used = await Client.register(one, client_name="Used")
    unused = await Client.register(one, client_name="Unused")
    await used.log_in(browser)
    await database.execute("UPDATE oauth_clients SET created_at = 1")
    await database.execute("DELETE FROM oauth_authorizations")
    one.wiring.oauth.clients._pruned_at = one.wiring.oauth.clients._counted_at = 0

    await Client.register(one, client_name="One more")

    left = [row["client_id"] for row in await database.fetch("SELECT client_id FROM oauth_clients")]
    assert used.client_id in left
    assert unused.client_id not in left


async def test_a_flood_of_clients_is_forgotten_sooner(
    one: Instance, database: Database, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MOST_UNUSED", 3)
    used = await Client.register(one, client_name="Used")
    await used.log_in(browser)
    hours_ago = int(time.time() * 1000) - 2 * clients.UNUSED_FOR_MS_WITH_MANY
    await database.execute("DELETE FROM oauth_authorizations")
    flood = [await Client.register(one, client_name=f"Flood {number}") for number in range(3)]
    await database.execute("UPDATE oauth_clients SET created_at = $1", hours_ago)
    fresh = await Client.register(one, client_name="Begins to log in")
    one.wiring.oauth.clients._pruned_at = one.wiring.oauth.clients._counted_at = 0

    await Client.register(one, client_name="One more")

    left = {row["client_id"] for row in await database.fetch("SELECT client_id FROM oauth_clients")}
    assert {used.client_id, fresh.client_id} <= left
    assert not left.intersection(client.client_id for client in flood)


# ---------------------------------------------------------------- ending


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
@pytest.mark.parametrize("known", [True, False])
async def test_revoking_a_token_ends_the_device(
    one: Instance, browser: Browser, client: Client, which: str, known: bool
) -> None:
    other = await client.log_in(browser, scope=scope("OTHER"))
    tokens = await client.log_in(browser)
    fields = {"token": tokens[which], "token_type_hint": which}

    await post(one, "revoke", fields | ({"client_id": client.client_id} if known else {}))
    await post(one, "revoke", fields)

    await who(one, tokens["access_token"], 401)
    await client.refresh(tokens["refresh_token"], 400)
    devices = await one.call("GET", "/devices", token=other["access_token"])
    ids = [device["device_id"] for device in devices["devices"]]
    assert "PHONE" not in ids
    assert "OTHER" in ids


async def test_revoking_what_is_no_token_is_fine(one: Instance) -> None:
    await post(one, "revoke", {"token": "unknown"})

    refused = await post(one, "revoke", {}, status=400)

    assert refused["error"] == "invalid_request"


async def test_logging_in_by_a_password_takes_a_device_over(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    body = password_login(browser.user) | {"device_id": "PHONE"}

    await one.call("POST", "/login", body)

    await who(one, tokens["access_token"], 401)
    await client.refresh(tokens["refresh_token"], 400)


async def test_who_would_lose_a_device_to_a_client_is_told(
    one: Instance, browser: Browser, client: Client
) -> None:
    other = await Client.register(one, client_name="Another")
    fresh = await browser.open(other.request())
    fresh = await browser.sign_in()
    await client.log_in(browser)

    asked = await browser.open(other.request())
    television = await other.token_of_device("PHONE")
    linked = await browser.open(LINK, user_code=television["user_code"])

    assert "with this ID already" not in fresh.text
    for page in (asked, linked):
        assert "You have a device with this ID already" in page.text
        assert "<strong><bdi>A client</bdi></strong>" in page.text


async def test_a_client_can_refresh_whatever_it_has_registered(
    one: Instance, browser: Browser
) -> None:
    client = await Client.register(one, grant_types=["authorization_code"])
    tokens = await client.log_in(browser)

    renewed = await client.refresh(tokens["refresh_token"])

    await who(one, renewed["access_token"])


async def test_a_client_without_a_name_is_called_by_its_page(
    one: Instance, browser: Browser
) -> None:
    client = await Client.register(one, client_name="   ")
    await browser.open(client.request())

    page = await browser.sign_in()

    assert "The application <strong><bdi>client.test</bdi></strong>" in page.text


async def test_logging_in_again_with_a_device_voids_its_tokens(
    one: Instance, browser: Browser, client: Client
) -> None:
    first = await client.log_in(browser)

    second = await client.log_in(browser)

    await who(one, first["access_token"], 401)
    await client.refresh(first["refresh_token"], 400)
    await who(one, second["access_token"])
