"""The account pages: sign-up, what clients lead to there, and the stage m.oauth."""

from __future__ import annotations

import base64
import io
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from canonicaljson import encode_canonical_json
from nacl.signing import SigningKey
from PIL import Image

from homeserver.protocol.identifiers import UserId
from tests.conftest import TestPostgres
from tests.integration.admin_world import Admin
from tests.integration.oauth_people import (
    ACCOUNT,
    PASSWORD,
    Browser,
    Client,
    Page,
    conversations,
    password_login,
    scope,
    shared_instance,
    somebody,
    who,
)
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")
RESET = "/_matrix/client/v3/keys/device_signing/upload"
ACTION = "org.matrix."


async def manage(browser: Browser, action: str, **query: str) -> Any:
    """Open what a client leads to, and sign in."""
    page = await browser.open(ACCOUNT, action=ACTION + action, **query)
    return await browser.sign_in() if 'name="password"' in page.text else page


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


# ---------------------------------------------------------------- m.oauth


def keys(user_id: str) -> dict[str, Any]:
    """New cross-signing keys."""

    def public(key: SigningKey) -> str:
        return base64.b64encode(bytes(key.verify_key)).decode().rstrip("=")

    master = SigningKey.generate()
    key_id = f"ed25519:{public(master)}"
    body: dict[str, Any] = {
        "master_key": {
            "user_id": user_id,
            "usage": ["master"],
            "keys": {key_id: public(master)},
        }
    }
    for usage in ("self_signing", "user_signing"):
        other = public(SigningKey.generate())
        key: dict[str, Any] = {
            "user_id": user_id,
            "usage": [usage],
            "keys": {f"ed25519:{other}": other},
        }
        signature = master.sign(encode_canonical_json(key)).signature
        key["signatures"] = {user_id: {key_id: base64.b64encode(signature).decode().rstrip("=")}}
        body[f"{usage}_key"] = key
    return body


async def test_cross_signing_keys_are_replaced_once_the_user_has_confirmed_it(
    one: Instance, browser: Browser, client: Client
) -> None:
    token = (await client.log_in(browser))["access_token"]
    other = (await client.log_in(browser, scope=scope("OTHER")))["access_token"]
    user_id = f"@{browser.user}:one.test"
    await one.call("POST", RESET, keys(user_id), token=token)
    new = keys(user_id)

    asked = await one.call("POST", RESET, new, token=token, status=401)
    url = asked["params"]["m.oauth"]["url"]
    auth = {"session": asked["session"]}
    early = await one.call("POST", RESET, {**new, "auth": auth}, token=token, status=401)
    forged = {**auth, "type": "m.oauth"}
    await one.call("POST", RESET, {**new, "auth": forged}, token=token, status=401)
    page = await browser.open(url.removeprefix("http://one.test"))
    confirmed = await browser.submit()
    await one.call("POST", RESET, keys(user_id), token=other, status=401)
    await one.call("POST", RESET, {**new, "auth": auth}, token=token)

    assert {"stages": ["m.oauth"]} in asked["flows"]
    assert early["session"] == asked["session"]
    assert parse_qs(urlsplit(url).query)["device_id"] == ["PHONE"]
    assert "A client" in page.text
    assert "You have confirmed it" in confirmed.text
    again = await one.call("POST", RESET, keys(user_id), token=token, status=401)
    assert again["session"] != asked["session"]


async def test_a_client_that_does_not_know_the_stage_leads_there_by_its_fallback_page(
    one: Instance, browser: Browser, client: Client
) -> None:
    token = (await client.log_in(browser))["access_token"]
    user_id = f"@{browser.user}:one.test"
    await one.call("POST", RESET, keys(user_id), token=token)
    new = keys(user_id)
    asked = await one.call("POST", RESET, new, token=token, status=401)
    auth = {"session": asked["session"]}
    fallback = f"/_matrix/client/v3/auth/m.oauth/fallback/web?session={asked['session']}"

    shown = await browser.open(fallback)
    early = await browser.submit()
    await one.call("POST", RESET, {**new, "auth": auth}, token=token, status=401)
    (link,) = re.findall(r'href="([^"]+)"', shown.text)
    await browser.open(link)
    await browser.submit()
    await browser.open(fallback)
    done = await browser.submit()
    await one.call("POST", RESET, {**new, "auth": auth}, token=token)
    unknown = await browser.open(fallback.replace(asked["session"], "unknown"))

    assert "POST /_matrix/client/v3/keys/device_signing/upload" in shown.text
    for page in (early, done):
        assert "window.onAuthDone" in page.text
    assert unknown.status == 404


async def test_a_confirmation_lapses(one: Instance, browser: Browser, client: Client) -> None:
    token = (await client.log_in(browser))["access_token"]
    user_id = f"@{browser.user}:one.test"
    await one.call("POST", RESET, keys(user_id), token=token)
    await manage(browser, "cross_signing_reset")
    await browser.submit()
    await one.wiring.database.execute("UPDATE oauth_approvals SET expires_at = 1")

    await one.call("POST", RESET, keys(user_id), token=token, status=401)


