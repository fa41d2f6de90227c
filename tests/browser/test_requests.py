"""Message requests: answered by keyboard, one by one and all at once, and reviewed."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from homeserver.protocol.identifiers import UserId
from tests.browser.reader import Reader
from tests.integration.single import Instance

REQUESTS = "/_comity/client/v1/requests"
ROOM = {"name": "WIN A PRIZE", "topic": "casino"}


async def knock(one: Instance, name: str, *, whom: str = "@alice:one.test") -> str:
    """A stranger with a name and a picture invites somebody; their token."""
    token = await one.register(name)
    profile = f"/profile/@{name}:one.test"
    await one.call("PUT", f"{profile}/displayname", {"displayname": "PRIZE"}, token=token)
    picture = {"avatar_url": "mxc://one.test/picture"}
    await one.call("PUT", f"{profile}/avatar_url", picture, token=token)
    await one.room(token, **ROOM, invite=[whom], is_direct=True)
    return token


async def states(one: Instance, token: str, state: str) -> list[str]:
    answer = await one.call("GET", f"{REQUESTS}?state={state}", token=token)
    return sorted(request["sender"] for request in answer["requests"])


async def row(one: Instance, token: str, peer: str) -> dict[str, Any] | None:
    rows = (await one.call("GET", "/_comity/client/v1/consent", token=token))["rows"]
    return next((r for r in rows if r["peer"] == peer and r["scope"] == "message"), None)


async def test_a_request_is_answered_without_a_mouse(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    await knock(one, "mallory")
    await knock(one, "carol")
    await reader.open(token)

    await reader.tab_to("Message requests 2")
    await reader.press("Enter")
    heading = reader.page.get_by_role("heading", level=1, name="Message requests")
    await expect(heading).to_be_focused()
    await reader.tab_to("Accept @carol:one.test")
    await reader.press("Enter")
    await reader.hears("Accepted.")
    await expect(reader.page.get_by_role("heading", name="@mallory:one.test")).to_be_focused()
    await reader.tab_to("Decline @mallory:one.test")
    await reader.press("Space")

    await reader.hears("Declined.")
    await expect(heading).to_be_focused()
    await expect(reader.page.get_by_text("Nobody is waiting for your answer.")).to_be_visible()
    assert await states(one, token, "accepted") == ["@carol:one.test"]
    assert await states(one, token, "declined") == ["@mallory:one.test"]


async def test_nothing_that_a_stranger_chose_is_shown(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    await knock(one, "mallory")

    await reader.open(token, "requests")

    await expect(reader.page.get_by_role("article", name="@mallory:one.test")).to_be_visible()
    text = await reader.page.content()
    assert "PRIZE" not in text
    assert "casino" not in text
    assert "picture" not in text
    assert await reader.page.locator("img").count() == 0


async def test_a_report_asks_why_and_can_be_called_off(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    await knock(one, "mallory")
    await reader.open(token, "requests")
    name = "Decline and report @mallory:one.test"

    await reader.tab_to(name)
    await reader.press("Enter")
    await expect(reader.page.get_by_label("What is wrong?")).to_be_focused()
    assert await reader.barriers() == []
    await reader.press("Escape")
    assert await reader.focused_name() == name
    assert await states(one, token, "pending") == ["@mallory:one.test"]
    await reader.press("Enter")
    await reader.page.keyboard.type("They sell prizes")
    await reader.press("Tab", "Enter")

    await reader.hears("Declined and reported.")
    assert await states(one, token, "blocked") == ["@mallory:one.test"]


async def test_all_are_blocked_after_a_question_and_can_be_let_in_again(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    senders = ["@eve:one.test", "@mallory:one.test"]
    for name in ("mallory", "eve"):
        await knock(one, name)
    await reader.open(token, "requests")

    await reader.page.get_by_role("button", name="Decline and block all: all 2 requests").click()
    dialog = reader.page.get_by_role("dialog", name="Decline and block all")
    await expect(dialog).to_contain_text("until you unblock them")
    await dialog.get_by_role("button", name="Decline and block all").click()
    await reader.hears("2 requests declined and blocked.")
    assert await states(one, token, "blocked") == senders

    await reader.page.get_by_role("link", name="Blocked").click()
    await reader.page.get_by_role("button", name="Allow them @eve:one.test").click()
    await reader.hears("@eve:one.test can reach you.")
    await reader.page.get_by_role("button", name="Let them ask again @mallory:one.test").click()
    await reader.hears("@mallory:one.test can ask again.")

    mallory = reader.page.get_by_role("article", name="@mallory:one.test")
    await expect(mallory).to_contain_text("No longer blocked.")
    await reader.page.get_by_role("link", name="Accepted").click()
    await expect(reader.page.get_by_role("article", name="@eve:one.test")).to_be_visible()
    eve = await row(one, token, "@eve:one.test")
    assert eve is not None
    assert eve["state"] == "granted"
    assert await row(one, token, "@mallory:one.test") is None


async def test_all_of_a_server_are_answered_together(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    for name in ("mallory", "eve"):
        await knock(one, name)
    await reader.open(token, "requests")

    section = reader.page.get_by_role("region", name="one.test")
    await expect(section.get_by_role("button", name="block all")).to_have_count(0)
    await section.get_by_role("button", name="Decline all").click()
    await reader.press("Escape")
    assert await states(one, token, "declined") == []
    await section.get_by_role("button", name="Decline all").click()
    await reader.page.get_by_role("dialog").get_by_role("button", name="Decline all").click()

    await reader.hears("2 requests declined.")
    assert len(await states(one, token, "declined")) == 2


async def test_a_server_that_the_admin_blocks_takes_its_requests_with_it_and_why_is_said(
    one: Instance, reader: Reader
) -> None:
    alice, admin = await one.register("alice"), await one.register("root")
    await one.wiring.accounts.set_admin("@root:one.test", True)
    requests = one.wiring.consent_parts.requests
    await requests.check(
        UserId("@alice:one.test"), "@mallory:evil.example", "!room:evil.example", is_direct=True
    )
    await reader.open(alice, "requests")
    await expect(reader.page.get_by_role("article", name="@mallory:evil.example")).to_be_visible()
    await expect(reader.page.get_by_text("Not at all")).to_be_visible()

    block = {"server": "evil.example", "reason": "Prize draws"}
    await one.call("POST", "/_comity/admin/v1/servers/blocks", block, token=admin)
    await reader.page.get_by_role("link", name="Blocked").click()

    region = reader.page.get_by_role("region", name="evil.example")
    await expect(region).to_contain_text("have blocked this one. Prize draws")
    await expect(region.get_by_role("button")).to_have_count(0)


async def test_whether_a_server_is_blocked_can_be_looked_up(one: Instance, reader: Reader) -> None:
    alice, admin = await one.register("alice"), await one.register("root")
    await one.wiring.accounts.set_admin("@root:one.test", True)
    block = {"server": "evil.example", "reason": "Prize draws"}
    await one.call("POST", "/_comity/admin/v1/servers/blocks", block, token=admin)
    await reader.open(alice, "servers")
    status = reader.page.get_by_role("main").get_by_role("status")

    for server, words in (("evil.example", "Prize draws"), ("two.test", "is not blocked")):
        await reader.page.get_by_label("Server name").last.fill(server)
        await reader.page.get_by_role("button", name="Look up").click()
        await expect(status).to_contain_text(words)
