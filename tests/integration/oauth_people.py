"""A person with a browser, and a client, for the tests of the OAuth 2.0 API."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import ClientSession, CookieJar, FormData
from yarl import URL

from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.single import Instance, running

METADATA = "/_matrix/client/v1/auth_metadata"
OAUTH, ACCOUNT, LINK = "/_comity/oauth", "/_comity/account", "/_comity/link"
PASSWORD = "sesame"
REDIRECT = "https://app.client.test/callback"
CLIENT: dict[str, Any] = {
    "client_name": "A client",
    "client_uri": "https://client.test/",
    "redirect_uris": [REDIRECT, "https://app.client.test/other?a=b"],
    "grant_types": [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
    ],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
    "application_type": "web",
}
API = "urn:matrix:client:api:*"
NUMBERS = count(1)


def scope(device_id: str) -> str:
    """What a Matrix client asks for."""
    return f"{API} urn:matrix:client:device:{device_id}"


class Page:
    """What a browser shows: where it is, and what it has been answered."""

    def __init__(self, status: int, text: str, url: URL, headers: Any) -> None:
        self.status, self.text, self.url, self.headers = status, text, url, headers

    @property
    def location(self) -> str:
        """Where it is sent to."""
        return str(self.headers["Location"])

    @property
    def way_back(self) -> str:
        """Where the page's button leads."""
        found = re.search(r'class="button" href="([^"]+)"', self.text)
        assert found is not None
        return unescape(found[1])

    def answer(self) -> dict[str, str]:
        """What the client is told by the address that the browser is sent to, or can go to."""
        parts = urlsplit(self.location if self.status == 303 else self.way_back)
        return {key: values[0] for key, values in parse_qs(parts.fragment or parts.query).items()}


class Browser:
    """A browser with cookies of its own, which follows us as long as we lead to ourselves."""

    def __init__(self, one: Instance, user: str = "alice") -> None:
        """``user``: who sits before it."""
        self.user = user
        self._base = one.client.make_url("/")
        self._session = ClientSession(cookie_jar=CookieJar(unsafe=True))
        self.page: Page | None = None

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    @property
    def cookies(self) -> dict[str, str]:
        """What it would send."""
        jar = self._session.cookie_jar.filter_cookies(self._base)
        return {name: morsel.value for name, morsel in jar.items()}

    def plant(self, cookies: dict[str, str]) -> None:
        """Put cookies there."""
        self._session.cookie_jar.update_cookies(cookies, self._base)

    async def open(self, path: str, **query: str) -> Page:
        """Go to an address, and on to where it leads."""
        url = self._base.join(URL(path))
        return await self._go("GET", url.update_query(query) if query else url, None)

    async def fetch(self, path: str) -> bytes:
        """Load something that a page shows."""
        async with self._session.get(self._base.join(URL(path))) as response:
            assert response.status == 200
            return await response.read()

    async def submit(self, path: str = "", **fields: str) -> Page:
        """Send the form of the page that is shown, with its hidden fields."""
        assert self.page is not None
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.page.text))
        url = self._base.join(URL(path)) if path else self.page.url
        return await self._go("POST", url, {**hidden, **fields})

    async def send_file(self, path: str, field: str, content: bytes, kind: str) -> Page:
        """Send a form of the page that is shown, with a file."""
        assert self.page is not None
        found = re.search(r'name="form_token" value="([^"]*)"', self.page.text)
        form = FormData()
        form.add_field("form_token", found[1] if found is not None else "")
        form.add_field(field, content, filename="a file", content_type=kind)
        return await self._go("POST", self._base.join(URL(path)), form)

    async def send(self, path: str, body: bytes, kind: str) -> Page:
        """Send a body that no form of ours has made."""
        url = self._base.join(URL(path))
        return await self._go("POST", url, body, headers={"Content-Type": kind})

    async def _go(self, method: str, url: URL, data: Any, **options: Any) -> Page:
        while True:
            async with self._session.request(
                method, url, data=data, allow_redirects=False, **options
            ) as response:
                page = Page(response.status, await response.text(), url, response.headers)
            if page.status not in (302, 303) or not page.location.startswith("/"):
                self.page = page
                return page
            method, url, data = "GET", self._base.join(URL(page.location, encoded=True)), None
            options = {}

    async def sign_in(self, user: str = "", password: str = PASSWORD) -> Page:
        """Fill in the form of the sign-in page, wherever that has been reached."""
        return await self.submit(user=user or self.user, password=password)


