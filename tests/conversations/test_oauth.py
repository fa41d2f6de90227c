"""Logging in at an OpenID Connect provider: what works, and what does not work for others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import pytest

from homeserver.config import ConfigError
from homeserver.services.sign_in.settings import check_redirect_urls, parse_providers
from homeserver.storage.database import Database
from tests.conversations.conftest import ApiUser
from tests.integration.single import Instance, running
from tests.services.sign_in.provider import CLIENT_SECRET, Provider, serving
from tests.services.sign_in.signed import new_key

APP = "https://shop.test/chat/done"
BEGIN = f"/api/v1/sessions/oauth/work?redirect_url={quote(APP)}"


class Browser:
    """A person's browser: follows redirects by hand, and has cookies of its own."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, where it leads, and what it shows."""
        url = str(self.instance.client.make_url("")).rstrip("/") + path
        async with self.session.get(url, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", ""), await response.text()

    async def at_provider(self, begin: str = BEGIN) -> str:
        """Go to the provider, and log in there; the path to which it sends the browser back."""
        status, location, text = await self.get(begin)
        assert status == 302, text
        async with self.session.get(location, allow_redirects=False) as response:
            assert response.status == 302, await response.text()
            back = urlsplit(response.headers["Location"])
        return f"{back.path}?{back.query}"

    async def confirm(self, path: str, *, form_token: str = "") -> tuple[str, str | None]:
        """Press the button of the page that asks first: the page, and where that leads."""
        status, location, page = await self.get(path)
        assert (status, location) == (200, "")
        token = form_token or page.partition('name="form_token" value="')[2].partition('"')[0]
        url = str(self.instance.client.make_url("")).rstrip("/") + path
        async with self.session.post(
            url, data={"form_token": token}, allow_redirects=False
        ) as response:
            assert response.status in (303, 403), await response.text()
            return page, response.headers.get("Location")

    async def confirmed_at_provider(self, path: str) -> str:
        """Press that button, and log in at the provider; where it sends the browser back."""
        _, location = await self.confirm(path)
        assert location is not None
        async with self.session.get(location, allow_redirects=False) as response:
            assert response.status == 302, await response.text()
            back = urlsplit(response.headers["Location"])
        return f"{back.path}?{back.query}"

    async def log_in(self, begin: str = BEGIN) -> dict[str, str]:
        """Log in; what the application is told."""
        status, location, text = await self.get(await self.at_provider(begin))
        assert status == 302, text
        assert location.startswith(APP + "?")
        return {key: value[0] for key, value in parse_qs(urlsplit(location).query).items()}


@asynccontextmanager
async def with_provider(
    database: Database, tmp_path: Path, provider: Provider, **changes: Any
) -> AsyncIterator[tuple[Instance, Browser]]:
    async with serving(provider):
        settings: dict[str, Any] = {
            "public_base_url": "http://chat.test",
            "oidc_providers": [{**provider.settings, **changes}],
            "sso_redirect_urls": ["https://shop.test/chat/*"],
        }
        async with running(database, tmp_path, **settings) as instance:
            browser = Browser(instance)
            try:
                yield instance, browser
            finally:
                await browser.session.close()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_login_at_a_provider_is_changed_for_a_session(
    database: Database, tmp_path: Path, algorithm: str
) -> None:
    async with with_provider(database, tmp_path, Provider(algorithm)) as (instance, browser):
        nobody = ApiUser(instance, "nobody", "")

        told = await browser.log_in(f"{BEGIN}&state=mine")
        body = {"login_token": told["login_token"]}
        session = await nobody.post("/sessions", body, status=201)
        await nobody.post("/sessions", body, status=403)
        again = await browser.log_in()
        other = await nobody.post("/sessions", {"login_token": again["login_token"]}, status=201)
        ways = await nobody.get("/sessions/ways")

        assert told["state"] == "mine"
        assert session["person"]["address"] == "ann@one.test"
        assert session["person"]["name"] == "Ann Onym"
        assert other["person"]["address"] == "ann@one.test"
        assert other["device_id"] != session["device_id"]
        assert ways["providers"] == [
            {
                "id": "work",
                "name": "Example Work",
                "url": "http://chat.test/api/v1/sessions/oauth/work",
            }
        ]


async def test_a_matrix_client_logs_in_through_the_provider(
    database: Database, tmp_path: Path
) -> None:
    async with with_provider(database, tmp_path, Provider()) as (instance, browser):
        flows = (await instance.call("GET", "/login"))["flows"]
        path = "/_matrix/client/v3/login/sso/redirect?redirectUrl=https%3A%2F%2Felement.test%2F%3Fa"

        back = await browser.at_provider(path)
        status, location, page = await browser.get(back)
        token = page.partition("loginToken=")[2].partition('"')[0]
        answer = await instance.call("POST", "/login", {"type": "m.login.token", "token": token})

        assert {
            "type": "m.login.sso",
            "identity_providers": [{"id": "work", "name": "Example Work"}],
            "oauth_aware_preferred": True,
            "org.matrix.msc3824.delegated_oidc_compatibility": True,
        } in flows
        assert (status, location) == (200, "")  # that place is on no list: the person sends it on
        assert "https://element.test/?a&amp;loginToken=" in page
        assert "Continue to element.test" in page
        assert answer["user_id"] == "@ann:one.test"


async def test_a_login_token_that_an_address_has_in_it_already_is_taken_out(
    database: Database, tmp_path: Path
) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        url = "https://element.test/?loginToken=planted&a=%20b&login%54oken=too"
        path = f"/_matrix/client/v3/login/sso/redirect?redirectUrl={quote(url, safe='')}"

        _, _, page = await browser.get(await browser.at_provider(path))

        assert "https://element.test/?a=%20b&amp;loginToken=cml_" in page
        assert "planted" not in page
        assert "too" not in page.partition("<main")[2]


async def test_a_listed_matrix_client_is_gone_back_to_at_once(
    database: Database, tmp_path: Path
) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        path = f"/_matrix/client/v3/login/sso/redirect/work?redirectUrl={quote(APP)}"

        status, location, _ = await browser.get(await browser.at_provider(path))

        assert status == 302
        assert location.startswith(f"{APP}?loginToken=cml_")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/chat/",
        "https://shop.test.evil.test/chat/",
        "https://shop.test@evil.test/chat/",
        "http://shop.test/chat/",
        "javascript:alert(1)",
        "",
        "//shop.test/chat/",
        "https://shop.test/chat/\nx",
        "https://shop.test/chat\\@evil.test/",
    ],
)
async def test_login_tokens_go_to_listed_places_only(
    database: Database, tmp_path: Path, url: str
) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        path = f"/api/v1/sessions/oauth/work?redirect_url={quote(url, safe='')}"
        status, location, _ = await browser.get(path)

        assert status == 400
        assert location == ""


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "x", "https://", "https://["]
)
async def test_matrix_clients_name_no_place_that_would_run(
    database: Database, tmp_path: Path, url: str
) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        path = f"/_matrix/client/v3/login/sso/redirect?redirectUrl={quote(url, safe='')}"

        assert (await browser.get(path))[0] == 400


