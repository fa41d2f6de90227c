"""A push gateway that takes nothing but what the specification allows.

Spec: push gateway API, ``POST /_matrix/push/v1/notify``.  Where the specification says "should",
and the server does so, the gateway insists.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jsonschema
from aiohttp import web
from aiohttp.test_utils import TestServer

PATH = "/_matrix/push/v1/notify"
COUNT = {"type": "integer", "minimum": 0}
DEVICE = {
    "type": "object",
    "required": ["app_id", "pushkey", "pushkey_ts", "data", "tweaks"],
    "additionalProperties": False,
    "properties": {
        "app_id": {"type": "string", "minLength": 1},
        "pushkey": {"type": "string", "minLength": 1},
        "pushkey_ts": {"type": "integer", "maximum": 100_000_000_000},  # seconds
        "data": {"type": "object", "not": {"required": ["url"]}},
        "tweaks": {"type": "object"},
    },
}
NOTIFICATION = {
    "type": "object",
    "required": ["devices", "counts"],
    "additionalProperties": False,
    "properties": {
        "event_id": {"type": "string", "pattern": r"^\$"},
        "room_id": {"type": "string", "pattern": "^!"},
        "type": {"type": "string"},
        "sender": {"type": "string", "pattern": "^@"},
        "sender_display_name": {"type": "string", "minLength": 1},
        "room_name": {"type": "string", "minLength": 1},
        "room_alias": {"type": "string", "pattern": "^#"},
        "user_is_target": {"type": "boolean"},
        "prio": {"enum": ["high", "low"]},
        "content": {"type": "object"},
        "counts": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"unread": COUNT, "missed_calls": COUNT},
        },
        "devices": {"type": "array", "minItems": 1, "maxItems": 1, "items": DEVICE},
    },
    "dependentRequired": {"event_id": ["room_id"], "room_id": ["event_id"]},
    "if": {"required": ["event_id"]},
    "then": {
        "properties": {
            "counts": {
                "properties": {"unread": {"minimum": 1}, "missed_calls": {"minimum": 1}},
            }
        }
    },
}
BODY = {
    "type": "object",
    "required": ["notification"],
    "additionalProperties": False,
    "properties": {"notification": NOTIFICATION},
}
VALIDATOR = jsonschema.Draft202012Validator(BODY)


class PushGateway:
    """Keeps what it was sent; what is wrong with that is in ``problems``."""

    def __init__(self) -> None:
        self.notifications: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.rejected: list[str] = []
        self.status = 200
        self.attempts = 0
        self.url = ""
        self._arrived = asyncio.Condition()

    async def _notify(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.problems += [error.message for error in VALIDATOR.iter_errors(body)]
        if request.content_type != "application/json":
            self.problems.append(f"its content type is {request.content_type}")
        async with self._arrived:
            self.attempts += 1
            if self.status == 200:
                self.notifications.append(body["notification"])
            self._arrived.notify_all()
        if self.status != 200:
            return web.json_response({}, status=self.status)
        return web.json_response({"rejected": self.rejected})

    async def until(self, arrived: Callable[[PushGateway], bool]) -> None:
        """Wait until what has arrived is as it should be."""
        async with asyncio.timeout(30), self._arrived:
            await self._arrived.wait_for(lambda: arrived(self))

    async def take(self, count: int = 1) -> list[dict[str, Any]]:
        """The next notifications, in the order of their arrival."""
        await self.until(lambda gateway: len(gateway.notifications) >= count)
        taken, self.notifications = self.notifications[:count], self.notifications[count:]
        assert not self.problems, self.problems
        return taken

    def app(self) -> web.Application:
        """The gateway as a web application."""
        app = web.Application()
        app.router.add_post(PATH, self._notify)
        return app


@asynccontextmanager
async def push_gateway(gateway: PushGateway | None = None) -> AsyncIterator[PushGateway]:
    """A gateway on a socket of loopback."""
    gateway = gateway or PushGateway()
    async with TestServer(gateway.app()) as server:
        gateway.url = str(server.make_url(PATH))
        yield gateway
