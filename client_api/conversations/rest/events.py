"""Updates as server-sent events: where WebSocket does not pass."""

from __future__ import annotations

import functools
from typing import Annotated

import msgspec
from aiohttp import hdrs, web

from client_api.auth import access_token
from client_api.conversations.answers import encode, tagged_bytes
from client_api.conversations.api import Api, Call
from client_api.conversations.auth import COMITY_USER
from client_api.conversations.keys import SOCKETS
from client_api.conversations.ws.asyncapi import document
from homeserver.app_keys import CONFIG
from homeserver.errors import InvalidParam
from homeserver.services.conversations.feed.stream import StreamEnded, UpdateStream
from homeserver.services.conversations.feed.updates import Update
from homeserver.services.conversations.shapes.base import Input
from homeserver.web import has_hung_up

HEARTBEAT_SECONDS = 15.0
RETRY_MS = 1_000
LAST_EVENT_ID = "Last-Event-ID"
HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # a proxy is to pass on what comes at once
}

api = Api("Updates", "What happens, as it happens: also over WebSocket, at `/api/v1/ws`.")


class Since(Input, frozen=True, kw_only=True):
    """Where to begin."""

    since: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


@api.raw("GET", "/events", scope="messages:read", media_type="text/event-stream")
async def stream_events(call: Call[None, Since]) -> web.StreamResponse:
    """Stream what happens as server-sent events.

    The same updates as over the WebSocket, each as `data`. `id` is the position of those that are
    durable: a browser sends the last one as `Last-Event-ID` when it comes back, and gets what it
    has missed; `since` in the query says the same. The first event, of the type `hello`, bears the
    position at which the stream began. A comment every 15 seconds keeps proxies awake. The access
    token may stand in the query as `access_token`, for browsers' `EventSource` sends no headers.
    """
    since = _since(call)
    hub = call.app[SOCKETS]
    stream = UpdateStream(
        hub.feed,
        call.user_id,
        call.requester.device_id,
        since,
        most_bytes=hub.limits.unread_bytes,
        scopes=call.caller.scopes,
    )
    token, user = access_token(call.request) or "", call.request.headers.get(COMITY_USER)
    response = web.StreamResponse(headers=HEADERS)
    is_gone = functools.partial(has_hung_up, call.request)
    with hub.streaming(stream, token, user, is_gone, call.caller.scopes):
        await response.prepare(call.request)
        async with stream:
            await response.write(_hello(stream.position if since is None else since))
            await _pass_on(stream, response)
    return response


@api.get("/asyncapi.json", scope=None, media_type="application/json")
async def get_asyncapi(call: Call) -> web.Response:
    """Read the AsyncAPI 3 document of the WebSocket."""
    body = _document(call.app[CONFIG].public_base_url)
    return tagged_bytes(call.request, body, "application/json")


@functools.cache
def _document(base_url: str) -> bytes:
    return encode(document(base_url))


def _since(call: Call[None, Since]) -> int | None:
    text = call.request.headers.get(LAST_EVENT_ID)
    if text is None:
        return call.query.since
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidParam(f"'{LAST_EVENT_ID}' must be a position")
    return int(text)


async def _pass_on(stream: UpdateStream, response: web.StreamResponse) -> None:
    try:
        while True:
            updates = await stream.next(HEARTBEAT_SECONDS)
            await response.write(b"".join(map(_event, updates)) or b": still here\n\n")
    except (StreamEnded, ConnectionError):
        return  # the client comes back with its last position


def _hello(position: int) -> bytes:
    return (
        f"retry: {RETRY_MS}\nevent: hello\nid: {position}\n"
        f'data: {{"type":"hello","position":{position}}}\n\n'
    ).encode()


def _event(update: Update) -> bytes:
    """An update as an event.  Its JSON has no line breaks."""
    if update.position is None:
        return b"data: %b\n\n" % update.json
    return b"id: %d\ndata: %b\n\n" % (update.position, update.json)