async def test_another_browser_cannot_end_a_login(database: Database, tmp_path: Path) -> None:
    """Else somebody could be logged in to an attacker's account, and write there."""
    async with with_provider(database, tmp_path, Provider()) as (instance, browser):
        back, other = await browser.at_provider(), Browser(instance)

        status, location, page = await other.get(back)
        await other.session.close()
        mine, mine_to, _ = await browser.get(back)

        assert (status, location) == (403, "")
        assert "another browser" in page
        assert (mine, mine_to) == (403, "")  # and it is over


async def test_an_answer_counts_once(database: Database, tmp_path: Path) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        back = await browser.at_provider()

        first = await browser.get(back)
        second = await browser.get(back)

        assert (first[0], second[0]) == (302, 403)


async def test_a_login_that_took_too_long_is_over(database: Database, tmp_path: Path) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        back = await browser.at_provider()
        await database.execute("UPDATE oidc_logins SET created_at = created_at - 16 * 60000")

        assert (await browser.get(back))[0] == 403


@pytest.mark.parametrize(
    "lies",
    [
        {"nonce": "of another login"},
        {"nonce": None},
        {"aud": "another application"},
        {"aud": ["comity", "other"], "azp": "other"},
        {"iss": "https://evil.test"},
        {"exp": 1},
        {"sub": None},
        {"sub": ""},
    ],
)
async def test_a_token_that_is_not_of_this_login_is_refused(
    database: Database, tmp_path: Path, lies: dict[str, Any]
) -> None:
    async with with_provider(database, tmp_path, Provider(lies=lies)) as (instance, browser):
        told = await browser.log_in()

        assert told["error"] == "access_denied"
        assert "login_token" not in told
        assert not await instance.wiring.accounts.exists("@ann:one.test")


async def test_a_token_that_another_key_signed_is_refused(
    database: Database, tmp_path: Path
) -> None:
    provider = Provider()
    provider.signing_key = new_key("RS256")
    async with with_provider(database, tmp_path, provider) as (_, browser):
        assert (await browser.log_in())["error"] == "access_denied"


async def test_a_code_that_was_injected_does_not_fit(database: Database, tmp_path: Path) -> None:
    """A code of another login, or one made up: the verifier, or the provider, says no."""
    async with with_provider(database, tmp_path, Provider()) as (instance, browser):
        other = Browser(instance)
        stolen = parse_qs(urlsplit(await other.at_provider()).query)["code"][0]
        await other.session.close()
        for code in (stolen, "made-up"):
            back = await browser.at_provider()
            mine = parse_qs(urlsplit(back).query)["code"][0]

            _, location, _ = await browser.get(back.replace(mine, code))

            assert "error=access_denied" in location


async def test_who_says_no_at_the_provider_is_not_logged_in(
    database: Database, tmp_path: Path
) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        back = await browser.at_provider()
        state = parse_qs(urlsplit(back).query)["state"][0]

        path = urlsplit(back).path
        status, location, _ = await browser.get(f"{path}?error=access_denied&state={state}")

        assert status == 302
        assert location.startswith(f"{APP}?error=access_denied")


