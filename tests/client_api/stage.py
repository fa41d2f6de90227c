"""A server of some routes alone, on a real socket, whose callers are known by simple tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from homeserver.app_keys import ACCOUNT_STANDING, APP_SERVICES, OAUTH_TOKENS, SESSIONS
from homeserver.errors import UnknownToken
from homeserver.protocol.identifiers import UserId
from homeserver.services.requester import Requester
from homeserver.web import add_cors_headers, cors_middleware, error_middleware
from tests.spec.observer import observe

ALICE = "@alice:one.example"
BOB = "@bob:one.example"


class NoAppServices:
    """There are none."""

    def by_token(self, token: str) -> None:
        """Nobody's."""

    def owner(self, user_id: str) -> None:
        """Nobody."""


class Standing:
    """Nobody is locked or suspended."""

    def is_locked(self, user_id: str) -> bool:
        """No."""
        return False

    def is_suspended(self, user_id: str) -> bool:
        """No."""
        return False

    def require_active(self, user_id: str) -> None:
        """They are."""


class NoOAuth:
    """Nobody has logged in by OAuth 2.0."""

    async def uses_oauth(self, user_id: str, device_id: str | None) -> bool:
        """No."""
        return False


class Sessions:
    """Knows callers by tokens of the form ``alice/DEVICE``."""

    async def authenticate(self, token: str, origin: Any) -> Requester:
        """The caller whom a token names."""
        name, _, device_id = token.partition("/")
        if not device_id:
            raise UnknownToken("No such token")
        return Requester(UserId.parse(f"@{name}:one.example"), device_id)


def bearer(token: str) -> dict[str, str]:
    """The header that bears a token."""
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def serve(
    routes: Iterable[web.RouteDef], parts: dict[Any, Any]
) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of a server with these routes and parts."""
    app = web.Application(
        middlewares=[cors_middleware, error_middleware], client_max_size=1_000_000
    )
    app[SESSIONS] = Sessions()  # type: ignore[misc]
    app[APP_SERVICES] = NoAppServices()  # type: ignore[misc]
    app[ACCOUNT_STANDING] = Standing()  # type: ignore[misc]
    app[OAUTH_TOKENS] = NoOAuth()  # type: ignore[misc]
    for key, part in parts.items():
        app[key] = part
    app.add_routes(list(routes))
    app.on_response_prepare.append(add_cors_headers)
    async with TestClient(TestServer(observe(app))) as client:
        yield client
