"""An instance that sends mails, and somebody who reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from homeserver.storage.database import Database
from tests.harness.mailbox import Mailbox, mailbox, settings
from tests.integration.single import Instance, running

ADDRESS = "Alice@Example.org"
CANONICAL = "alice@example.org"
SECRET = "monkeys_are_GREAT"
STAGE = "m.login.email.identity"


class World:
    """An instance and where its mail goes."""

    def __init__(self, one: Instance, box: Mailbox) -> None:
        self.one = one
        self.box = box

    async def ask(self, where: str, status: int = 200, **body: Any) -> dict[str, Any]:
        """Ask for a mail."""
        request = {"client_secret": SECRET, "email": ADDRESS, "send_attempt": 1, **body}
        return await self.one.call("POST", f"{where}/email/requestToken", request, status=status)

    async def follow(self, number: int = -1) -> tuple[int, str]:
        """Follow the link in a mail, and press the button: the status, and the page."""
        link = self.box.link(number)
        path = link[link.index("/_comity") :]
        async with self.one.client.get(path) as response:
            assert response.status == 200, await response.text()
        token = path.rpartition("=")[2]
        async with self.one.client.post(
            path.partition("?")[0], data={"token": token}, allow_redirects=False
        ) as response:
            return response.status, response.headers.get("Location") or await response.text()

    async def credentials(self, where: str, **body: Any) -> dict[str, Any]:
        """The credentials of an address that was confirmed."""
        sid = (await self.ask(where, **body))["sid"]
        await self.follow()
        return {"sid": sid, "client_secret": body.get("client_secret", SECRET)}

    async def add(self, token: str, *, password: str = "sesame", **body: Any) -> None:
        """Add an address to an account."""
        creds = await self.credentials("/account/3pid", **body)
        auth = {"type": "m.login.password", "password": password}
        await self.one.call("POST", "/account/3pid/add", {**creds, "auth": auth}, token=token)

    async def addresses(self, token: str) -> list[str]:
        """The addresses of an account."""
        answer = await self.one.call("GET", "/account/3pid", token=token)
        return [entry["address"] for entry in answer["threepids"]]

    async def log_in(self, password: str, status: int = 200, **identifier: Any) -> dict[str, Any]:
        """Log in by password."""
        identifier = identifier or {
            "type": "m.id.thirdparty",
            "medium": "email",
            "address": ADDRESS,
        }
        request = {"type": "m.login.password", "identifier": identifier, "password": password}
        return await self.one.call("POST", "/login", request, status=status)


@asynccontextmanager
async def world_with(
    database: Database, directory: Path, registration: dict[str, Any] | None = None, **email: Any
) -> AsyncIterator[World]:
    """An instance that sends mail."""
    async with (
        mailbox() as box,
        running(
            database,
            directory,
            registration={"mode": "open", **(registration or {})},
            email=settings(box, **email),
        ) as one,
    ):
        yield World(one, box)
