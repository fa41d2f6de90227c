"""The handshake at ``/api/v1/ws``."""

from __future__ import annotations

from aiohttp import hdrs, web

from client_api.auth import access_token, origin
from client_api.conversations.api import PREFIX
from client_api.conversations.auth import COMITY_USER, Caller, authenticate_token
from client_api.conversations.keys import SOCKETS
from client_api.conversations.ws import framing
from client_api.conversations.ws.server_frames import DEFLATED, JSON, PROTOCOLS
from client_api.conversations.ws.session import Session
from client_api.conversations.ws.socket import Socket, attach
from client_api.conversations.ws.takeover import Taken, take_over
from homeserver.errors import InvalidParam
from homeserver.services.conversations.problems import Problem

SCOPE = "messages:read"


async def open_socket(request: web.Request) -> web.StreamResponse:
    """Open the WebSocket."""
    accept = _accept(request)
    since = _since(request)
    app, comes_from = request.app, origin(request)

    async def authenticate(token: str, user: str | None) -> Caller:
        caller = await authenticate_token(app, token, user, lambda: comes_from)
        caller.require_scope(SCOPE)
        return caller

    token, user = access_token(request), request.headers.get(COMITY_USER)
    caller = await authenticate(token, user) if token is not None else None
    protocol, kind = _protocol(request)
    deflate = framing.accepts_deflate(request.headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS, ""))
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    if protocol is not None:
        headers["Sec-WebSocket-Protocol"] = protocol
    if deflate:
        headers["Sec-WebSocket-Extensions"] = framing.DEFLATE_ANSWER
    taken = take_over(request)
    if taken is None:
        return Taken()
    transport, tail = taken
    hub = app[SOCKETS]
    socket = Socket(transport, hub.limits.of_socket, hub.outbox, deflate=deflate)
    session = Session(hub, socket, kind | (DEFLATED if deflate else 0), authenticate)
    transport.write(framing.answer_head(headers))
    if caller is None or token is None:
        session.wait_for_hello()
    else:
        session.begin(caller, token, user, since)
    attach(socket, tail)
    return Taken()


def _accept(request: web.Request) -> str:
    """The answer to the handshake's key.  Raises :class:`Problem`.  RFC 6455, section 4.2.1."""
    headers = request.headers
    tokens = [token.strip().lower() for token in headers.get(hdrs.CONNECTION, "").split(",")]
    if headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket" or "upgrade" not in tokens:
        raise Problem("upgrade_required", "This address is for WebSockets", status=426)
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION) != framing.VERSION:
        raise Problem("upgrade_required", "The version of WebSocket must be 13", status=426)
    accept = framing.accept_key(headers.get(hdrs.SEC_WEBSOCKET_KEY, ""))
    if accept is None:
        raise InvalidParam("'Sec-WebSocket-Key' must be 16 bytes in base64")
    return accept


def _since(request: web.Request) -> int | None:
    text = request.query.get("since")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidParam("'since' must be a position")
    return int(text)


def _protocol(request: web.Request) -> tuple[str | None, int]:
    """The first subprotocol that the client offers and we speak; JSON for who offers none."""
    offered = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])
    for protocol in ",".join(offered).split(","):
        if protocol.strip() in PROTOCOLS:
            return protocol.strip(), PROTOCOLS[protocol.strip()]
    return None, JSON


ROUTES = [web.get(PREFIX + "/ws", open_socket)]
