"""Browsers that are signed in, and programs with a token: seen on the account page, and ended."""

from __future__ import annotations

import re

import pytest

from client_api.oauth.origins import browser_name
from tests.integration.oauth_people import (
    ACCOUNT,
    Browser,
    Page,
    conversations,
    password_login,
    somebody,
)
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACCESS = f"{ACCOUNT}/access"


async def open_access(browser: Browser) -> Page:
    await browser.open(ACCESS)
    return await browser.sign_in()


def ids(page: Page, kind: str) -> list[str]:
    """What is listed, as the buttons have it."""
    return re.findall(rf'name="{kind}" value="([^"]+)"', page.text)


async def make_program(one: Instance, user: str) -> str:
    """A user's API token."""
    session = await one.call("POST", "/login", password_login(user))
    body = {"name": "A <b>program</b>", "scopes": ["conversations:read"]}
    made = await conversations(one, "/tokens", body, token=session["access_token"], status=201)
    token: str = made["token"]
    return token


async def works(one: Instance, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.get("/api/v1/conversations", headers=headers) as response:
        return response.status == 200


async def test_another_browser_is_seen_and_signed_out(one: Instance, browser: Browser) -> None:
    async with Browser(one, browser.user) as other:
        await open_access(other)
        listed = await open_access(browser)
        own = next(i for i in ids(listed, "browser") if "(this one)" in _entry(listed, i))
        (theirs,) = set(ids(listed, "browser")) - {own}

        gone = await browser.submit(browser=theirs)
        signed_out = await other.open(ACCOUNT)

    assert "127.0.0.1" in _entry(listed, theirs)
    assert ids(gone, "browser") == [own]
    assert signed_out.url.path == f"{ACCOUNT}/sign-in"


def _entry(page: Page, public_id: str) -> str:
    """The form of what is listed."""
    return next(form for form in page.text.split("<form") if f'value="{public_id}"' in form)


async def test_all_other_browsers_are_signed_out_at_once(one: Instance, browser: Browser) -> None:
    async with Browser(one, browser.user) as second, Browser(one, browser.user) as third:
        await open_access(second)
        await open_access(third)
        await open_access(browser)

        gone = await browser.submit(others="yes")
        left = [(await other.open(ACCESS)).url.path for other in (second, third)]

    assert len(ids(gone, "browser")) == 1
    assert left == [f"{ACCOUNT}/sign-in"] * 2


async def test_who_ends_the_browser_before_them_is_signed_out(browser: Browser) -> None:
    listed = await open_access(browser)

    gone = await browser.submit(browser=ids(listed, "browser")[0])

    assert gone.url.path == f"{ACCOUNT}/sign-in"
    assert (await browser.open(ACCOUNT)).url.path == f"{ACCOUNT}/sign-in"


async def test_a_program_is_seen_and_its_token_revoked(one: Instance, browser: Browser) -> None:
    token = await make_program(one, browser.user)
    before = await works(one, token)
    listed = await open_access(browser)

    gone = await browser.submit(program=ids(listed, "program")[0])

    assert "A &lt;b&gt;program&lt;/b&gt;" in listed.text
    assert "conversations:read" in listed.text
    assert token[4:] not in listed.text
    assert (before, await works(one, token)) == (True, False)
    assert ids(gone, "program") == []


async def test_what_is_somebody_elses_cannot_be_ended(one: Instance, browser: Browser) -> None:
    token = await make_program(one, browser.user)
    listed = await open_access(browser)
    async with somebody(one) as mallory:
        seen = await open_access(mallory)

        program = await mallory.submit(program=ids(listed, "program")[0])
        await mallory.open(ACCESS)
        theirs = await mallory.submit(browser=ids(listed, "browser")[0])

    assert ids(seen, "program") == []
    assert (program.status, theirs.status) == (404, 404)
    assert await works(one, token)
    assert (await browser.open(ACCESS)).url.path == ACCESS


async def test_a_form_of_another_site_ends_nothing(one: Instance, browser: Browser) -> None:
    token = await make_program(one, browser.user)
    listed = await open_access(browser)

    refused = await browser.submit(program=ids(listed, "program")[0], form_token="invented")

    assert refused.status == 403
    assert await works(one, token)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Linux",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari on an iPhone",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
            "Edge on Windows",
        ),
        ("<b>", "A browser"),
        (None, "A browser"),
    ],
)
async def test_a_browser_is_called_what_people_call_it(agent: str | None, name: str) -> None:
    assert browser_name(agent) == name