async def test_what_needs_a_password_is_done_on_the_pages(
    one: Instance, browser: Browser, client: Client
) -> None:
    token = (await client.log_in(browser))["access_token"]
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": browser.user},
        "password": PASSWORD,
    }
    address = {"medium": "email", "address": "ann@example.org"}

    for method, path in (
        ("DELETE", "/devices/PHONE"),
        ("POST", "/delete_devices"),
        ("POST", "/account/password"),
        ("POST", "/account/deactivate"),
        ("POST", "/account/3pid/delete"),
        ("POST", "/_matrix/client/v1/login/get_token"),
    ):
        body = {"auth": auth, "devices": ["PHONE"], "new_password": "new", **address}
        refused = await one.call(method, path, body, token=token, status=403)
        assert "http://one.test/_comity/account" in refused["error"]

    told = (await one.call("GET", "/capabilities", token=token))["capabilities"]
    assert told["m.change_password"] == {"enabled": False}
    await who(one, token)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/me/password", {"new_password": "taken over"}),
        ("/me/delete", {}),
        ("/devices/sign-out", {}),
    ],
)
async def test_a_client_that_was_let_in_has_to_prove_who_its_user_is(
    one: Instance, browser: Browser, client: Client, path: str, body: dict[str, Any]
) -> None:
    token = (await client.log_in(browser))["access_token"]

    refused = await conversations(one, path, body, token=token, status=403)
    by_guess = await conversations(one, path, {**body, "password": "x"}, token=token, status=403)

    assert refused["type"].endswith("proof_required")
    assert "Wrong user name or password" in str(by_guess)
    await who(one, token)


async def test_a_client_that_was_let_in_makes_no_api_token(
    one: Instance, browser: Browser, client: Client
) -> None:
    token = (await client.log_in(browser))["access_token"]
    body = {"name": "A program", "scopes": ["messages:read"]}

    refused = await conversations(one, "/tokens", body, token=token, status=403)

    assert "http://one.test/_comity/account" in str(refused)


@pytest.mark.parametrize("way", ["password", "logout", "admin"])
async def test_who_signs_out_everywhere_leaves_no_way_in(
    one: Instance, browser: Browser, client: Client, way: str
) -> None:
    user_id = f"@{browser.user}:one.test"
    token = (await one.call("POST", "/login", password_login(browser.user)))["access_token"]
    body = {"name": "A program", "scopes": ["conversations:read"]}
    made = await conversations(one, "/tokens", body, token=token, status=201)
    headers = {"Authorization": f"Bearer {made['token']}"}
    before = await one.client.get("/api/v1/conversations", headers=headers)
    code = await client.code(browser)
    login_token, _ = await one.wiring.sessions.new_login_token(UserId(user_id))
    television = await client.token_of_device()
    await one.wiring.database.execute(
        "UPDATE oauth_device_codes SET user_id = $1, granted = true WHERE user_id IS NULL", user_id
    )

    if way == "password":
        await conversations(one, "/me/password", {"new_password": "new"}, token=token, status=200)
    elif way == "logout":
        await one.call("POST", "/logout/all", {}, token=token)
    else:
        await Admin(one).call("POST", f"/users/{user_id}/sign_out", {"all": True})

    after = await one.client.get("/api/v1/conversations", headers=headers)
    left = await browser.open(f"{ACCOUNT}/profile")
    assert (before.status, after.status) == (200, 401)
    assert (await client.redeem(code, 400))["error"] == "invalid_grant"
    assert (await client.poll(television["device_code"], 400))["error"] == "invalid_grant"
    login = {"type": "m.login.token", "token": login_token}
    await one.call("POST", "/login", login, status=403)
    assert "Sign in" in left.text


# ---------------------------------------------------------------- clients of the legacy API


async def test_a_legacy_client_that_knows_of_oauth_logs_in_by_the_pages(
    one: Instance, browser: Browser
) -> None:
    url = "https://element.test/?a=b"
    flows = (await one.call("GET", "/login"))["flows"]

    await browser.open(
        f"/_matrix/client/v3/login/sso/redirect?action=login&redirectUrl={quote(url, safe='')}"
    )
    asked = await browser.sign_in()
    page = await browser.submit()
    token = page.location.removeprefix(f"{url}&loginToken=")
    answer = await one.call("POST", "/login", {"type": "m.login.token", "token": token})

    assert {"m.login.password", "m.login.sso"} <= {flow["type"] for flow in flows}
    assert [f["oauth_aware_preferred"] for f in flows if f["type"] == "m.login.sso"] == [True]
    assert "element.test" in asked.text
    assert answer["user_id"] == f"@{browser.user}:one.test"


async def test_a_browser_of_long_ago_gets_no_login_without_a_proof(
    one: Instance, browser: Browser
) -> None:
    await browser.open(f"{ACCOUNT}/sign-in")
    await browser.sign_in()
    shown = await browser.open(f"{ACCOUNT}/sso", redirectUrl="https://element.test/")
    await one.wiring.database.execute(
        "UPDATE account_sessions SET authenticated_at = 1 WHERE user_id = $1",
        f"@{browser.user}:one.test",
    )

    asked_again = await browser.submit()
    await browser.sign_in()
    sent_on = await browser.submit()

    assert "Continue to" in shown.text
    assert "prove again" in asked_again.text
    assert "loginToken=" in sent_on.location


async def test_such_a_client_leads_to_the_sign_up_too(one: Instance) -> None:
    async with Browser(one) as browser:
        page = await browser.open(
            "/_matrix/client/v3/login/sso/redirect?action=register&redirectUrl=https://x.test/"
        )

    assert "Make an account" in page.text


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "x", "https://a b/"])
async def test_a_login_is_sent_to_no_bad_address(browser: Browser, url: str) -> None:
    await browser.open(f"{ACCOUNT}/sign-in")
    await browser.sign_in()

    page = await browser.open(f"{ACCOUNT}/sso", redirectUrl=url)

    assert page.status == 400


async def test_a_login_is_sent_on_only_by_a_form_of_ours(browser: Browser) -> None:
    await browser.open(f"{ACCOUNT}/sign-in")
    await browser.sign_in()
    shown = await browser.open(f"{ACCOUNT}/sso", redirectUrl="https://evil.test/")

    page = await browser.submit(form_token="x")

    assert "loginToken" not in shown.text
    assert page.status == 403
