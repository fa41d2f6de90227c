"""The page that logs in for a client, in a browser."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Browser

from tests.integration.single import Instance

PATH = "/_matrix/static/client/login/"


async def test_the_client_that_shows_the_page_is_told(browser: Browser, one: Instance) -> None:
    await one.register("alice")
    page = await browser.new_page()
    await page.add_init_script("window.matrixLogin = {onLogin: (r) => { window.told = r; }};")
    await page.goto(str(one.client.make_url(f"{PATH}?device_id=GHTYAJCE")))

    await page.get_by_label("Your user name").fill("alice")
    await page.get_by_label("Your password").fill("wrong")
    await page.get_by_role("button").click()
    await page.get_by_role("alert").wait_for()
    await page.get_by_label("Your password").fill("sesame")
    await page.get_by_role("button").click()
    await page.get_by_role("status").wait_for()

    told: dict[str, Any] = await page.evaluate("window.told")
    assert (told["user_id"], told["device_id"]) == ("@alice:one.test", "GHTYAJCE")
    await page.close()
