"""The authorization code flow, on a whole instance; and what does not work with it."""

from __future__ import annotations

import pytest

from tests.integration.oauth_people import (
    METADATA,
    Browser,
    Client,
    scope,
    who,
)
from tests.integration.single import Instance

BASE = "http://one.test"


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_metadata_say_where_everything_is(one: Instance) -> None:
    told = await one.call("GET", METADATA)

    older = "/_matrix/client/unstable/org.matrix.msc2965"
    assert told["issuer"] == f"{BASE}/"
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["prompt_values_supported"] == ["create"]
    for path in (
        f"{older}/auth_metadata",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ):
        async with one.client.get(path) as response:
            assert await response.json() == told
    assert await one.call("GET", f"{older}/auth_issuer") == {"issuer": told["issuer"]}
    async with one.client.get("/.well-known/matrix/client") as response:
        found = (await response.json())["org.matrix.msc2965.authentication"]
    assert found == {"issuer": told["issuer"], "account": told["account_management_uri"]}


async def test_a_client_logs_somebody_in(one: Instance, browser: Browser) -> None:
    client = await Client.register(one)

    asked = await browser.open(client.request())
    consent = await browser.sign_in(f"@{browser.user}:one.test")
    answer = (await browser.submit(answer="allow")).answer()
    tokens = await client.redeem(answer["code"])

    assert "Sign in" in asked.text
    assert "A client" in consent.text
    assert f"@{browser.user}:one.test" in consent.text
    assert (answer["state"], answer["iss"]) == ("a state & more", f"{BASE}/")
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 300
    assert tokens["scope"] == scope("PHONE")
    known = await who(one, tokens["access_token"])
    assert (known["user_id"], known["device_id"]) == (f"@{browser.user}:one.test", "PHONE")
    devices = await one.call("GET", "/devices", token=tokens["access_token"])
    assert [d["display_name"] for d in devices["devices"] if d["device_id"] == "PHONE"] == [
        "A client"
    ]
    await one.call("GET", "/sync?timeout=0", token=tokens["access_token"])


@pytest.mark.parametrize("mode", ["query", "fragment", None])
async def test_the_answer_comes_where_the_client_wants_it(
    one: Instance, browser: Browser, mode: str | None
) -> None:
    client = await Client.register(one)
    uri = "https://app.client.test/other?a=b"
    await browser.open(client.request(redirect_uri=uri, response_mode=mode))
    await browser.sign_in()

    page = await browser.submit(answer="allow")

    beginning = f"{uri}#" if mode == "fragment" else f"{uri}&"
    assert page.status == 303
    assert page.location.startswith(beginning + "code=")


@pytest.mark.parametrize("spelling", ["mxid:@{}:one.test", "@{}:one.test", "{}"])
async def test_whom_a_client_expects_is_filled_in(
    one: Instance, browser: Browser, spelling: str
) -> None:
    client = await Client.register(one)
    hint = spelling.format(browser.user)

    asked = await browser.open(client.request(login_hint=hint))
    consent = await browser.sign_in()
    again = await browser.open(client.request(login_hint=hint))
    other = await browser.open(client.request(login_hint="mxid:@somebody:one.test"))

    assert f'value="@{browser.user}:one.test"' in asked.text
    assert "Allow A client?" in consent.text
    assert "Allow A client?" in again.text
    assert 'value="@somebody:one.test"' in other.text


@pytest.mark.parametrize("hint", ["mxid:@ann:elsewhere.test", "a@b.test", "@", " "])
async def test_a_hint_that_is_nobody_here_changes_nothing(
    one: Instance, browser: Browser, hint: str
) -> None:
    client = await Client.register(one)
    await browser.open(client.request())
    await browser.sign_in()

    page = await browser.open(client.request(login_hint=hint))

    assert "Allow A client?" in page.text


async def test_a_client_may_ask_by_a_form(one: Instance, browser: Browser) -> None:
    client = await Client.register(one)
    path, _, query = client.request(login_hint=browser.user).partition("?")
    form = "application/x-www-form-urlencoded"
    await browser.send(path, query.encode(), form)
    await browser.sign_in()

    again = await browser.send(path, query.encode(), form)
    tokens = await client.redeem((await browser.submit(answer="allow")).answer()["code"])

    assert "Allow A client?" in again.text
    assert (await who(one, tokens["access_token"]))["device_id"] == "PHONE"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"state=%ff", "application/x-www-form-urlencoded"),
        (b"state=" + b"x" * 9_000, "application/x-www-form-urlencoded"),
        (b"client_id=nobody", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_form_that_asks_for_nothing_is_refused(
    browser: Browser, body: bytes, kind: str
) -> None:
    page = await browser.send("/_comity/oauth/authorize", body, kind)

    assert page.status == 400
    assert "That did not work" in page.text


async def test_a_hint_is_text(one: Instance, browser: Browser) -> None:
    client = await Client.register(one)

    page = await browser.open(client.request(login_hint='"><script>'))

    assert "Sign in" in page.text
    assert "<script" not in page.text
