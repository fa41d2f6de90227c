"""What an application does in its own name: its users, and logging them in."""

from __future__ import annotations

from client_api.conversations.api import Api, Call
from client_api.conversations.keys import APPLICATIONS
from homeserver.app_keys import SESSIONS
from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import is_opaque_identifier
from homeserver.services.conversations.scopes import USERS_MANAGE
from homeserver.services.conversations.shapes.applications import (
    ApplicationInfo,
    NewOwnSession,
    NewOwnUser,
    OwnSession,
    OwnUserInfo,
    application_info,
    own_user_info,
)
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.pages import (
    DEFAULT_LIMIT,
    MOST_PER_PAGE,
    Page,
    make_cursor,
    parse_cursor,
)
from homeserver.storage.applications import OwnUser

api = Api("Applications")

MAX_DEVICE_NAME_LENGTH = 100


class PageQuery(Input, frozen=True, kw_only=True):
    """Which part of a list."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


class EndQuery(Input, frozen=True, kw_only=True):
    """``erase``: what they wrote and uploaded goes as well."""

    erase: bool = False


@api.get("/application", scope=USERS_MANAGE)
async def get_application(call: Call) -> ApplicationInfo:
    """Tell which application the token is of."""
    return application_info(call.caller.require_application().row)


@api.get("/application/users", scope=USERS_MANAGE)
async def list_own_users(call: Call[None, PageQuery]) -> Page[OwnUserInfo]:
    """List the application's users, in the order of their addresses."""
    application = call.caller.require_application()
    if not 1 <= call.query.limit <= MOST_PER_PAGE:
        raise InvalidParam(f"'limit' must be 1 to {MOST_PER_PAGE}")
    (after,) = parse_cursor(call.query.cursor, str) if call.query.cursor is not None else ("",)
    users = await call.app[APPLICATIONS].users(application, after=after, limit=call.query.limit + 1)
    items = users[: call.query.limit]
    more = len(users) > len(items)
    return Page(
        items=[own_user_info(user) for user in items],
        next=make_cursor(items[-1].user_id) if more else None,
    )


@api.post("/application/users", scope=USERS_MANAGE, status=201)
async def create_own_user(call: Call[NewOwnUser]) -> OwnUserInfo:
    """Make an account for one of the application's users.

    It has no password: the application logs it in, or acts for it with the header `Comity-User`.
    """
    application = call.caller.require_application()
    applications = call.app[APPLICATIONS]
    user_id = await applications.make_user(application, call.body.localpart, call.body.name)
    name = call.body.name if call.body.name is not None else user_id.localpart
    created_at = await applications.created_at(user_id)
    return own_user_info(OwnUser(user_id, created_at, name))


@api.post("/application/users/{person}/sessions", scope=USERS_MANAGE, status=201, idempotent=False)
async def log_own_user_in(call: Call[NewOwnSession]) -> OwnSession:
    """Log one of the application's users in: an access token for the user's own device.

    With it the device speaks to this instance itself, by REST, WebSocket or a Matrix client. The
    account is made on first sight, if the application may.
    """
    application = call.caller.require_application()
    body = call.body
    if body.device_id is not None and not is_opaque_identifier(body.device_id):
        raise InvalidParam("'device_id' must be 1 to 255 letters, digits and . _ ~ -")
    if body.device_name is not None and len(body.device_name) > MAX_DEVICE_NAME_LENGTH:
        raise InvalidParam(f"'device_name' has at most {MAX_DEVICE_NAME_LENGTH} characters")
    requester = await call.app[APPLICATIONS].act_for(application, call.path("person"))
    tokens = await call.app[SESSIONS].log_in(
        requester.user_id, device_id=body.device_id, display_name=body.device_name
    )
    return OwnSession(
        address=requester.user_id.address,
        device_id=tokens.device_id,
        access_token=tokens.access_token,
    )


@api.delete("/application/users/{person}", scope=USERS_MANAGE)
async def end_own_user(call: Call[None, EndQuery]) -> None:
    """End the account of one of the application's users, for good.

    They leave all conversations, their devices are signed out; the address stays taken.
    """
    application = call.caller.require_application()
    await call.app[APPLICATIONS].end_user(application, call.path("person"), erase=call.query.erase)
