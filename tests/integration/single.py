"""One whole instance, as it is wired in production, on a real socket and a real database."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp.test_utils import TestClient, TestServer

from homeserver.app import build_app
from homeserver.config import load_config
from homeserver.protocol.signing import generate_signing_key
from homeserver.storage.database import Database
from homeserver.wiring import Wiring
from tests.spec.observer import observe


class Instance:
    """A running instance, and the ways of a client with it."""

    def __init__(self, wiring: Wiring, client: TestClient[Any, Any]) -> None:
        self.wiring = wiring
        self.client = client

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = "", status: int = 200
    ) -> dict[str, Any]:
        """One request of the Client-Server API, whose status is checked."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = path if path.startswith(("/_", "/.")) else f"/_matrix/client/v3{path}"
        async with self.client.request(method, url, json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == status, answer
            return answer

    async def register(self, name: str) -> str:
        """A new account's access token."""
        request = {"username": name, "password": "sesame", "auth": {"type": "m.login.dummy"}}
        token: str = (await self.call("POST", "/register", request))["access_token"]
        return token

    async def room(self, token: str, **request: Any) -> str:
        """A new room."""
        body = {"preset": "public_chat", **request}
        room_id: str = (await self.call("POST", "/createRoom", body, token=token))["room_id"]
        return room_id

    async def say(
        self, token: str, room_id: str, text: str, *, status: int = 200, **content: Any
    ) -> dict[str, Any]:
        """Send a message."""
        path = f"/rooms/{room_id}/send/m.room.message/{secrets.token_hex(4)}"
        body = {"msgtype": "m.text", "body": text, **content}
        return await self.call("PUT", path, body, token=token, status=status)

    async def texts(self, token: str, room_id: str) -> list[str]:
        """What a reader sees of a room, the oldest first."""
        path = f"/rooms/{room_id}/messages?dir=b&limit=50"
        chunk = (await self.call("GET", path, token=token))["chunk"]
        return [e["content"]["body"] for e in reversed(chunk) if "body" in e["content"]]


@asynccontextmanager
async def running(
    database: Database, directory: Path, *, port: int | None = None, **settings: Any
) -> AsyncIterator[Instance]:
    """An instance with these settings over the usual ones; on a port of its own without one."""
    path = directory / "comity.yaml"
    document = {
        "server_name": "one.test",
        "registration": {"mode": "open"},
        "rate_limits": {"enabled": False},
        **settings,
    }
    path.write_text(yaml.safe_dump(document))
    config = load_config(path, {})
    key = generate_signing_key(secrets.token_bytes(32), "test")
    wiring = Wiring(config, database, [key])
    await wiring.start()
    try:
        async with TestClient(TestServer(observe(build_app(wiring)), port=port)) as client:
            yield Instance(wiring, client)
            wiring.stop_waiting()
    finally:
        await wiring.close()
