"""Signing in and out: by a client's token, and by name and password."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.reader import Reader
from tests.integration.single import Instance


async def devices(one: Instance, token: str) -> list[str | None]:
    answer = await one.call("GET", "/devices", token=token)
    return [device.get("display_name") for device in answer["devices"]]


async def test_a_clients_token_is_taken_and_leaves_the_address_bar(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")

    await reader.open(token, "history")

    assert reader.page.url == reader.address("#history")
    assert token not in await reader.page.content()
    await expect(reader.page.get_by_role("banner")).to_contain_text("@alice:one.test")
    assert await reader.page.evaluate("localStorage.length") == 0


async def test_closing_forgets_a_clients_token_and_leaves_the_client_signed_in(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    await reader.open(token)

    await reader.page.get_by_role("button", name="Close").click()

    await reader.hears("Your app stays signed in")
    await reader.page.reload()
    await expect(reader.page.get_by_label("User name")).to_be_visible()
    await one.call("GET", "/account/whoami", token=token)


async def test_signing_in_by_password_lasts_over_a_reload_and_signing_out_ends_it(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    await reader.page.goto(reader.address())

    await reader.tab_to("User name")
    await reader.page.keyboard.type("alice")
    await reader.tab_to("Password")
    await reader.page.keyboard.type("sesame")
    await reader.press("Enter")
    await expect(reader.page.get_by_role("heading", level=1, name="Overview")).to_be_focused()
    await reader.page.reload()
    await expect(reader.page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    assert "Consent page" in await devices(one, token)
    await reader.page.get_by_role("button", name="Sign out").click()

    await reader.hears("You are signed out")
    assert "Consent page" not in await devices(one, token)


async def test_a_wrong_password_is_said_in_words(one: Instance, reader: Reader) -> None:
    await one.register("alice")
    reader.expect_failure("403")
    await reader.page.goto(reader.address())

    await reader.page.get_by_label("User name").fill("alice")
    await reader.page.get_by_label("Password").fill("wrong")
    await reader.page.get_by_role("button", name="Sign in").click()

    alert = reader.page.get_by_role("alert").filter(has_text="password")
    await expect(alert).to_be_visible()
    assert "M_" not in str(await alert.text_content())


async def test_a_token_that_has_ended_leads_back_to_signing_in(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    await reader.open(token)
    reader.expect_failure("401")

    await one.call("POST", "/logout", {}, token=token)
    await reader.page.get_by_role("link", name="History").click()

    await reader.hears("Your sign-in has ended")
    await expect(reader.page.get_by_label("User name")).to_be_visible()
