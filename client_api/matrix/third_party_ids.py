"""One's e-mail addresses.  Spec: adding account administrative contact information.

Mails for registration and for a new password are asked for here, too.
"""

from __future__ import annotations

from aiohttp import web

from client_api.auth import authenticate_interactively, refuse_oauth, require_user
from client_api.routing import ClientRoutes
from homeserver.app_keys import (
    ACCOUNT_STANDING,
    RATE_LIMITS,
    THIRD_PARTY_BINDINGS,
    THIRD_PARTY_IDS,
)
from homeserver.callers import caller_key
from homeserver.errors import InvalidParam
from homeserver.protocol.email_addresses import InvalidEmailAddress, canonical_email
from homeserver.protocol.events import JsonObject
from homeserver.services.requester import Requester
from homeserver.services.third_party_bindings import BindRequest
from homeserver.services.third_party_ids import (
    EMAIL,
    MediumNotSupported,
    ThirdPartyDenied,
    TokenRequest,
)
from homeserver.services.third_party_mails import ADD, PASSWORD, REGISTER
from homeserver.web import json_response, optional, read_json, required

routes = ClientRoutes()

MSISDN = "msisdn"
MOST_TEXT = 4_096


@routes.get("/account/3pid")
async def get_account_3pids(request: web.Request) -> web.Response:
    """The addresses of the account."""
    requester = await require_user(request)
    entries = await request.app[THIRD_PARTY_IDS].list_of(requester.user_id)
    return json_response(
        {
            "threepids": [
                {
                    "medium": entry.medium,
                    "address": entry.address,
                    "validated_at": entry.validated_at,
                    "added_at": entry.added_at,
                }
                for entry in entries
            ]
        }
    )


# ---------------------------------------------------------------- asking for a mail


async def _request_token(request: web.Request, purpose: str) -> web.Response:
    body = await read_json(request)
    request.app[RATE_LIMITS].check("email_request", caller_key(request))
    sid = await request.app[THIRD_PARTY_IDS].request_token(
        TokenRequest(
            purpose,
            required(body, "client_secret", str),
            required(body, "email", str),
            required(body, "send_attempt", int),
            optional(body, "next_link", str),
        )
    )
    return json_response({"sid": sid})


@routes.post("/register/email/requestToken")
async def request_token_to_register_email(request: web.Request) -> web.Response:
    """Have a mail sent for a registration."""
    return await _request_token(request, REGISTER)


@routes.post("/account/password/email/requestToken")
async def request_token_to_reset_password_email(request: web.Request) -> web.Response:
    """Have a mail sent for a new password."""
    return await _request_token(request, PASSWORD)


@routes.post("/account/3pid/email/requestToken")
async def request_token_to_3pid_email(request: web.Request) -> web.Response:
    """Have a mail sent for a further address."""
    return await _request_token(request, ADD)


@routes.post("/register/msisdn/requestToken")
@routes.post("/account/password/msisdn/requestToken")
async def request_token_by_text_message(_request: web.Request) -> web.Response:
    """Have a text message sent: refused."""
    raise ThirdPartyDenied("This server takes no telephone numbers")


@routes.post("/account/3pid/msisdn/requestToken")
async def request_token_to_3pid_msisdn(_request: web.Request) -> web.Response:
    """Have a text message sent for a further number: refused."""
    raise MediumNotSupported()


# ---------------------------------------------------------------- adding and removing


async def _add(request: web.Request, body: JsonObject, credentials: JsonObject) -> None:
    """Add what a session has shown, once the user has proved who they are."""
    requester = await require_user(request)
    request.app[RATE_LIMITS].check("challenge", caller_key(request))
    addresses = request.app[THIRD_PARTY_IDS]
    session = await addresses.validated(credentials)
    if requester.app_service is None:
        await authenticate_interactively(request, body, requester)
    await addresses.add(requester.user_id, session)


@routes.post("/account/3pid/add")
async def add_3pid(request: web.Request) -> web.Response:
    """Add an address to the account."""
    await require_user(request)
    body = await read_json(request)
    credentials = {key: required(body, key, str) for key in ("sid", "client_secret")}
    await _add(request, body, credentials)
    return json_response({})


@routes.post("/account/3pid")
async def post_3pids(request: web.Request) -> web.Response:
    """The older spelling of adding; it asks for the same proof, else tokens were passwords."""
    await require_user(request)
    body = await read_json(request)
    creds = optional(body, "three_pid_creds", dict) or required(body, "threePidCreds", dict)
    await _add(request, body, creds)
    return json_response({})


@routes.post("/account/3pid/delete")
async def delete_3pid(request: web.Request) -> web.Response:
    """Take an address from the account, and have identity servers forget it."""
    requester = await require_user(request)
    # Nor may a client that never sees a password, which could be set anew by such an address.
    # Spec: m.3pid_changes capability.
    await refuse_oauth(request, requester)
    # Spec: a suspended user may add contacts, but not remove them.
    request.app[ACCOUNT_STANDING].require_active(requester.user_id)
    medium, address, id_server = _named(await read_json(request))
    unbound = await _unbind(request, requester, medium, address, id_server)
    await request.app[THIRD_PARTY_IDS].remove(requester.user_id, medium, address)
    return json_response({"id_server_unbind_result": unbound})


# ---------------------------------------------------------------- identity servers


@routes.post("/account/3pid/bind")
async def bind_3pid(request: web.Request) -> web.Response:
    """Have an identity server tell others whose an address is."""
    requester = await require_user(request)
    body = await read_json(request)
    names = ("id_server", "id_access_token", "sid", "client_secret")
    texts = [required(body, name, str) for name in names]
    if any(len(text) > MOST_TEXT for text in texts):
        raise InvalidParam("Too long")
    await request.app[THIRD_PARTY_BINDINGS].bind(requester.user_id, BindRequest(*texts))
    return json_response({})


@routes.post("/account/3pid/unbind")
async def unbind_3pid(request: web.Request) -> web.Response:
    """Have identity servers forget whose an address is; it stays the account's."""
    requester = await require_user(request)
    medium, address, id_server = _named(await read_json(request))
    unbound = await _unbind(request, requester, medium, address, id_server)
    return json_response({"id_server_unbind_result": unbound})


async def _unbind(
    request: web.Request, requester: Requester, medium: str, address: str, id_server: str | None
) -> str:
    done = await request.app[THIRD_PARTY_BINDINGS].unbind(
        requester.user_id, medium, address, id_server
    )
    return "success" if done else "no-support"


def _named(body: JsonObject) -> tuple[str, str, str | None]:
    """The medium, the address in canonical form, and the identity server of a body."""
    medium, address = required(body, "medium", str), required(body, "address", str)
    if medium not in (EMAIL, MSISDN):
        raise InvalidParam("'medium' must be email or msisdn")
    if medium == EMAIL:
        try:
            address = canonical_email(address)
        except InvalidEmailAddress as error:
            raise InvalidParam("That is not an e-mail address") from error
    elif not address.isdecimal() or len(address) > 15:
        raise InvalidParam("A telephone number consists of digits, its country's first")
    return medium, address, optional(body, "id_server", str)
