"""Who calls.  Spec: client-server API, using access tokens."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from homeserver.app_keys import INTERACTIVE_AUTH, SESSIONS, TERMS
from homeserver.errors import Forbidden, MissingToken
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.interactive_auth import PASSWORD, Flows, Operation
from homeserver.services.requester import Requester
from homeserver.services.sessions import Origin
from homeserver.web import optional

BEARER = "Bearer "
PASSWORD_FLOWS: Flows = ((PASSWORD,),)
MAX_USER_AGENT_LENGTH = 512


def access_token(request: web.Request) -> str | None:
    """The request's access token, if it bears one: in its header, or in its query."""
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is not None and header.startswith(BEARER):
        return header[len(BEARER) :].strip()
    return request.query.get("access_token") or None


async def require_user(request: web.Request) -> Requester:
    """The caller.

    Raises: :class:`MissingToken`, :class:`~homeserver.errors.UnknownToken`.
    """
    requester = await find_user(request)
    if requester is None:
        raise MissingToken("This needs an access token: log in first")
    return requester


async def require_sender(request: web.Request) -> Requester:
    """The caller, who may send: they have accepted the terms, where that is required.

    Raises: what :func:`require_user` raises, :class:`~homeserver.errors.ConsentNotGiven`.
    """
    requester = await require_user(request)
    await request.app[TERMS].require(requester.user_id)
    return requester


async def find_user(request: web.Request) -> Requester | None:
    """The caller, or None without a token.  Raises: :class:`~homeserver.errors.UnknownToken`."""
    token = access_token(request)
    if token is None:
        return None
    return await request.app[SESSIONS].authenticate(token, lambda: origin(request))


def require_self(requester: Requester, user_id: UserId) -> None:
    """Refuse to act for somebody else."""
    if requester.user_id != user_id:
        raise Forbidden("You may do this only for yourself")


def origin(request: web.Request) -> Origin:
    """Where a request comes from."""
    agent = request.headers.get(hdrs.USER_AGENT)
    if agent is not None:
        agent = agent.replace("\0", "")[:MAX_USER_AGENT_LENGTH]
    return Origin(_address(request), agent)


def caller_key(request: web.Request) -> str:
    """The caller's address, to count their requests by; of IPv6 the network of 64 bits."""
    text = _address(request)
    if ":" not in text:
        return text
    network = int(ipaddress.IPv6Address(text)) >> 64 << 64
    return str(ipaddress.IPv6Network((network, 64)))


def _address(request: web.Request) -> str:
    """The caller's address: the one that a proxy on this machine names, or the peer's own."""
    peer = _parse_address(request.remote or "")
    forwarded = request.headers.get(hdrs.X_FORWARDED_FOR)
    if forwarded and (peer is None or peer.is_loopback):
        named = _parse_address(forwarded.rpartition(",")[2].strip())
        peer = named if named is not None else peer
    return str(peer) if peer is not None else ""


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else address


async def authenticate_interactively(
    request: web.Request,
    body: JsonObject,
    requester: Requester | None,
    *,
    flows: Flows = PASSWORD_FLOWS,
    params: JsonObject | None = None,
) -> Mapping[str, Any]:
    """Have the user prove again who they are; what each stage yielded.

    Raises: :class:`~homeserver.services.interactive_auth.AuthenticationRequired`.
    Spec: client-server API, user-interactive authentication API.
    """
    auth = optional(body, "auth", dict)
    operation = Operation(
        name=f"{request.method} {request.path}",
        body={key: value for key, value in body.items() if key != "auth"},
        flows=flows,
        user_id=requester.user_id if requester is not None else None,
        params=params or {},
    )
    return await request.app[INTERACTIVE_AUTH].authenticate(operation, auth)
