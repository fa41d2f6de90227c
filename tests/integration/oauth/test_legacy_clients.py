"""Clients of the legacy API that are led to the pages, and back."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.integration.oauth_people import ACCOUNT, Browser
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_legacy_client_that_knows_of_oauth_logs_in_by_the_pages(
    one: Instance, browser: Browser
) -> None:
    url = "https://element.test/?a=b"
    flows = (await one.call("GET", "/login"))["flows"]

    await browser.open(
        f"/_matrix/client/v3/login/sso/redirect?action=login&redirectUrl={quote(url, safe='')}"
    )
    asked = await browser.sign_in()
    page = await browser.submit()
    token = page.location.removeprefix(f"{url}&loginToken=")
    answer = await one.call("POST", "/login", {"type": "m.login.token", "token": token})

    assert {"m.login.password", "m.login.sso"} <= {flow["type"] for flow in flows}
    assert [f["oauth_aware_preferred"] for f in flows if f["type"] == "m.login.sso"] == [True]
    assert "element.test" in asked.text
    assert answer["user_id"] == f"@{browser.user}:one.test"


async def test_a_browser_of_long_ago_gets_no_login_without_a_proof(
    one: Instance, browser: Browser
) -> None:
    await browser.open(f"{ACCOUNT}/sign-in")
    await browser.sign_in()
    shown = await browser.open(f"{ACCOUNT}/sso", redirectUrl="https://element.test/")
    await one.wiring.database.execute(
        "UPDATE account_sessions SET authenticated_at = 1 WHERE user_id = $1",
        f"@{browser.user}:one.test",
    )

    asked_again = await browser.submit()
    await browser.sign_in()
    sent_on = await browser.submit()

    assert "Continue to" in shown.text
    assert "prove again" in asked_again.text
    assert "loginToken=" in sent_on.location


async def test_such_a_client_leads_to_the_sign_up_too(one: Instance) -> None:
    async with Browser(one) as browser:
        page = await browser.open(
            "/_matrix/client/v3/login/sso/redirect?action=register&redirectUrl=https://x.test/"
        )

    assert "Make an account" in page.text


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "x", "https://a b/"])
async def test_a_login_is_sent_to_no_bad_address(browser: Browser, url: str) -> None:
    await browser.open(f"{ACCOUNT}/sign-in")
    await browser.sign_in()

    page = await browser.open(f"{ACCOUNT}/sso", redirectUrl=url)

    assert page.status == 400


async def test_a_login_is_sent_on_only_by_a_form_of_ours(browser: Browser) -> None:
    await browser.open(f"{ACCOUNT}/sign-in")
    await browser.sign_in()
    shown = await browser.open(f"{ACCOUNT}/sso", redirectUrl="https://evil.test/")

    page = await browser.submit(form_token="x")

    assert "loginToken" not in shown.text
    assert page.status == 403
