"""Everybody can use the page: names and roles, contrast, narrow windows, large type, no mouse."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.reader import Reader
from tests.browser.test_requests import knock
from tests.integration.single import Instance

VIEWS = (
    "overview",
    "requests",
    "requests/blocked",
    "people",
    "details",
    "servers",
    "history",
    "invitations",
    "account",
)
WINDOWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark", "reduced_motion": "reduce"},
    "telephone, dark": {"color_scheme": "dark", "viewport": {"width": 320, "height": 640}},
    # 200 % of a window of 1280 x 900
    "large type": {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2},
}
# where only colours or sizes differ from another window, only their rules are asked again
RULES = {"dark": ["color-contrast"], "large type": ["target-size"]}


async def fill(one: Instance) -> str:
    """Somebody for whom there is something to see in every view; their token."""
    token = await one.register("alice")
    long = "somebody_with_a_long_name_" + "x" * 100
    for name in ("mallory", "carol", long):
        await knock(one, name)
    body = {"answer": "block", "sender": "@carol:one.test"}
    await one.call("POST", "/_comity/client/v1/requests/answer", body, token=token)
    for peer, scope in ((f"@{long}:two.test", "message"), ("work.example", "federation")):
        path = f"/_comity/client/v1/consent/{scope}/{peer}"
        await one.call("PUT", path, {"state": "granted"}, token=token)
    await one.call("POST", "/_comity/client/v1/invitations", {"note": "Choir"}, token=token)
    return token


@pytest.mark.parametrize("window", WINDOWS)
async def test_no_view_has_a_barrier(browser: Browser, one: Instance, window: str) -> None:
    token = await fill(one)
    reader = await Reader.sit_down(browser, one, **WINDOWS[window])
    found = {}
    await reader.open(token)
    for view in VIEWS:
        await reader.turn_to(view)
        found[view] = await reader.barriers(*RULES.get(window, ()))
        assert await reader.overflow() <= 0, view
        await reader.take_picture(f"{window}-{view}")

    assert {view: barriers for view, barriers in found.items() if barriers} == {}
    assert reader.mishaps == []
    await reader.context.close()


@pytest.mark.parametrize("view", ["overview", "requests"])
async def test_nothing_moves_while_the_page_loads(
    browser: Browser, one: Instance, view: str
) -> None:
    token = await fill(one)
    for width in (320, 1100):
        viewport = {"width": width, "height": 700}
        reader = await Reader.sit_down(browser, one, viewport=viewport)
        await reader.open(token, view)
        await expect(reader.page.locator(".count")).to_have_text("2")

        assert await reader.shift() < 0.01
        await reader.context.close()


async def test_signing_in_has_no_barrier(one: Instance, reader: Reader) -> None:
    await reader.page.goto(reader.address())

    assert await reader.barriers() == []
    await expect(reader.page.locator("body")).to_match_aria_snapshot(
        """
        - main:
          - heading "Who may reach me" [level=1]
          - paragraph
          - text: User name
          - textbox "User name"
          - text: Password
          - textbox "Password"
          - button "Sign in"
        """
    )


async def test_a_screen_reader_finds_its_way(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    await knock(one, "mallory")
    await reader.open(token, "requests")

    await expect(reader.page.locator("body")).to_match_aria_snapshot(
        """
        - link "Skip to the content"
        - banner
        - navigation "Sections":
          - list:
            - listitem:
              - link "Overview"
            - listitem:
              - link "Message requests 1"
        - main:
          - heading "Message requests" [level=1]
          - navigation "Which requests"
          - region "one.test":
            - heading "one.test" [level=2]
            - article "@mallory:one.test":
              - heading "@mallory:one.test" [level=3]
              - paragraph: Would like to write to you.
              - term: How you know them
              - definition: From this server, or one that you know
              - button "Accept @mallory:one.test"
              - button "Decline @mallory:one.test"
              - button "Decline and block @mallory:one.test"
              - button "Decline and report @mallory:one.test"
        """
    )
    current = reader.page.locator("nav.menu [aria-current=page]")
    await expect(current).to_have_accessible_name("Message requests 1")


async def test_the_first_tab_skips_to_the_content(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    await reader.open(token)

    await reader.tab_to("Skip to the content", most=1)
    await reader.press("Enter")

    await expect(reader.page.get_by_role("heading", level=1)).to_be_focused()
    await expect(reader.page.get_by_role("heading", level=1)).to_have_text("Overview")


async def test_a_view_that_fails_says_so_and_can_be_tried_again(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    reader.expect_failure("ERR_", "Failed to load")
    await reader.open(token)
    await reader.context.set_offline(True)

    await reader.page.get_by_role("link", name="History").click()
    await reader.is_warned("The server did not answer")
    await reader.context.set_offline(False)
    await reader.page.get_by_role("button", name="Try again").click()

    await expect(reader.page.get_by_text("Nothing has been changed yet.")).to_be_visible()


async def test_the_federation_question_is_answered_without_javascript(
    browser: Browser, one: Instance
) -> None:
    token = await one.register("alice")
    room_id = await one.room(token)
    body = {"user_id": "@bob:two.test"}
    refused = await one.call("POST", f"/rooms/{room_id}/invite", body, token=token, status=403)
    path = "/_comity" + refused["consent_uri"].partition("/_comity")[2]
    reader = await Reader.sit_down(browser, one, java_script_enabled=False)
    await reader.page.goto(str(one.client.make_url("/"))[:-1] + path)

    await reader.press("Tab", "Enter")

    await expect(reader.page.get_by_role("status")).to_contain_text("You have agreed.")
    state = await one.wiring.consent.state("@alice:one.test", "@bob:two.test", "federation")
    assert state == "granted"
    await reader.context.close()
