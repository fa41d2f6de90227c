"""An application service for tests: a web server that takes transactions and answers questions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

AS_TOKEN, HS_TOKEN = "as-token-of-tests", "hs-token-of-tests"
BOT = "@bridgebot:one.test"
WAIT_SECONDS = 30.0


class Service:
    """What an application service was told, and how it answers."""

    def __init__(self) -> None:
        self.transactions: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.attempts: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.answers: dict[str, Any] = {}
        self.on_user: Any = None
        self.on_alias: Any = None
        self._news = asyncio.Event()
        self.server: TestServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.port}"

    def app(self) -> web.Application:
        app = web.Application(client_max_size=50 * 1024 * 1024)
        app.router.add_put("/_matrix/app/v1/transactions/{txn_id}", self._transaction)
        app.router.add_route("*", "/{path:.*}", self._other)
        return app

    def _check(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {HS_TOKEN}":
            raise web.HTTPForbidden(text='{"errcode": "M_FORBIDDEN"}')

    async def _transaction(self, request: web.Request) -> web.Response:
        self._check(request)
        txn_id, body = request.match_info["txn_id"], await request.json()
        self.attempts.append((txn_id, body))
        self._news.set()
        if self.status == 200:
            self.transactions.setdefault(txn_id, body)
        return web.json_response({}, status=self.status)

    async def _other(self, request: web.Request) -> web.Response:
        self._check(request)
        self.asked.append(request.path_qs)
        if request.path.startswith("/_matrix/app/v1/users/") and self.on_user is not None:
            return web.json_response({}, status=await self.on_user(request.path[22:]))
        if request.path.startswith("/_matrix/app/v1/rooms/") and self.on_alias is not None:
            return web.json_response({}, status=await self.on_alias(request.path[22:]))
        if request.path in self.answers:
            return web.json_response(self.answers[request.path], status=self.status)
        if request.path == "/_matrix/app/v1/ping":
            return web.json_response({}, status=self.status)
        return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)

    def told(self, key: str = "events") -> list[dict[str, Any]]:
        """All that came under a key, in order."""
        return [item for body in self.transactions.values() for item in body.get(key, ())]

    def texts(self) -> list[str]:
        return [e["content"]["body"] for e in self.told() if "body" in e["content"]]

    async def until(self, condition: Any) -> None:
        """Wait until something has come that meets a condition."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()


def registration(url: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "id": "bridge",
        "url": url,
        "as_token": AS_TOKEN,
        "hs_token": HS_TOKEN,
        "sender_localpart": "bridgebot",
        "namespaces": {
            "users": [{"exclusive": True, "regex": r"@_irc_.*:one\.test"}],
            "aliases": [{"exclusive": True, "regex": r"#_irc_.*:one\.test"}],
            "rooms": [],
        },
        "rate_limited": False,
        "protocols": ["irc"],
        "receive_ephemeral": True,
        **changes,
    }


class Bridged:
    """An instance with an application service."""

    def __init__(self, one: Instance, service: Service) -> None:
        self.one = one
        self.service = service

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str | None = None,
        status: int = 200,
        token: str = AS_TOKEN,
        **query: Any,
    ) -> dict[str, Any]:
        """A request by the application service, as its bot or another of its users."""
        if user is not None:
            query["user_id"] = user
        if query:
            path += f"?{urlencode(query)}"
        return await self.one.call(method, path, body, token=token, status=status)

    async def ghost(self, name: str) -> str:
        """A user of the application service's."""
        body = {
            "type": "m.login.application_service",
            "username": f"_irc_{name}",
            "inhibit_login": True,
        }
        user_id: str = (await self.call("POST", "/register", body))["user_id"]
        return user_id

    async def say(self, user: str, room_id: str, text: str, txn: str = "1", **query: Any) -> str:
        path = f"/rooms/{quote(room_id)}/send/m.room.message/{txn}"
        body = {"msgtype": "m.text", "body": text}
        sent = await self.call("PUT", path, body, user=user, **query)
        event_id: str = sent["event_id"]
        return event_id


@asynccontextmanager
async def bridged(
    database: Database,
    directory: Path,
    *,
    changes: dict[str, Any] | None = None,
    service: Service | None = None,
    exempt: bool = False,
    **settings: Any,
) -> AsyncIterator[Bridged]:
    """An instance with one application service; ``changes`` to its registration."""
    service = service or Service()
    own = service.server is None
    if own:
        service.server = TestServer(service.app())
        await service.server.start_server()
    path = directory / "bridge.yaml"
    path.write_text(yaml.safe_dump({**registration(service.url), **(changes or {})}))
    listed = {"file": path.name, "exempt_from_consent": exempt}
    try:
        async with running(database, directory, app_services=[listed], **settings) as one:
            yield Bridged(one, service)
    finally:
        if own and service.server is not None:
            await service.server.close()
