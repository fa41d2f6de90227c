"""Listens to a server in the test's process: what it answers goes to the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from homeserver.web import Handler

from .bundle import Operation, plain_path
from .contract import JSON, by_key, contract

LARGEST_EVENT = 65_536
SENDING = {"sendMessage", "setRoomStateWithKey", "setAccountData", "setAccountDataPerRoom"}


def observe(app: web.Application) -> web.Application:
    """Hold every answer of an application, not yet started, against the specification."""
    handlers: dict[Any, list[Operation]] = {}
    for route in app.router.routes():
        if route.resource is not None:
            found = by_key().get((route.method, plain_path(route.resource.canonical)))
            if found:
                handlers[route.handler] = found

    def operations_of(request: web.Request) -> list[Operation]:
        route = request.match_info.route
        return by_key().get(
            (request.method, plain_path(route.resource.canonical if route.resource else ""))
        ) or handlers.get(route.handler, [])

    @web.middleware
    async def note_malformed(request: web.Request, handler: Handler) -> web.StreamResponse:
        # before it is sent: others may be shown it before its sender has the answer
        if (request.content_length or 0) <= LARGEST_EVENT:
            await _note_malformed(request, operations_of(request))
        return await handler(request)

    async def on_answer(request: web.Request, response: web.StreamResponse) -> None:
        if not request.path.startswith(("/_matrix/", "/.well-known/matrix/")):
            return
        if request.method in ("HEAD", "OPTIONS"):
            return
        candidates = operations_of(request)
        if is_another_operation(request, response, candidates):
            candidates = []
        if len(candidates) > 1:
            candidates = [await _told_apart(request, candidates)]

        def check(body: Any) -> None:
            contract().check(
                candidates,
                f"{request.method} {request.raw_path[:200]}",
                response.status,
                response.content_type,
                bytes(body) if isinstance(body, bytes | bytearray) else None,
            )

        if isinstance(response, web.Response):
            check(response.body)
        elif response.content_type == JSON:
            _collect(response, check)
        else:
            check(None)

    app.middlewares.append(note_malformed)
    app.on_response_prepare.append(on_answer)
    return app


def _collect(response: web.StreamResponse, then: Callable[[bytes], None]) -> None:
    """Call ``then`` with the whole of what is written bit by bit, once it is."""
    parts: list[bytes] = []
    write, write_eof = response.write, response.write_eof

    async def keep(data: Any) -> None:
        parts.append(bytes(data))
        await write(data)

    async def end(data: bytes = b"") -> None:
        await write_eof(data)
        then(b"".join((*parts, data)))

    response.write, response.write_eof = keep, end  # type: ignore[method-assign]


PAGES = ("redirectToSSO", "redirectToIdP")
"""A browser opens these: people read what is wrong."""


def is_another_operation(
    request: web.Request, response: web.StreamResponse, candidates: list[Operation]
) -> bool:
    """Whether something is asked for of which the operation's description does not speak."""
    query = request.query
    name = candidates[0].name if candidates else ""
    return (
        "org.matrix.msc4140.delay" in query  # answers with a delay_id
        or "event_fields" in query.get("filter", "")  # what is required can be left out, too
        or (name in PAGES and response.content_type == "text/html")
    )


async def _told_apart(request: web.Request, candidates: list[Operation]) -> Operation:
    """Of two operations at one path, the one that is asked for."""
    names = {operation.name: operation for operation in candidates}
    if "inviteBy3PID" in names:
        return names["inviteBy3PID" if "medium" in await _sent(request) else "inviteUser"]
    return names["peekEvents" if "room_id" in request.query else "getEvents"]


async def _sent(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except (orjson.JSONDecodeError, web.HTTPException, ConnectionError):
        return {}
    return body if isinstance(body, dict) else {}


async def _note_malformed(request: web.Request, candidates: list[Operation]) -> None:
    """Remember what a client of the tests sends that is not as its type says."""
    name = candidates[0].name if candidates else ""
    malformed = contract().malformed
    if name == "createRoom":
        body = await _sent(request)
        events = body.get("initial_state")
        for event in events if isinstance(events, list) else ():
            if isinstance(event, dict):
                malformed.note(str(event.get("type")), event.get("content"))
    elif name in SENDING:
        event_type = request.match_info.get("event_type") or request.match_info.get("type")
        malformed.note(str(event_type), await _sent(request))
