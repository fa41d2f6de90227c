"""Choices about who may do what: in one step, in detail, for one person, for other servers."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.reader import Reader
from tests.integration.single import Instance

CONSENT = "/_comity/client/v1/consent"
REACH = ("message", "group", "media", "call")


async def consent(one: Instance, token: str) -> dict[str, Any]:
    return await one.call("GET", CONSENT, token=token)


async def rows(one: Instance, token: str) -> list[tuple[str, str, str]]:
    found = (await consent(one, token))["rows"]
    return sorted((row["peer"], row["scope"], row["state"]) for row in found)


async def test_one_choice_by_keyboard_covers_messages_groups_files_and_calls(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    await reader.open(token)
    chosen = reader.page.get_by_role("radio", checked=True)
    name = "Ask me first Only my contacts reach me at once; anyone else has to ask first."
    await expect(chosen).to_have_accessible_name(name)

    for _ in range(40):
        await reader.press("Tab")
        if await chosen.evaluate("(radio) => radio === document.activeElement"):
            break
    await reader.press("ArrowUp", "Enter")

    await reader.hears("From now on: People I know.")
    await expect(chosen).to_be_focused()
    scopes = (await consent(one, token))["scopes"]
    assert [scopes[scope]["preset"] for scope in REACH] == ["known"] * 4


async def test_details_change_only_what_was_changed(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    before = (await consent(one, token))["scopes"]
    await reader.open(token, "details")
    page = reader.page

    await page.get_by_label("Calls: Strangers").select_option("Block")
    await page.get_by_label("See when I am online: Set all to").select_option("People I know")
    await expect(page.get_by_label("See when I am online: Strangers")).to_have_value("block")
    await expect(page.get_by_label("Calls: Set all to")).to_have_value("")
    await page.get_by_role("button", name="Save").click()

    await reader.hears("Saved.")
    after = (await consent(one, token))["scopes"]
    assert after["call"]["answers"] == {**before["call"]["answers"], "stranger": "block"}
    assert after["presence"]["answers"]["shared_room"] == "allow"
    assert after["presence"]["answers"]["stranger"] == "block"
    unchanged = set(after) - {"call", "presence"}
    assert {scope: after[scope] for scope in unchanged} == {s: before[s] for s in unchanged}
    await reader.go("Overview")
    await expect(page.get_by_text("You have made choices of your own")).to_be_visible()


async def test_a_person_is_blocked_until_a_day_and_unblocked(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    await reader.open(token, "people")
    page = reader.page
    day = datetime.date.today() + datetime.timedelta(days=7)

    await page.get_by_label("Person or server").fill("@mallory:evil.example")
    await page.get_by_label("Until").fill(day.isoformat())
    await page.get_by_role("button", name="Save").click()
    await reader.hears("@mallory:evil.example is blocked.")
    (row,) = (await consent(one, token))["rows"]
    assert (row["peer"], row["scope"], row["state"]) == (
        "@mallory:evil.example",
        "message",
        "denied",
    )
    assert 6 * 86400 < row["expires_at"] / 1000 - time.time() <= 8 * 86400
    table = page.get_by_role("table", name="Your choices")
    await expect(table.get_by_role("row").last).to_contain_text("Everything")

    await page.get_by_role("button", name="Set end date").click()
    await page.get_by_role("dialog").get_by_label("Until").fill("")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await expect(table).to_contain_text("Always")
    assert (await consent(one, token))["rows"][0]["expires_at"] is None

    await page.get_by_role("button", name="Unblock").click()
    await reader.hears("Your general choice now applies to @mallory:evil.example")
    assert await rows(one, token) == []


async def test_a_server_is_allowed_for_everything_in_one_line_and_then_blocked(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    await reader.open(token, "people")
    page = reader.page

    await page.get_by_label("Person or server").fill("friends.example")
    await page.get_by_label("Your choice").select_option("Allow")
    await page.get_by_role("button", name="Save").click()
    await reader.hears("friends.example is allowed.")
    assert await rows(one, token) == sorted(("friends.example", s, "granted") for s in REACH)
    lines = page.get_by_role("table", name="Your choices").get_by_role("row")
    await expect(lines).to_have_count(2)

    await page.get_by_role("button", name="Block: friends.example, Everything").click()
    await reader.hears("friends.example is blocked.")
    assert ("friends.example", "message", "revoked") in await rows(one, token)


@pytest.mark.parametrize("peer", ["no such thing", "@alice:one.test"])
async def test_what_cannot_be_chosen_is_refused_in_words(
    one: Instance, reader: Reader, peer: str
) -> None:
    token = await one.register("alice")
    reader.expect_failure("400")
    await reader.open(token, "people")

    await reader.page.get_by_label("Person or server").fill(peer)
    await reader.page.get_by_role("button", name="Save").click()

    alert = reader.page.get_by_role("main").get_by_role("alert").filter(has_text=".")
    await expect(alert).to_be_visible()
    assert "M_" not in str(await alert.text_content())
    assert await rows(one, token) == []


async def test_consent_to_other_servers_is_given_and_taken_back(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    await reader.open(token, "servers")
    await expect(reader.page.get_by_text("You have not agreed yet")).to_be_visible()

    await reader.page.get_by_role("button", name="I agree").click()
    await reader.hears("You have agreed.")
    assert (await consent(one, token))["scopes"]["federation"]["state"] == "granted"
    await reader.page.get_by_role("button", name="I do not agree").click()
    await reader.hears("Your messages now stay on this server.")
    assert (await consent(one, token))["scopes"]["federation"]["state"] == "revoked"

    await reader.page.get_by_label("Server name").first.fill("work.example")
    await reader.page.get_by_role("button", name="Save").click()
    await expect(reader.page.get_by_role("table", name="Exceptions")).to_contain_text("Allowed")
    assert ("work.example", "federation", "granted") in await rows(one, token)


async def test_files_that_are_held_back_can_be_let_in_by_the_link(
    one: Instance, reader: Reader
) -> None:
    token, bob = await one.register("alice"), await one.register("bob")
    headers = {"Authorization": f"Bearer {bob}", "Content-Type": "text/plain"}
    upload = "/_matrix/media/v3/upload"
    async with one.client.post(upload, data=b"a file", headers=headers) as response:
        uri = (await response.json())["content_uri"]
    path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
    refused = await one.call("GET", path, token=token, status=403)
    assert refused["errcode"] == "M_CONSENT_NOT_GIVEN"
    await reader.page.goto(reader.address("?" + refused["consent_uri"].partition("?")[2]))

    await reader.page.get_by_label("User name").fill("alice")
    await reader.page.get_by_label("Password").fill("sesame")
    await reader.page.get_by_role("button", name="Sign in").click()
    await expect(
        reader.page.get_by_role("heading", name="Pictures and files from @bob:one.test are held")
    ).to_be_visible()
    assert await rows(one, token) == []
    await reader.page.get_by_role("button", name="Yes, show them").click()

    await reader.hears("Now go back to your app.")
    assert await rows(one, token) == [("@bob:one.test", "media", "granted")]
    assert "peer" not in reader.page.url
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.get(path, headers=headers) as response:
        assert await response.read() == b"a file"


async def test_the_history_is_read_page_by_page(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    for number in range(55):
        path = f"{CONSENT}/message/@user{number}:two.test"
        await one.call("PUT", path, {"state": "granted"}, token=token)
    await reader.open(token, "history")
    lines = reader.page.get_by_role("table", name="Changes").get_by_role("row")
    await expect(lines).to_have_count(51)

    await reader.tab_to("Show older changes")
    await reader.press("Enter")

    await reader.hears("5 older changes added")
    await expect(lines).to_have_count(56)
    await expect(reader.page.get_by_text("These are all the changes.")).to_be_focused()
    await expect(lines.last).to_contain_text("@user0:two.test")
    await expect(lines.last).to_contain_text("Here or in an app")
