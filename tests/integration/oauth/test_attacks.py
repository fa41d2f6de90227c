"""What attackers try at the OAuth 2.0 API, each by its own test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeserver.protocol.identifiers import UserId
from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.oauth_people import (
    API,
    OAUTH,
    REDIRECT,
    Browser,
    Client,
    post,
    scope,
    shared_instance,
    somebody,
    who,
)
from tests.integration.single import Instance

EVIL = "https://evil.test/callback"


pytestmark = pytest.mark.asyncio(loop_scope="module")


# ---------------------------------------------------------------- redirect URIs


@pytest.mark.parametrize(
    "uri",
    [
        EVIL,
        None,
        "https://app.client.test/callback/",
        "https://app.client.test/callback?more",
        "https://app.client.test/callback#fragment",
        "https://app.client.test/callback/../other",
        "https://app.client.test:8443/callback",
        "http://app.client.test/callback",
        "https://app.client.test@evil.test/callback",
        "HTTPS://app.client.test/callback",
        "https://app.client.test/callback\u0000",
        'https://app.client.test/"callback',
        "//app.client.test/callback",
    ],
)
async def test_nobody_is_sent_to_an_address_that_is_not_registered(
    browser: Browser, client: Client, uri: str | None
) -> None:
    page = await browser.open(client.request(redirect_uri=uri))

    assert page.status == 400
    assert "not valid" in page.text or "NUL" in page.text
    assert "Location" not in page.headers


async def test_a_code_is_bound_to_the_redirect_uri_it_was_asked_for_with(
    browser: Browser, client: Client
) -> None:
    code = await client.code(browser)

    refused = await client.redeem(code, 400, redirect_uri="https://app.client.test/other?a=b")

    assert refused["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "then",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "/_comity/account/\\..",
        "/_comity/accounts.evil.test",
        "javascript:alert(1)",
        "/_comity/account/\r\nLocation: https://evil.test",
        "/_comity/linkevil",
    ],
)
async def test_a_sign_in_leads_nowhere_else(browser: Browser, then: str) -> None:
    await browser.open("/_comity/account/sign-in", then=then)

    page = await browser.sign_in()

    assert (page.status, page.url.path) == (200, "/_comity/account")
    assert "Location" not in page.headers


# ---------------------------------------------------------------- PKCE


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "too short"},
    ],
)
async def test_a_request_without_s256_is_refused(
    browser: Browser, client: Client, changes: dict[str, Any]
) -> None:
    page = await browser.open(client.request(**changes))

    answer = page.answer()
    assert page.way_back.startswith(REDIRECT + "#")
    assert (answer["error"], answer["state"]) == ("invalid_request", "a state & more")


@pytest.mark.parametrize("verifier", ["x" * 43, "", "\u0000" * 43, "é" * 43])
async def test_a_code_without_its_verifier_is_worth_nothing(
    one: Instance, browser: Browser, client: Client, verifier: str
) -> None:
    code = await client.code(browser)

    refused = await client.redeem(code, 400, code_verifier=verifier)

    assert refused["error"] in ("invalid_grant", "invalid_request")


async def test_a_guess_at_the_verifier_uses_the_code_up(browser: Browser, client: Client) -> None:
    code = await client.code(browser)
    await client.redeem(code, 400, code_verifier="x" * 43)

    refused = await client.redeem(code, 400)

    assert refused["error"] == "invalid_grant"


# ---------------------------------------------------------------- codes


async def test_a_code_that_is_used_again_ends_what_it_has_begun(
    one: Instance, browser: Browser, client: Client
) -> None:
    code = await client.code(browser)
    tokens = await client.redeem(code)

    refused = await client.redeem(code, 400)

    assert refused["error"] == "invalid_grant"
    gone = await who(one, tokens["access_token"], 401)
    assert gone["errcode"] == "M_UNKNOWN_TOKEN"
    assert "soft_logout" not in gone
    await client.refresh(tokens["refresh_token"], 400)


async def test_a_code_of_long_ago_does_not_end_a_later_session_of_the_device(
    one: Instance, browser: Browser, client: Client
) -> None:
    old = await client.code(browser)
    await client.redeem(old)
    tokens = await client.log_in(browser)

    await client.redeem(old, 400)

    await who(one, tokens["access_token"])


async def test_a_code_expires(
    one: Instance, database: Database, browser: Browser, client: Client
) -> None:
    code = await client.code(browser)
    await database.execute("UPDATE oauth_authorizations SET code_expires_at = 1")

    refused = await client.redeem(code, 400)

    assert refused["error"] == "invalid_grant"


async def test_another_client_cannot_use_a_code(
    one: Instance, browser: Browser, client: Client
) -> None:
    other = await Client.register(one, client_name="Another")
    other.verifier = client.verifier
    code = await client.code(browser)

    refused = await other.redeem(code, 400)

    assert refused["error"] == "invalid_grant"


async def test_two_who_present_a_code_at_once_do_not_both_get_tokens(
    one: Instance, browser: Browser, client: Client
) -> None:
    code = await client.code(browser)
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "client_id": client.client_id,
        "code_verifier": client.verifier,
    }

    async def redeem() -> int:
        async with one.client.post(f"{OAUTH}/token", data=fields) as response:
            return response.status

    statuses = await asyncio.gather(*(redeem() for _ in range(5)))

    assert sorted(statuses) == [200, 400, 400, 400, 400]


async def test_nothing_that_opens_a_door_is_in_the_database(
    database: Database, browser: Browser, client: Client
) -> None:
    code = await client.code(browser)
    tokens = await client.redeem(code)
    asked = await client.token_of_device()

    stored = []
    for table in (
        *("oauth_authorizations", "oauth_sessions", "oauth_device_codes", "account_sessions"),
        *("access_tokens", "refresh_tokens"),
    ):
        stored += [str(dict(row)) for row in await database.fetch(f"SELECT * FROM {table}")]
    secrets = [code, tokens["access_token"], tokens["refresh_token"], asked["device_code"]]
    secrets += [asked["user_code"].replace("-", ""), *browser.cookies.values()]
    assert len(stored) >= 6
    assert [secret for secret in secrets if any(secret in row for row in stored)] == []


# ---------------------------------------------------------------- scopes


@pytest.mark.parametrize(
    "asked",
    [
        None,
        "openid",
        API,
        "urn:matrix:client:device:PHONE",
        f"{scope('ONE')} urn:matrix:client:device:TWO",
        scope(""),
        scope("é"),
        scope("x" * 256),
        scope('"'),
    ],
)
async def test_a_scope_that_is_no_matrix_clients_is_refused(
    browser: Browser, client: Client, asked: str | None
) -> None:
    page = await browser.open(client.request(scope=asked))

    assert page.answer()["error"] == "invalid_scope"


async def test_scopes_as_older_clients_spell_them_are_granted_so(
    one: Instance, browser: Browser, client: Client
) -> None:
    older = "urn:matrix:org.matrix.msc2967.client:"
    asked = f"openid {older}api:* {older}device:PHONE email"

    tokens = await client.log_in(browser, scope=asked)

    assert tokens["scope"] == f"openid {older}api:* {older}device:PHONE"
    assert (await who(one, tokens["access_token"]))["device_id"] == "PHONE"


# ---------------------------------------------------------------- forms, cookies, frames


async def test_a_form_of_another_site_grants_nothing(browser: Browser, client: Client) -> None:
    await browser.open(client.request())
    await browser.sign_in()
    assert browser.page is not None

    for token in ("", "x", "é"):
        page = await browser.submit(answer="allow", form_token=token)
        assert page.status == 403
        assert "Location" not in page.headers
        browser.page = await browser.open(page.url.path)


async def test_a_form_of_another_browser_grants_nothing(
    one: Instance, browser: Browser, client: Client
) -> None:
    asked = await browser.open(client.request())
    consent = await browser.sign_in()
    async with somebody(one) as mallory:
        await mallory.open("/_comity/account/sign-in")
        await mallory.sign_in()
        mallory.page = consent

        page = await mallory.submit(answer="allow")

    assert asked.status == 200
    assert page.status == 403


async def test_a_cookie_that_was_planted_is_not_signed_in(one: Instance, browser: Browser) -> None:
    async with somebody(one) as mallory:
        await mallory.open("/_comity/account/sign-in")
        planted = mallory.cookies
        browser.plant(planted)
        await browser.open("/_comity/account")
        await browser.sign_in()

        page = await mallory.open("/_comity/account")

    assert browser.cookies != planted
    assert "Sign in" in page.text


async def test_pages_cannot_be_framed_and_run_no_scripts(browser: Browser, client: Client) -> None:
    page = await browser.open(client.request())
    consent = await browser.sign_in()

    for shown in (page, consent):
        policy = shown.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "<script" not in shown.text
        assert shown.headers["Cache-Control"] == "no-store"
        assert shown.headers["Referrer-Policy"] == "no-referrer"
    assert "form-action 'self' https:;" in consent.headers["Content-Security-Policy"]
    assert "form-action 'self';" in page.headers["Content-Security-Policy"]


async def test_cookies_are_for_us_alone(postgres: TestPostgres, tmp_path: Path) -> None:
    async with (
        shared_instance(postgres, tmp_path, public_base_url="https://one.test") as one,
        one.client.get("/_comity/account/sign-in") as response,
    ):
        cookie = response.headers["Set-Cookie"]

    assert cookie.startswith("__Host-comity_account=")
    for attribute in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/"):
        assert attribute in cookie
    assert "Domain" not in cookie


async def test_what_a_client_calls_itself_is_text(one: Instance, browser: Browser) -> None:
    client = await Client.register(one, client_name="<script>alert(1)</script>{user}")
    await browser.open(client.request())

    consent = await browser.sign_in()

    assert "<script" not in consent.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{user}" in consent.text


async def test_a_request_is_answered_once(browser: Browser, client: Client) -> None:
    await browser.open(client.request())
    consent = await browser.sign_in()
    await browser.submit(answer="allow")
    browser.page = consent

    again = await browser.submit(answer="allow")

    assert again.status == 404


async def test_a_refusal_is_told_and_leaves_nothing(
    database: Database, browser: Browser, client: Client
) -> None:
    asked = "SELECT count(*) FROM oauth_authorizations"
    before = await database.fetchval(asked)
    await browser.open(client.request(response_mode="query"))
    await browser.sign_in()

    answer = (await browser.submit(answer="refuse")).answer()

    assert (answer["error"], answer["state"]) == ("access_denied", "a state & more")
    assert await database.fetchval(asked) == before


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": 'co"de'}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "web_message"}, "invalid_request"),
        ({"prompt": "none"}, "interaction_required"),
        ({"state": "x" * 3_000}, "invalid_request"),
    ],
)
async def test_what_a_client_asks_wrongly_it_is_told(
    browser: Browser, client: Client, changes: dict[str, Any], error: str
) -> None:
    page = await browser.open(client.request(**changes))

    assert (page.status, page.answer()["error"]) == (400, error)
    assert "Location" not in page.headers  # anybody can register a client: nobody is sent there
    assert page.way_back.startswith(REDIRECT)


async def test_a_parameter_may_not_be_there_twice(browser: Browser, client: Client) -> None:
    twice = client.request() + "&redirect_uri=https%3A%2F%2Fevil.test%2F"

    page = await browser.open(twice)

    assert page.status == 400


@pytest.mark.parametrize("client_id", ["unknown", None, "\u0000", "é", "x" * 3_000])
async def test_an_unknown_client_learns_nothing(
    one: Instance, browser: Browser, client: Client, client_id: str | None
) -> None:
    page = await browser.open(client.request(client_id=client_id))

    assert page.status == 400
    assert "Location" not in page.headers


async def test_passwords_are_not_guessed_here_either(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    limits = {"enabled": True, "login": {"per_second": 0.001, "burst": 3}}
    async with (
        shared_instance(postgres, tmp_path, rate_limits=limits) as one,
        Browser(one) as browser,
    ):
        await browser.open("/_comity/account/sign-in")

        statuses = [(await browser.sign_in("", f"guess {n}")).status for n in range(4)]

    assert statuses == [403, 403, 403, 429]


async def test_who_asks_too_often_is_not_logged_out_by_the_answer(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    limits = {"enabled": True}
    async with shared_instance(postgres, tmp_path, rate_limits=limits) as one:
        fields = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "x"}
        one.wiring.rate_limits.reserve("oauth_token", "127.0.0.1", 500)

        async with one.client.post(f"{OAUTH}/token", data=fields) as response:
            answer = await response.json()

    assert (response.status, answer["error"]) == (503, "temporarily_unavailable")
    assert int(response.headers["Retry-After"]) > 0


async def test_who_is_deactivated_gets_no_tokens(
    one: Instance, browser: Browser, client: Client
) -> None:
    code = await client.code(browser)
    tokens = await client.log_in(browser, device_id="OTHER")
    await one.wiring.accounts.deactivate(UserId(f"@{browser.user}:one.test"))

    refused = await client.redeem(code, 400)

    assert refused["error"] == "invalid_grant"
    await client.refresh(tokens["refresh_token"], 400)
    assert "Sign in" in (await browser.open("/_comity/account")).text


@pytest.mark.parametrize("endpoint", ["token", "revoke", "device"])
async def test_what_is_no_form_is_refused_as_oauth_does(one: Instance, endpoint: str) -> None:
    bodies = {
        "application/json": b"{}",
        "application/x-www-form-urlencoded": b"grant_type=%ff&\xff",
        "multipart/form-data": b"x",
        "text/plain": b"",
    }
    for kind, body in bodies.items():
        headers = {"Content-Type": kind}
        async with one.client.post(f"{OAUTH}/{endpoint}", data=body, headers=headers) as response:
            answer = await response.json()
        assert (response.status, answer["error"]) == (400, "invalid_request")
    for kind in ("password", "client_credentials", "implicit", '"'):
        refused = await post(one, "token", {"grant_type": kind}, status=400)
        assert refused["error"] == "unsupported_grant_type"
