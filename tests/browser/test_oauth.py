"""A client leads somebody to the account pages: an account is made, the client allowed, managed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, expect
from yarl import URL

from tests.browser.reader import Reader
from tests.conftest import TestPostgres
from tests.integration.oauth_people import ACCOUNT, CLIENT, LINK, Client, shared_instance, who
from tests.integration.single import Instance

# An application on this machine, which gets its answer at a page that is there.
PLACE = "/_matrix/client/versions"
NATIVE = {
    **CLIENT,
    "client_name": "Pigeon",
    "application_type": "native",
    "redirect_uris": [f"http://127.0.0.1{PLACE}"],
    "tos_uri": "https://client.test/terms",
    "policy_uri": "https://client.test/privacy",
}
PICTURES = os.environ.get("COMITY_TEST_PICTURES")


@pytest_asyncio.fixture(loop_scope="session")
async def one(postgres: TestPostgres, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance whose address is http, as the browser's is."""
    async with shared_instance(postgres, tmp_path) as instance:
        yield instance


async def picture(reader: Reader, name: str) -> None:
    """Keep a picture of the page for people to look at, if they have asked for it."""
    if PICTURES:
        await reader.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


async def fill(reader: Reader, **fields: str) -> None:
    """Type into the fields of a form, by their names."""
    for name, text in fields.items():
        await reader.page.locator(f"[name={name}]").fill(text)


def address(one: Instance, path: str) -> str:
    return str(one.client.make_url("/").join(URL(path, encoded=True)))


async def test_a_newcomer_makes_an_account_allows_the_client_and_ends_it_again(
    one: Instance, reader: Reader
) -> None:
    client = await Client.register(one, **NATIVE)
    redirect = address(one, PLACE)
    reader.expect_failure("404")  # that place has no icon
    asked = client.request(prompt="create", redirect_uri=redirect)

    await reader.page.goto(address(one, asked))
    await expect(reader.page.get_by_role("heading", level=1)).to_have_text("Make an account")
    assert await reader.barriers() == []
    await picture(reader, "sign-up")
    await fill(reader, username="ann", password="correct horse", repeated="correct horse")
    await reader.page.get_by_role("button").click()

    await expect(reader.page.get_by_role("heading", level=1)).to_have_text("Allow Pigeon?")
    assert await reader.barriers() == []
    await picture(reader, "consent")
    await reader.tab_to("Allow")
    await reader.press("Enter")
    await reader.page.wait_for_url(f"{redirect}#*")
    code = URL("?" + URL(reader.page.url).fragment).query["code"]
    tokens = await client.redeem(code, redirect_uri=redirect)
    assert (await who(one, tokens["access_token"]))["user_id"] == "@ann:one.test"

    await reader.page.goto(
        address(one, f"{ACCOUNT}?action=org.matrix.device_delete&device_id=PHONE")
    )
    assert await reader.barriers() == []
    await reader.page.get_by_role("button", name="Log it out").click()
    await expect(reader.page.get_by_role("status")).to_have_text("The device is logged out.")
    assert await reader.barriers() == []
    await who(one, tokens["access_token"], 401)


async def test_the_pages_have_no_barriers_in_the_dark_on_a_telephone(
    browser: Browser, one: Instance
) -> None:
    await one.register("alice")
    client = await Client.register(one, **NATIVE)
    code = (await client.token_of_device())["user_code"]
    reader = await Reader.sit_down(
        browser, one, color_scheme="dark", viewport={"width": 360, "height": 640}
    )
    reader.expect_failure("403")

    await reader.page.goto(address(one, LINK))
    await fill(reader, user="alice", password="wrong")
    await reader.page.get_by_role("button", name="Sign in").click()
    await expect(reader.page.get_by_role("alert")).to_contain_text("Wrong user name or password")
    assert await reader.barriers() == []
    await picture(reader, "sign-in-dark")
    await fill(reader, password="sesame")
    await reader.page.get_by_role("button", name="Sign in").click()
    await reader.page.get_by_label("The code").fill(code)
    assert await reader.barriers() == []
    await reader.page.get_by_role("button", name="Continue").click()
    await expect(reader.page.get_by_text(code)).to_be_visible()
    assert await reader.barriers() == []
    await picture(reader, "device-dark")

    for path in (
        "",
        "/profile",
        "/contacts",
        "/devices",
        "/access",
        "/password",
        "/deactivate",
        "/reset-identity",
    ):
        await reader.page.goto(address(one, ACCOUNT + path))
        await expect(reader.page.get_by_role("heading", level=1)).to_be_visible()
        assert await reader.barriers() == [], path
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not await reader.page.evaluate(wide), path
        await picture(reader, f"account{path.replace('/', '-')}-dark")
    await reader.context.close()
    assert reader.mishaps == []
