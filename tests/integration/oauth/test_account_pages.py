"""The account pages: sign-up, and what clients lead to there."""

from __future__ import annotations

import io
import secrets
from pathlib import Path

import pytest
from PIL import Image

from homeserver.protocol.identifiers import UserId
from tests.conftest import TestPostgres
from tests.integration.oauth.account_world import ACTION, manage
from tests.integration.oauth_people import (
    ACCOUNT,
    PASSWORD,
    Browser,
    Client,
    Page,
    scope,
    shared_instance,
    somebody,
    who,
)
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")


# ---------------------------------------------------------------- sign-up


async def test_a_client_leads_a_newcomer_to_an_account(one: Instance, client: Client) -> None:
    async with Browser(one) as browser:
        form = await browser.open(client.request(prompt="create"))
        name = f"newcomer{secrets.token_hex(3)}"
        consent = await browser.submit(
            username=name, password="correct horse", repeated="correct horse"
        )
        code = (await browser.submit(answer="allow")).answer()["code"]

    tokens = await client.redeem(code)
    assert "Make an account" in form.text
    assert "Allow A client?" in consent.text
    assert (await who(one, tokens["access_token"]))["user_id"] == f"@{name}:one.test"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"username": ""}, "Choose a user name"),
        ({"username": "Ä!"}, "letters a to z"),
        ({"username": "@x:elsewhere.test"}, "one.test"),
        ({"repeated": "another"}, "not the same"),
        ({"password": "", "repeated": ""}, "not empty"),
    ],
)
async def test_what_is_wrong_with_a_sign_up_is_said(
    one: Instance, fields: dict[str, str], said: str
) -> None:
    async with Browser(one) as browser:
        await browser.open(f"{ACCOUNT}/sign-up")

        page = await browser.submit(
            **{"username": "x", "password": "sesame", "repeated": "sesame", **fields}
        )

    assert page.status == 400
    assert said in page.text
    assert "sesame" not in page.text


async def test_a_name_that_is_taken_is_refused(one: Instance, browser: Browser) -> None:
    await browser.open(f"{ACCOUNT}/sign-up")

    page = await browser.submit(username=browser.user, password="new", repeated="new")

    assert page.status == 400
    assert "taken" in page.text
    await browser.open(f"{ACCOUNT}/sign-in")
    assert (await browser.sign_in(password="new")).status == 403


