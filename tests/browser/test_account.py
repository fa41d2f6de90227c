"""One's own data, and the end of the account."""

from __future__ import annotations

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