async def test_the_answer_of_another_provider_is_refused(
    database: Database, tmp_path: Path
) -> None:
    async with with_provider(database, tmp_path, Provider()) as (_, browser):
        back = await browser.at_provider()

        _, location, _ = await browser.get(back.partition("&iss=")[0] + "&iss=https://evil.test")

        assert "error=access_denied" in location


async def test_what_the_token_lacks_is_asked_of_the_provider(
    database: Database, tmp_path: Path
) -> None:
    provider = Provider(only_in_userinfo=("preferred_username", "name"))
    async with with_provider(database, tmp_path, provider) as (instance, browser):
        await browser.log_in()

        profile = await instance.call("GET", "/profile/@ann:one.test")
        assert profile["displayname"] == "Ann Onym"


async def test_a_provider_that_speaks_of_two_people_is_not_believed(
    database: Database, tmp_path: Path
) -> None:
    provider = Provider(only_in_userinfo=("preferred_username",), userinfo_sub="u2")
    async with with_provider(database, tmp_path, provider) as (_, browser):
        assert (await browser.log_in())["error"] == "access_denied"


async def test_a_name_that_is_taken_gets_a_number(database: Database, tmp_path: Path) -> None:
    async with with_provider(database, tmp_path, Provider()) as (instance, browser):
        await instance.register("ann")

        token = (await browser.log_in())["login_token"]
        answer = await instance.call("POST", "/login", {"type": "m.login.token", "token": token})

        assert answer["user_id"] == "@ann-2:one.test"


async def test_an_account_of_that_name_is_adopted_only_where_that_is_allowed(
    database: Database, tmp_path: Path
) -> None:
    settings = {"adopt_accounts": True}
    async with with_provider(database, tmp_path, Provider(), **settings) as (instance, browser):
        await instance.register("ann")

        token = (await browser.log_in())["login_token"]
        answer = await instance.call("POST", "/login", {"type": "m.login.token", "token": token})

        assert answer["user_id"] == "@ann:one.test"


async def test_a_provider_that_is_away_is_a_page_and_no_fault(
    database: Database, tmp_path: Path
) -> None:
    settings = {"issuer": "http://127.0.0.1:9"}
    async with with_provider(database, tmp_path, Provider(), **settings) as (_, browser):
        status, _, text = await browser.get(BEGIN)
        unknown, _, _ = await browser.get(BEGIN.replace("/work", "/home"))

        assert status == 502
        assert "127.0.0.1:9 does not answer" in text
        assert unknown == 404


async def test_a_user_without_password_proves_it_at_the_provider(
    database: Database, tmp_path: Path
) -> None:
    """User-interactive authentication: the stage m.login.sso, by its fallback page."""
    provider = Provider()
    async with with_provider(database, tmp_path, provider) as (instance, browser):
        token = (await browser.log_in())["login_token"]
        body = {"type": "m.login.token", "token": token}
        session = await instance.call("POST", "/login", body)
        second = await browser.log_in()
        body = {"type": "m.login.token", "token": second["login_token"]}
        other = await instance.call("POST", "/login", body)
        path, mine = f"/devices/{other['device_id']}", session["access_token"]

        asked = await instance.call("DELETE", path, {}, token=mine, status=401)
        auth = {"session": asked["session"]}
        forged = {**auth, "type": "m.login.sso", "user_id": session["user_id"]}
        await instance.call("DELETE", path, {"auth": forged}, token=mine, status=401)
        fallback = "/_matrix/client/v3/auth/m.login.sso/fallback/web?session=" + asked["session"]
        provider.person["sub"] = "u2"
        shown, unasked = await browser.confirm(fallback, form_token="guess")
        status, _, _ = await browser.get(await browser.confirmed_at_provider(fallback))
        await instance.call("DELETE", path, {"auth": auth}, token=mine, status=401)
        provider.person["sub"] = "u1"
        done, _, page = await browser.get(await browser.confirmed_at_provider(fallback))
        await instance.call("DELETE", path, {"auth": auth}, token=mine)

        assert asked["flows"] == [{"stages": ["m.login.sso"]}]
        assert f"DELETE /_matrix/client/v3{path}" in shown
        assert unasked is None
        assert status == 403
        assert done == 200
        assert "authDone" in page
        assert not await instance.wiring.accounts.exists("@ann-2:one.test")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"client_secret_file": "x"}, "one of client_secret"),
        ({"client_secret": None, "client_auth": "client_secret_post"}, "takes a client_secret"),
        ({"localpart": "everybody"}, "must name a claim"),
        ({"scopes": ["email"]}, "openid"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as refused:
        parse_providers([{**Provider().settings, **changes}], Path())

    assert CLIENT_SECRET not in str(refused.value)


def test_a_beginning_of_addresses_fixes_the_host() -> None:
    check_redirect_urls(["https://shop.test/*", "https://shop.test/x", "myapp:*"])
    with pytest.raises(ConfigError, match="fits many hosts"):
        check_redirect_urls(["https://shop.test*"])