async def test_registration_by_token_and_terms_is_so_here_too(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    terms = [
        {
            "name": "privacy",
            "version": "1",
            "languages": {"en": {"title": "Privacy", "url": "https://one.test/privacy"}},
        }
    ]
    mode = {"mode": "token", "terms": terms}
    async with (
        shared_instance(postgres, tmp_path, registration=mode) as one,
        Browser(one) as browser,
    ):
        insert = "INSERT INTO registration_tokens (token, uses_allowed, created_at) VALUES "
        await one.wiring.database.execute(insert + "('letmein', 1, 1)")
        await browser.open(f"{ACCOUNT}/sign-up")
        fields = {"username": "ann", "password": "sesame", "repeated": "sesame"}
        accepted = next(iter(one.wiring.account_parts.terms.documents)).key

        unticked = await browser.submit(**fields, code="letmein")
        without = await browser.submit(**fields, accepted=accepted)
        wrong = await browser.submit(**fields, code="guess", accepted=accepted)
        made = await browser.submit(**fields, code="letmein", accepted=accepted)
        await browser.open(f"{ACCOUNT}/sign-up")
        again = await browser.submit(
            **{**fields, "username": "bob"}, code="letmein", accepted=accepted
        )

        assert "not accepted" in unticked.text
        assert (without.status, wrong.status, made.status, again.status) == (403, 403, 200, 403)
        assert "@ann:one.test" in made.text
        kept = await one.wiring.database.fetch("SELECT user_id FROM terms_accepted")
        assert [row["user_id"] for row in kept] == ["@ann:one.test"]


async def test_where_registration_is_closed_nobody_signs_up(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    async with (
        shared_instance(postgres, tmp_path, registration={"mode": "closed"}) as one,
        Browser(one) as browser,
    ):
        sign_in = await browser.open(f"{ACCOUNT}/sign-in")
        page = await browser.open(f"{ACCOUNT}/sign-up")
        told = await one.call("GET", "/_matrix/client/v1/auth_metadata")

    assert "sign-up" not in sign_in.text
    assert page.status == 403
    assert "prompt_values_supported" not in told


# ---------------------------------------------------------------- account management


async def test_a_profile_is_changed(one: Instance, browser: Browser) -> None:
    await manage(browser, "profile")

    saved = await browser.submit(name="Ann <b>")

    profile = await one.call("GET", f"/profile/@{browser.user}:one.test")
    assert profile["displayname"] == "Ann <b>"
    assert "Saved" in saved.text
    assert "<b>" not in saved.text
    await browser.submit(name="")
    assert "displayname" not in await one.call("GET", f"/profile/@{browser.user}:one.test")


def png() -> bytes:
    """A picture."""
    file = io.BytesIO()
    Image.new("RGB", (200, 100), "teal").save(file, "PNG")
    return file.getvalue()


async def test_a_picture_is_taken_shown_and_taken_away(one: Instance, browser: Browser) -> None:
    await manage(browser, "profile")
    path = f"/profile/@{browser.user}:one.test"

    saved = await browser.send_file(f"{ACCOUNT}/picture", "picture", png(), "image/png")
    profile = await one.call("GET", path)
    picture = await browser.fetch(f"{ACCOUNT}/picture")
    await browser.open(f"{ACCOUNT}/profile")
    await browser.submit(f"{ACCOUNT}/no-picture")

    assert "Saved" in saved.text
    assert profile["avatar_url"].startswith("mxc://one.test/")
    assert Image.open(io.BytesIO(picture)).size == (96, 96)
    assert "avatar_url" not in await one.call("GET", path)


async def test_what_is_no_picture_is_refused(one: Instance, browser: Browser) -> None:
    await manage(browser, "profile")
    path = f"{ACCOUNT}/picture"

    page = await browser.send_file(path, "picture", b"<svg/>", "image/svg+xml")
    other = await browser.send_file(path, "something", png(), "image/png")
    plain = await browser.submit(path)
    browser.page = Page(200, "", page.url, {})
    forged = await browser.send_file(path, "picture", png(), "image/png")

    statuses = [page.status, other.status, plain.status, forged.status]
    assert statuses == [400, 400, 400, 403]
    assert "avatar_url" not in await one.call("GET", f"/profile/@{browser.user}:one.test")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx"),
        ("multipart/form-data; boundary=b", b"--b\r\nbroken\r\n\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=" + "b" * 100, b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Length: x\r\n\r\nx\r\n--b--"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Encoding: gzip\r\n\r\nx\r\n--b--",
        ),
        ("application/x-www-form-urlencoded", b"\xff=%ff"),
        ("text/plain", b"x"),
    ],
)
async def test_a_form_that_is_broken_is_refused(browser: Browser, kind: str, body: bytes) -> None:
    await manage(browser, "profile")

    for path in ("picture", "profile", "password", "sign-up"):
        page = await browser.send(f"{ACCOUNT}/{path}", body, kind)

        assert page.status in (400, 403)


async def test_a_device_is_seen_and_logged_out(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser, scope=scope("A/B?c=d&e"))

    listed = await manage(browser, "sessions_list")
    seen = await manage(browser, "device_view", device_id="A/B?c=d&e")
    asked = await manage(browser, "device_delete", device_id="A/B?c=d&e")
    gone = await browser.submit()

    assert "A client" in listed.text
    assert "A/B?c=d&amp;e" in seen.text
    assert "Log out A client?" in asked.text
    assert "is logged out" in gone.text
    await who(one, tokens["access_token"], 401)


