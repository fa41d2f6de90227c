"""What the user confirms on the pages: the stage m.oauth, and what needs a proof."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from canonicaljson import encode_canonical_json
from nacl.signing import SigningKey

from homeserver.protocol.identifiers import UserId
from tests.integration.admin_world import Admin
from tests.integration.oauth.account_world import RESET, manage
from tests.integration.oauth_people import (
    ACCOUNT,
    Browser,
    Client,
    conversations,
    password_login,
    scope,
    who,
)
from tests.integration.single import Instance

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    auth = password_login(browser.user)
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
        status = 400 if path.endswith("/get_token") else 403
        refused = await one.call(method, path, body, token=token, status=status)
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
