"""One's own data, and the end of the account."""

from __future__ import annotations

import zipfile

from playwright.async_api import expect

from tests.browser.reader import Reader
from tests.integration.single import Instance


async def delete(reader: Reader, confirmation: str, password: str) -> None:
    await reader.page.get_by_label("To confirm, type").fill(confirmation)
    await reader.page.get_by_label("Password").fill(password)
    await reader.page.get_by_role("button", name="Delete my account").click()


async def test_the_account_is_deleted_only_with_its_name_and_its_password(
    one: Instance, reader: Reader
) -> None:
    token = await one.register("alice")
    reader.expect_failure("401")
    await reader.open(token, "account")

    await delete(reader, "@bob:one.test", "sesame")
    await reader.is_warned("Type @alice:one.test")
    await delete(reader, "@alice:one.test", "wrong")
    await reader.is_warned("password")
    await one.call("GET", "/account/whoami", token=token)
    await delete(reader, "@alice:one.test", "sesame")

    await reader.hears("Your account is deleted")
    await expect(reader.page.get_by_label("User name")).to_be_visible()
    await one.call("GET", "/account/whoami", token=token, status=401)
    login = {"type": "m.login.password", "user": "alice", "password": "sesame"}
    await one.call("POST", "/login", login, status=403)


async def test_a_copy_of_ones_data_is_asked_for_and_saved(one: Instance, reader: Reader) -> None:
    token = await one.register("alice")
    room_id = await one.room(token, name="Garden")
    await one.say(token, room_id, "The tomatoes are ripe")
    await reader.open(token, "account")

    await reader.tab_to("Put a copy together")
    await reader.press("Enter")
    await reader.hears("Your copy is being put together.")
    await reader.hears("Your copy is ready.")
    assert await reader.barriers() == []
    async with reader.page.expect_download() as begun:
        await reader.page.get_by_role("button", name="Download").click()
    saved = await begun.value

    assert saved.suggested_filename.startswith("comity-export-")
    with zipfile.ZipFile(await saved.path()) as archive:
        (messages,) = [n for n in archive.namelist() if n.endswith("/messages.jsonl")]
        assert b"The tomatoes are ripe" in archive.read(messages)