async def test_a_device_is_logged_out_by_who_has_just_proved_who_they_are(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    await one.wiring.database.execute(
        "UPDATE account_sessions SET authenticated_at = 1 WHERE user_id = $1",
        f"@{browser.user}:one.test",
    )

    asked = await browser.open(ACCOUNT, action="org.matrix.device_delete", device_id="PHONE")
    proved = await browser.sign_in()
    await who(one, tokens["access_token"])
    gone = await browser.submit()

    assert "prove again who you are" in asked.text
    assert "Log out A client?" in proved.text
    assert "is logged out" in gone.text
    await who(one, tokens["access_token"], 401)


async def test_a_device_of_somebody_else_is_not_seen(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser, scope=scope("MINE"))
    async with somebody(one) as mallory:
        await manage(mallory, "devices_list")

        seen = await manage(mallory, "device_view", device_id="MINE")
        asked = await manage(mallory, "device_delete", device_id="MINE")

    assert (seen.status, asked.status) == (404, 404)
    await who(one, tokens["access_token"])


async def test_a_changed_password_signs_other_browsers_out(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    async with Browser(one, browser.user) as other:
        await manage(other, "devices_list")
        await browser.open(f"{ACCOUNT}/password")

        wrong = await browser.submit(old="guess", password="new", repeated="new")
        unequal = await browser.submit(old=PASSWORD, password="new", repeated="mew")
        changed = await browser.submit(old=PASSWORD, password="new", repeated="new")
        left = await other.open(f"{ACCOUNT}/profile")

    assert (wrong.status, unequal.status, changed.status) == (403, 400, 200)
    assert "Your account" in changed.text
    assert "Sign in" in left.text
    await who(one, tokens["access_token"])


async def test_an_account_is_ended_by_who_has_just_proved_who_they_are(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    await one.wiring.database.execute(
        "UPDATE account_sessions SET authenticated_at = 1 WHERE user_id = $1",
        f"@{browser.user}:one.test",
    )

    asked_again = await browser.open(ACCOUNT, action=f"{ACTION}account_deactivate")
    form = await browser.sign_in()
    unsure = await browser.submit()
    ended = await browser.submit(sure="yes")

    assert "prove again" in asked_again.text
    assert "for ever" in form.text
    assert unsure.status == 400
    assert "has been deleted" in ended.text
    await who(one, tokens["access_token"], 401)
    await browser.open(f"{ACCOUNT}/sign-in")
    assert (await browser.sign_in()).status == 403


async def test_a_locked_account_is_let_nowhere_and_not_logged_out(
    one: Instance, browser: Browser, client: Client
) -> None:
    tokens = await client.log_in(browser)
    code = await client.code(browser, scope=scope("OTHER"))
    user_id = UserId(f"@{browser.user}:one.test")
    standing = one.wiring.account_access.standing
    await standing.set_locked(user_id, True, by="@admin:one.test")

    page = await browser.open(ACCOUNT)
    consent = await browser.open(client.request())
    refused = await who(one, tokens["access_token"], 401)
    tokens = await client.refresh(tokens["refresh_token"])
    denied = await client.redeem(code, 400)
    await standing.set_locked(user_id, False, by="@admin:one.test")

    assert (page.status, consent.status) == (401, 401)
    assert "locked" in page.text
    assert denied["error"] == "invalid_grant"
    assert (refused["errcode"], refused["soft_logout"]) == ("M_USER_LOCKED", True)
    await who(one, tokens["access_token"])


async def test_an_admin_is_told_what_a_client_could_do(
    one: Instance, browser: Browser, client: Client
) -> None:
    await browser.open(client.request())
    before = await browser.sign_in()
    await one.wiring.accounts.set_admin(f"@{browser.user}:one.test", True)

    after = await browser.open(client.request())

    assert "administer this server" not in before.text
    assert "administer this server" in after.text


async def test_what_was_let_in_before_its_user_became_an_admin_is_not_an_admins(
    one: Instance, browser: Browser, client: Client
) -> None:
    before = (await client.log_in(browser))["access_token"]
    code = await client.code(browser, scope=scope("OTHER"))
    await one.wiring.accounts.set_admin(f"@{browser.user}:one.test", True)

    refused = await one.call("GET", "/_comity/admin/v1/users", token=before, status=403)
    late = await client.redeem(code, 400)
    after = (await client.log_in(browser, scope=scope("NEW")))["access_token"]

    assert "for admins" in refused["error"]
    assert late["error"] == "invalid_grant"
    await one.call("GET", "/_comity/admin/v1/users", token=after)


async def test_signing_out_signs_out(browser: Browser) -> None:
    await browser.open(ACCOUNT)
    await browser.sign_in()
    cookies = browser.cookies

    await browser.submit(f"{ACCOUNT}/sign-out")
    browser.plant(cookies)

    assert "Sign in" in (await browser.open(ACCOUNT)).text
