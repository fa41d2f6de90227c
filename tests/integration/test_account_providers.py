"""Signing in to the account pages at an OpenID Connect provider."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from aiohttp import ClientSession

from tests.conftest import TestPostgres
from tests.integration.oauth_people import (
    ACCOUNT,
    Browser,
    Client,
    Page,
    shared_instance,
    who,
)
from tests.integration.single import Instance
from tests.services.sign_in.provider import Provider, serving

BASE = "http://chat.test"  # as the provider has been told


@asynccontextmanager
async def beside(
    provider: Provider, postgres: TestPostgres, directory: Path, base: str = BASE
) -> AsyncIterator[Instance]:
    """An instance to which a provider lets people in."""
    async with (
        serving(provider),
        shared_instance(
            postgres, directory, oidc_providers=[provider.settings], public_base_url=base
        ) as one,
    ):
        yield one


async def at_provider(browser: Browser, path: str) -> str:
    """Go to the provider and log in there; the path to which it sends the browser back."""
    page = await browser.open(path)
    assert page.status == 302
    async with ClientSession() as session, session.get(page.location, allow_redirects=False) as at:
        assert at.status == 302
        back = urlsplit(at.headers["Location"])
    return f"{back.path}?{back.query}"


async def returned(browser: Browser, path: str) -> str:
    """Where the browser is sent on from the provider's callback."""
    page = await browser.open(path)
    return page.location.removeprefix(BASE)


async def test_a_client_is_allowed_by_somebody_who_signs_in_at_a_provider(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    provider = Provider("RS256")
    async with (
        beside(provider, postgres, tmp_path) as one,
        Browser(one) as browser,
    ):
        client = await Client.register(one)
        sign_in = await browser.open(client.request())
        link = sign_in.way_back
        back = await returned(browser, await at_provider(browser, link))
        consent = await browser.open(back)
        code = (await browser.submit(answer="allow")).answer()["code"]
        tokens = await client.redeem(code)
        password = await browser.open(f"{ACCOUNT}/password")

        assert "Sign in with Example Work" in sign_in.text
        assert link.startswith(f"{ACCOUNT}/provider/work?then=")
        assert "Allow A client?" in consent.text
        assert (await who(one, tokens["access_token"]))["user_id"] == "@ann:one.test"
        assert (password.status, "by another service" in password.text) == (404, True)


async def test_a_link_that_signs_in_as_somebody_else_signs_nobody_in(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    provider = Provider("RS256")
    async with (
        beside(provider, postgres, tmp_path) as one,
        Browser(one) as mallory,
        Browser(one) as victim,
    ):
        back = await returned(mallory, await at_provider(mallory, f"{ACCOUNT}/provider/work"))
        await victim.open(f"{ACCOUNT}/sign-in")

        refused = await victim.open(back)
        bare = await victim.open(f"{ACCOUNT}/provider-return?loginToken=x")

        assert (refused.status, bare.status) == (403, 403)
        assert "Sign in" in (await victim.open(ACCOUNT)).text


async def test_a_provider_that_there_is_not_is_said(postgres: TestPostgres, tmp_path: Path) -> None:
    async with shared_instance(postgres, tmp_path) as one, Browser(one) as browser:
        page = await browser.open(f"{ACCOUNT}/provider/elsewhere")

    assert (page.status, "no such provider" in page.text) == (404, True)


async def test_who_is_signed_in_is_asked_for_a_proof_at_the_provider(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    provider = Provider("RS256")
    async with (
        beside(provider, postgres, tmp_path) as one,
        Browser(one) as browser,
    ):
        await browser.open(f"{ACCOUNT}/devices")
        path = f"{ACCOUNT}/provider/work"
        first = (await browser.open(path)).location
        await browser.open(await returned(browser, await at_provider(browser, path)))
        again = (await browser.open(path)).location

        assert "max_age" not in first
        assert "max_age=0" in urlsplit(again).query.split("&")


END = f"{ACCOUNT}/deactivate"


async def by_provider(browser: Browser, then: str) -> Page:
    """Sign in there, on the way to a page."""
    path = f"{ACCOUNT}/provider/work?{urlencode({'then': then})}"
    page = await browser.open(await at_provider(browser, path))
    return await browser.open(page.location.removeprefix(BASE)) if page.status == 302 else page


@pytest.mark.parametrize("lies", [{}, {"auth_time": 1_000_000_000}])
async def test_who_was_still_logged_in_at_the_provider_has_proved_nothing(
    postgres: TestPostgres, tmp_path: Path, lies: dict[str, Any]
) -> None:
    provider = Provider("RS256", lies=lies)
    async with (
        beside(provider, postgres, tmp_path) as one,
        Browser(one) as browser,
    ):
        account = await by_provider(browser, ACCOUNT)
        asked = await browser.open(END)
        provider.lies = {"auth_time": int(time.time())}
        proved = await by_provider(browser, END)

        assert "You are" in account.text
        assert "Sign in with Example Work" in asked.text
        assert "Delete my account" in proved.text


@pytest.mark.parametrize("told", [1_000_000_000, "now", True, -1])
async def test_a_provider_that_has_not_asked_again_is_not_believed(
    postgres: TestPostgres, tmp_path: Path, told: object
) -> None:
    provider = Provider("RS256", lies={"auth_time": told})
    async with (
        beside(provider, postgres, tmp_path) as one,
        Browser(one) as browser,
    ):
        refused = await by_provider(browser, END)

        assert refused.status == 403
        assert "Sign in" in (await browser.open(ACCOUNT)).text


async def test_no_other_host_can_plant_the_cookie_of_a_way_back(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    provider = Provider("RS256")
    secure = "https://chat.test"
    async with (
        beside(provider, postgres, tmp_path, secure) as one,
        Browser(one) as browser,
    ):
        page = await browser.open(f"{ACCOUNT}/provider/work")

        (cookie,) = [c for c in page.headers.getall("Set-Cookie") if "comity_oauth" in c]
        assert cookie.startswith("__Host-comity_oauth=")
        for attribute in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/"):
            assert attribute in cookie
        assert "Domain" not in cookie
