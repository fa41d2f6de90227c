"""The account pages by mail, with a real SMTP server: sign-up, a forgotten password, addresses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.conftest import TestPostgres
from tests.harness.mailbox import Mailbox, mailbox, settings
from tests.integration.oauth_people import (
    ACCOUNT,
    PASSWORD,
    Browser,
    Client,
    Page,
    conversations,
    shared_instance,
    who,
)
from tests.integration.single import Instance

ADDRESS = "ann@example.org"
PASSWORDS = {"password": "new one", "repeated": "new one"}


@asynccontextmanager
async def with_mail(
    postgres: TestPostgres, directory: Path, **more: Any
) -> AsyncIterator[tuple[Instance, Mailbox, Browser]]:
    """An instance that sends mail, where it goes, and somebody before a browser."""
    async with (
        mailbox() as box,
        shared_instance(postgres, directory, email=settings(box), **more) as one,
        Browser(one) as browser,
    ):
        yield one, box, browser


async def follow(browser: Browser, box: Mailbox) -> Page:
    """Follow the link of the last mail, in another tab, and come back; what it showed."""
    page = browser.page
    link = box.link()
    await browser.open(link[link.index("/_comity") :])
    shown = await browser.submit()
    assert shown.status == 200
    browser.page = page
    return shown


def code_of(page: Page) -> str:
    """The code that a link has shown."""
    found = re.search(r'class="code"><strong>([\d ]+)<', page.text)
    return found[1] if found is not None else ""


@asynccontextmanager
async def asked_for_a_password(
    postgres: TestPostgres, directory: Path
) -> AsyncIterator[tuple[Instance, Mailbox, Browser]]:
    """Somebody waits for the owner of an address to follow a link."""
    async with with_mail(postgres, directory) as (one, box, browser):
        await one.register("alice")
        await browser.open(f"{ACCOUNT}/contacts")
        await browser.sign_in()
        await browser.submit(email=ADDRESS)
        await follow(browser, box)
        await browser.submit()
        async with Browser(one) as waiting:
            await waiting.open(f"{ACCOUNT}/recover")
            await waiting.submit(email=ADDRESS)
            yield one, box, waiting


async def signs_in(one: Instance, password: str) -> bool:
    async with Browser(one) as browser:
        await browser.open(f"{ACCOUNT}/sign-in")
        return (await browser.sign_in(password=password)).status == 200


async def test_where_an_address_is_needed_the_sign_up_asks_for_it(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    rules = {"registration": {"mode": "open", "require_email": True}}
    async with with_mail(postgres, tmp_path, **rules) as (one, box, browser):
        first = await browser.open(f"{ACCOUNT}/sign-up")
        asked = await browser.submit(email=ADDRESS)
        fields = {"username": "ann", **PASSWORDS}
        early = await browser.submit(**fields)
        await follow(browser, box)
        made = await browser.submit(**fields)
        again = await browser.open(f"{ACCOUNT}/sign-up")

        assert 'name="username"' not in first.text
        assert "We have sent you a mail" in asked.text
        assert (early.status, "Follow the link" in early.text) == (400, True)
        assert "@ann:one.test" in made.text
        assert 'name="email"' in again.text
        known = await one.wiring.account_access.third_party_ids.list_of("@ann:one.test")
        assert [entry.address for entry in known] == [ADDRESS]


async def test_a_sign_up_without_an_address_is_refused_where_one_is_needed(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    rules = {"registration": {"mode": "open", "require_email": True}}
    async with with_mail(postgres, tmp_path, **rules) as (one, _, browser):
        await browser.open(f"{ACCOUNT}/sign-up")
        fields = {"username": "ann", **PASSWORDS}

        bare = await browser.submit(**fields)
        invented = await browser.submit(**fields, sid="invented", client_secret="invented")

        assert (bare.status, invented.status) == (400, 400)
        assert not await one.wiring.accounts.exists("@ann:one.test")


async def test_addresses_are_added_sign_in_and_recover_a_password(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    async with with_mail(postgres, tmp_path) as (one, box, browser):
        await one.register("alice")
        client = await Client.register(one)
        tokens = await client.log_in(browser)
        await browser.open(f"{ACCOUNT}/contacts")
        await browser.submit(email=ADDRESS)
        early = await browser.submit()
        await follow(browser, box)
        added = await browser.submit()

        async with Browser(one, ADDRESS) as elsewhere:
            start = await elsewhere.open(f"{ACCOUNT}/sign-in")
            by_address = await elsewhere.sign_in()
        async with Browser(one) as forgetful:
            await forgetful.open(f"{ACCOUNT}/recover")
            await forgetful.submit(email=ADDRESS)
            unfollowed = await forgetful.submit(**PASSWORDS)
            await follow(forgetful, box)
            unequal = await forgetful.submit(password="x", repeated="y")
            recovered = await forgetful.submit(**PASSWORDS)
            repeated = await forgetful.open(f"{ACCOUNT}/sign-in")
            page = await forgetful.sign_in(password="new one")
        signed_out = await browser.open(ACCOUNT)

        assert (early.status, "is added" in added.text) == (400, True)
        assert "forgotten my password" in start.text
        assert "@alice:one.test" in by_address.text
        assert (unfollowed.status, unequal.status) == (400, 400)
        assert "@alice:one.test" in recovered.text
        assert (repeated.status, "@alice:one.test" in page.text) == (200, True)
        assert "Sign in" in signed_out.text
        await who(one, tokens["access_token"])


async def test_a_link_that_somebody_else_has_had_sent_gives_them_nothing(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    async with asked_for_a_password(postgres, tmp_path) as (one, box, mallory):
        async with Browser(one) as owner:
            shown = await follow(owner, box)

        refused = await mallory.submit(**PASSWORDS)

        assert "Tell it to nobody" in shown.text
        assert (refused.status, "Follow the link" in refused.text) == (400, True)
        assert await signs_in(one, PASSWORD)


async def test_a_link_opened_on_a_telephone_shows_a_code_to_go_on_with(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    async with asked_for_a_password(postgres, tmp_path) as (one, box, desktop):
        async with Browser(one) as telephone:
            first = code_of(await follow(telephone, box))
            code = code_of(await follow(telephone, box))

        earlier = await desktop.submit(**PASSWORDS, link_code=first)
        wrong = await desktop.submit(**PASSWORDS, link_code="no code")
        recovered = await desktop.submit(**PASSWORDS, link_code=code)

        assert earlier.status == (403 if first != code else 200)
        assert (wrong.status, "not the code" in wrong.text) == (403, True)
        assert "@alice:one.test" in recovered.text
        assert await signs_in(one, "new one")


async def test_codes_are_not_guessed(postgres: TestPostgres, tmp_path: Path) -> None:
    async with asked_for_a_password(postgres, tmp_path) as (one, box, mallory):
        async with Browser(one) as owner:
            code = code_of(await follow(owner, box))

        for _ in range(5):
            await mallory.submit(**PASSWORDS, link_code="x")
        late = await mallory.submit(**PASSWORDS, link_code=code)

        assert (late.status, "open the link in the mail again" in late.text) == (403, True)
        assert await signs_in(one, PASSWORD)


async def test_a_code_is_good_for_a_while(postgres: TestPostgres, tmp_path: Path) -> None:
    async with asked_for_a_password(postgres, tmp_path) as (one, box, desktop):
        async with Browser(one) as telephone:
            code = code_of(await follow(telephone, box))
        await one.wiring.database.execute(
            "UPDATE third_party_sessions SET code_made_at = code_made_at - 600001"
        )

        late = await desktop.submit(**PASSWORDS, link_code=code)

        assert (late.status, "not any more" in late.text) == (403, True)


async def test_no_code_stands_in_the_database(postgres: TestPostgres, tmp_path: Path) -> None:
    async with asked_for_a_password(postgres, tmp_path) as (one, box, _):
        async with Browser(one) as telephone:
            code = code_of(await follow(telephone, box)).replace(" ", "")

        row = await one.wiring.database.fetchrow(
            "SELECT code_hash FROM third_party_sessions WHERE code_hash IS NOT NULL"
        )

        assert len(code) == 6
        assert code.encode() not in row["code_hash"]
        assert row["code_hash"] != sha256(code.encode()).digest()


async def test_an_address_is_taken_away_by_who_has_it_alone(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    async with with_mail(postgres, tmp_path) as (one, box, browser):
        await one.register("alice")
        await one.register("mallory")
        await browser.open(f"{ACCOUNT}/contacts")
        await browser.sign_in()
        await browser.submit(email=ADDRESS)
        await follow(browser, box)
        await browser.submit()

        async with Browser(one, "mallory") as mallory:
            await mallory.open(f"{ACCOUNT}/contacts")
            await mallory.sign_in()
            refused = await mallory.submit(remove=ADDRESS)
        kept = await browser.open(f"{ACCOUNT}/contacts")
        gone = await browser.submit(remove=ADDRESS)

        assert refused.status == 404
        assert ADDRESS in kept.text
        assert "taken away" in gone.text
        assert "has no e-mail address" in gone.text


async def test_owners_are_told_when_a_password_changes_or_an_address_goes(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    async with with_mail(postgres, tmp_path) as (one, box, browser):
        token = await one.register("alice")
        await browser.open(f"{ACCOUNT}/contacts")
        await browser.sign_in()
        await browser.submit(email=ADDRESS)
        await follow(browser, box)
        await browser.submit()

        await browser.open(f"{ACCOUNT}/password")
        await browser.submit(old=PASSWORD, **PASSWORDS)
        by_page = (await box.wait_for(2))[-1]
        auth = {"type": "m.login.password", "password": "new one"}
        body = {"new_password": "newer one", "auth": auth}
        await one.call("POST", "/account/password", body, token=token)
        by_client = (await box.wait_for(3))[-1]
        body = {"new_password": "newest", "password": "newer one"}
        await conversations(one, "/me/password", body, token=token, status=200)
        by_app = (await box.wait_for(4))[-1]
        await browser.open(f"{ACCOUNT}/contacts")
        await browser.sign_in(password="newest")
        await browser.submit(remove=ADDRESS)
        removed = (await box.wait_for(5))[-1]

        for mail in (by_page, by_client, by_app):
            assert mail["Subject"] == "Your password on one.test was changed"
        assert removed["Subject"] == "An address was taken away from your account on one.test"
        assert {mail["To"] for mail in box.mails} == {ADDRESS}


async def test_nobody_learns_whether_an_address_is_an_accounts(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    async with with_mail(postgres, tmp_path) as (_, box, browser):
        await browser.open(f"{ACCOUNT}/recover")

        page = await browser.submit(email="nobody@example.org")

        assert "We have sent you a mail" in page.text
        assert "http" not in box.text()
