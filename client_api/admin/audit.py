"""The audit trail: each call that may change something is noted before it acts, and after."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from homeserver.app_keys import DATABASE
from homeserver.errors import MatrixError
from homeserver.storage import admin_audit as storage
from homeserver.web import Handler

ACTOR = web.RequestKey("admin_actor", str)
SECRET = frozenset({"password"})
SECRET_IN_PATHS = ("token",)
MAX_TARGET_LENGTH = 1_000
_PREFIX = re.compile(r"^/_comity/admin/v1|^/_matrix/client/[^/]+")


async def audited(
    request: web.Request,
    actor: str,
    action: str,
    details: dict[str, Any],
    act: Callable[[], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """Act, with an entry in the audit trail."""
    database = request.app[DATABASE]
    audit_id = await storage.begin(
        database,
        now_ms=time.time_ns() // 1_000_000,
        actor=actor,
        action=action,
        target=_target(request),
        details=details,
    )
    status = 500
    try:
        response = await act()
        status = response.status
        return response
    except MatrixError as error:
        status = error.status
        raise
    finally:
        await storage.end(database, audit_id, status)


def _target(request: web.Request) -> str:
    """The path, with the name of a parameter in the place of one that is a secret."""
    path = _PREFIX.sub("", request.path)
    for name in SECRET_IN_PATHS:
        if name in request.match_info:
            path = path.replace("/" + request.match_info[name], f"/{{{name}}}")
    return path[:MAX_TARGET_LENGTH]


def details_of(body: Any, query: Any) -> dict[str, Any]:
    """What a call says, without what must not be kept: the ``secret_fields`` of its types, too."""
    said: dict[str, Any] = {}
    for part in (query, body):
        if part is not None:
            said |= msgspec.to_builtins(part)
            for name in getattr(part, "secret_fields", ()):
                said.pop(name, None)
    return {
        name: value
        for name, value in said.items()
        if value not in (None, "", [], {}) and name not in SECRET
    }


def audited_handler(handler: Handler) -> Handler:
    """A handler of the older kind, which authorises by itself; its query is kept, not its body."""
    action = getattr(handler, "__name__", "")

    async def audit(request: web.Request) -> web.StreamResponse:
        from client_api.admin.routing import require_admin

        actor = await require_admin(request)
        query = {key: value for key, value in request.query.items() if key != "access_token"}
        return await audited(request, actor, action, query, lambda: handler(request))

    audit.__name__ = action
    audit.__doc__ = handler.__doc__
    audit.__module__ = handler.__module__
    return audit
