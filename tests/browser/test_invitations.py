"""Invitation links: made, shown as a QR code, used by a newcomer, withdrawn."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.reader import Reader
from tests.integration.single import Instance

LINKS = "/_comity/client/v1/invitations"


async def test_a_link_is_made_shown_as_a_code_and_withdrawn_by_keyboard(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    await reader.open(token, "invitations")

    await reader.tab_to("For whom? (only you see this)")
    await reader.page.keyboard.type("The <b>choir</b>")
    await reader.press("Enter")
    await reader.hears("Your link is ready")
    (made,) = (await one.call("GET", LINKS, token=token))["invitations"]
    assert await reader.focused_name() == "Copy the link: The <b>choir</b>"
    await expect(reader.page.get_by_text(made["link"])).to_be_visible()

    await reader.press("Tab", "Enter")
    picture = reader.page.get_by_role("dialog").get_by_role("img")
    await expect(picture).to_have_accessible_name(f"QR code of {made['link']}")
    assert await picture.evaluate("(image) => image.naturalWidth") > 100
    assert await reader.barriers() == []
    await reader.press("Escape")
    assert await reader.focused_name() == "Show as QR code: The <b>choir</b>"

    await reader.press("Tab", "Enter")
    await reader.hears("The link no longer works")
    left = (await one.call("GET", LINKS, token=token))["invitations"]
    assert [i["state"] for i in left if i["state"] == "open"] == []


async def test_a_link_leads_a_newcomer_in(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    link = (await one.call("POST", LINKS, {}, token=token))["link"]

    await reader.page.goto(str(one.client.make_url("/_comity" + link.partition("/_comity")[2])))
    await reader.page.get_by_label("user name").fill("newcomer")
    for field in await reader.page.get_by_label("password").all():
        await field.fill("correct horse battery")
    assert await reader.barriers() == []
    await reader.page.get_by_role("button").click()

    await expect(reader.page.get_by_role("status")).to_contain_text("Your account is ready")
    await reader.open(token, "invitations")
    await expect(reader.page.get_by_role("table")).to_contain_text("@newcomer:one.test")


async def test_more_links_than_are_allowed_are_refused_in_words(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    reader.expect_failure("403")
    await reader.open(token, "invitations")

    for _ in range(20):
        await reader.page.get_by_role("button", name="Make a link").click()
        await expect(reader.page.locator("button[aria-disabled]")).to_have_count(0)

    await reader.is_warned("revoke one first")
