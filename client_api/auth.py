"""Who calls.  Spec: client-server API, using access tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from client_api.guests import require_guest_route
from homeserver.app_keys import (
    ACCOUNT_STANDING,
    APP_SERVICES,
    CONFIG,
    INTERACTIVE_AUTH,
    OAUTH_TOKENS,
    PROOFS,
    SESSIONS,
    TERMS,
)
from homeserver.callers import caller_address
from homeserver.errors import Forbidden, MissingToken, UnknownToken, UserLocked
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.appservices.registration import AppService
from homeserver.services.interactive_auth import Flows, Operation
from homeserver.services.oauth.metadata import ACCOUNT
from homeserver.services.requester import Requester
from homeserver.services.sessions import Origin
from homeserver.services.sign_in.proofs import PASSWORD_FLOWS
from homeserver.web import optional

BEARER = "Bearer "
MAX_USER_AGENT_LENGTH = 512


def access_token(request: web.Request) -> str | None:
    """The request's access token, if it bears one: in its header, or in its query."""
    header = request.headers.get(hdrs.AUTHORIZATION)
    # RFC 9110, authentication scheme: its case does not matter
    if header is not None and header[: len(BEARER)].lower() == BEARER.lower():
        return header[len(BEARER) :].strip()
    return request.query.get("access_token") or None


async def require_user(request: web.Request, *, locked: bool = False) -> Requester:
    """The caller.  ``locked``: be their account locked or not.

    Raises: :class:`MissingToken`, and what :func:`find_user` raises.
    """
    requester = await find_user(request, locked=locked)
    if requester is None:
        raise MissingToken("This needs an access token: log in first")
    return requester


async def require_sender(request: web.Request) -> Requester:
    """The caller, who may send: they have accepted the terms, where that is required.

    Raises: what :func:`require_user` raises, :class:`~homeserver.errors.ConsentNotGiven`.
    """
    requester = await require_user(request)
    if requester.app_service is not None or request.app[APP_SERVICES].owner(requester.user_id):
        return requester  # nobody reads terms to a program
    await request.app[TERMS].require(requester.user_id)
    return requester


async def require_active(request: web.Request) -> Requester:
    """The caller, who is not suspended.

    Raises: what :func:`require_user` raises, :class:`~homeserver.errors.UserSuspended`.
    """
    requester = await require_user(request)
    request.app[ACCOUNT_STANDING].require_active(requester.user_id)
    return requester


async def find_user(request: web.Request, *, locked: bool = False) -> Requester | None:
    """The caller, or None without a token.  ``locked``: be their account locked or not.

    Raises: :class:`~homeserver.errors.UnknownToken`, :class:`UserLocked`, :class:`GuestForbidden`.
    """
    token = access_token(request)
    if token is None:
        return None
    services = request.app[APP_SERVICES]
    service = services.by_token(token)
    if service is not None:
        requester = await services.act(
            service, request.query.get("user_id"), _asserted_device(request)
        )
    else:
        requester = await request.app[SESSIONS].authenticate(token, lambda: origin(request))
    if not locked and request.app[ACCOUNT_STANDING].is_locked(requester.user_id):
        raise UserLocked()
    if requester.guest:
        require_guest_route(request)
    return requester


def _asserted_device(request: web.Request) -> str | None:
    """As which device an application service acts.  Spec: identity assertion (v1.17, MSC4326)."""
    query = request.query
    return query.get("device_id", query.get("org.matrix.msc3202.device_id"))


def require_app_service(request: web.Request) -> AppService:
    """The application service whose own token the request bears.

    Raises: :class:`MissingToken`, :class:`~homeserver.errors.UnknownToken`.
    """
    token = access_token(request)
    if token is None:
        raise MissingToken("This needs the token of an application service")
    service = request.app[APP_SERVICES].by_token(token)
    if service is None:
        raise UnknownToken("This is the token of no application service")
    return service


def require_self(requester: Requester, user_id: UserId) -> None:
    """Refuse to act for somebody else."""
    if requester.user_id != user_id:
        raise Forbidden("You may do this only for yourself")


def origin(request: web.Request) -> Origin:
    """Where a request comes from."""
    agent = request.headers.get(hdrs.USER_AGENT)
    if agent is not None:
        agent = agent.replace("\0", "")[:MAX_USER_AGENT_LENGTH]
    return Origin(caller_address(request), agent)


async def refuse_oauth(request: web.Request, requester: Requester) -> None:
    """Refuse what a device of the OAuth 2.0 API has its user do on the account pages.

    Such a device has no password to ask for.  Spec: client-server API, OAuth 2.0 API.
    """
    tokens = request.app[OAUTH_TOKENS]
    if await tokens.uses_oauth(requester.user_id, requester.device_id):
        page = request.app[CONFIG].public_base_url.rstrip("/") + ACCOUNT
        raise Forbidden(f"You have logged in by OAuth 2.0: do this on the page {page}")


async def authenticate_interactively(
    request: web.Request,
    body: JsonObject,
    requester: Requester | None,
    *,
    flows: Flows | None = None,
    params: JsonObject | None = None,
) -> Mapping[str, Any]:
    """Have the user prove again who they are; what each stage yielded.

    ``flows`` None: by the ways in which this user can.  An application service has shown by its
    token all that it can show.

    Raises: :class:`~homeserver.services.interactive_auth.AuthenticationRequired`.
    Spec: client-server API, user-interactive authentication API.
    """
    if requester is not None and requester.app_service is not None:
        return {}
    auth = optional(body, "auth", dict)
    if flows is None:
        flows = PASSWORD_FLOWS
        if requester is not None:
            await refuse_oauth(request, requester)
            flows = await request.app[PROOFS].flows(requester.user_id)
    operation = Operation(
        name=f"{request.method} {request.path}",
        body={key: value for key, value in body.items() if key != "auth"},
        flows=flows,
        user_id=requester.user_id if requester is not None else None,
        params=params or {},
    )
    return await request.app[INTERACTIVE_AUTH].authenticate(operation, auth)