class Client:
    """An OAuth client that does as it is told by nobody: everything by hand."""

    def __init__(self, one: Instance, client_id: str) -> None:
        self._one = one
        self.client_id = client_id
        self.verifier = secrets.token_urlsafe(48)

    @classmethod
    async def register(cls, one: Instance, **metadata: Any) -> Client:
        """A client that has registered itself."""
        answer = await one.call("POST", f"{OAUTH}/register", {**CLIENT, **metadata}, status=201)
        return cls(one, answer["client_id"])

    def request(self, device_id: str = "PHONE", **changes: str | None) -> str:
        """The address of an authorization request; a change to None leaves something out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "scope": scope(device_id),
            "state": "a state & more",
            "response_mode": "fragment",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changes,
        }
        left = {key: value for key, value in query.items() if value is not None}
        return f"{OAUTH}/authorize?{urlencode(left)}"

    async def code(self, browser: Browser, **changes: str | None) -> str:
        """A code, for which somebody has signed in and agreed."""
        page = await browser.open(self.request(**changes))
        if "Sign in" in page.text:
            page = await browser.sign_in()
        assert page.status == 200, page.text
        return (await browser.submit(answer="allow")).answer()["code"]

    async def token(self, status: int = 200, **fields: str) -> dict[str, Any]:
        """Ask the token endpoint."""
        body = {"client_id": self.client_id, **fields}
        return await post(self._one, "token", body, status=status)

    async def redeem(self, code: str, status: int = 200, **changes: str) -> dict[str, Any]:
        """Change a code for tokens."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": self.verifier,
        }
        return await self.token(status, **{**fields, **changes})

    async def refresh(self, token: str, status: int = 200, **changes: str) -> dict[str, Any]:
        """Change a refresh token for new tokens."""
        fields = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.token(status, **{**fields, **changes})

    async def log_in(self, browser: Browser, **changes: str | None) -> Any:
        """The whole of it."""
        return await self.redeem(await self.code(browser, **changes))

    async def token_of_device(self, device_id: str = "TELEVISION") -> dict[str, Any]:
        """Ask for a code that somebody enters elsewhere."""
        fields = {"client_id": self.client_id, "scope": scope(device_id)}
        return await post(self._one, "device", fields)

    async def poll(self, device_code: str, status: int = 200) -> dict[str, Any]:
        """Ask whether it was entered."""
        kind = "urn:ietf:params:oauth:grant-type:device_code"
        return await self.token(status, grant_type=kind, device_code=device_code)


@asynccontextmanager
async def shared_instance(
    postgres: TestPostgres, directory: Path, **settings: Any
) -> AsyncIterator[Instance]:
    """An instance for all tests of a file: each has users of its own."""
    database = await Database.connect(await postgres.create_database(), min_size=1, max_size=8)
    settings = {"public_base_url": "http://one.test", **settings}
    async with running(database, directory, **settings) as instance:
        yield instance
    await database.close()


@asynccontextmanager
async def somebody(one: Instance) -> AsyncIterator[Browser]:
    """A new user, before a browser."""
    name = f"user{next(NUMBERS)}"
    await one.register(name)
    async with Browser(one, name) as browser:
        yield browser


async def post(
    one: Instance, endpoint: str, fields: dict[str, str], *, status: int = 200
) -> dict[str, Any]:
    """Send a form to one of the endpoints."""
    async with one.client.post(f"{OAUTH}/{endpoint}", data=fields) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == status, answer
        assert response.headers["Cache-Control"] == "no-store"
        return answer


async def who(one: Instance, token: str, status: int = 200) -> dict[str, Any]:
    """Whose access token it is."""
    return await one.call("GET", "/account/whoami", token=token, status=status)


async def conversations(
    one: Instance, path: str, body: dict[str, Any], *, token: str, status: int
) -> dict[str, Any]:
    """A call of the Conversations API, whose status is checked."""
    headers = {"Authorization": f"Bearer {token}"}
    async with one.client.post(f"/api/v1{path}", json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == status, answer
        return answer


def password_login(user: str) -> dict[str, Any]:
    """What the legacy API takes."""
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
