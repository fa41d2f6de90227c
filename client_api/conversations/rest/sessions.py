"""Signing in and out; making an account, changing its password, ending it."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from client_api.auth import origin
from client_api.conversations import people_keys as keys
from client_api.conversations.api import Api, Call
from client_api.conversations.rest.devices import device_shown
from client_api.oauth.visits import SIGN_UP
from homeserver.app_keys import (
    ACCOUNTS,
    CONFIG,
    DEVICES,
    JWT_LOGIN,
    OIDC_LOGINS,
    PROFILES,
    RATE_LIMITS,
    REGISTRATION,
    SESSIONS,
    TERMS,
    THIRD_PARTY_IDS,
)
from homeserver.callers import caller_key
from homeserver.errors import Forbidden, MatrixError
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.scopes import SESSION
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.sessions import (
    Availability,
    CurrentSession,
    Deletion,
    Document,
    NewAccount,
    NewPassword,
    NewSession,
    Provider,
    Refresh,
    Session,
    Tokens,
    UserNameQuery,
    Ways,
)
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.interactive_auth import EMAIL_IDENTITY, REGISTRATION_TOKEN, Flows
from homeserver.services.interactive_auth import TERMS as TERMS_STAGE
from homeserver.services.passwords import check_strength
from homeserver.services.profiles import DISPLAY_NAME

api = Api("Sessions", "Signing in and out; making an account, and ending it.")


@api.get("/sessions/ways", scope=None)
async def get_ways(call: Call) -> Ways:
    """Tell the ways to sign in.

    Providers are those of OpenID Connect: send the browser to `url`, with a `redirect_url` of the
    application's.
    """
    registration: Literal["closed", "code", "open"] = "closed"
    try:
        flows = call.app[REGISTRATION].flows()
        by_code = all(REGISTRATION_TOKEN in flow for flow in flows)
        if not _takes_address(flows):
            registration = "code" if by_code else "open"
    except Forbidden:
        pass
    return Ways(
        password=True,
        jwt=call.app[JWT_LOGIN].enabled,
        providers=[
            Provider(
                id=provider_id,
                name=provider.settings.name,
                url=f"{call.app[CONFIG].public_base_url}/api/v1/sessions/oauth/{provider_id}",
            )
            for provider_id, provider in call.app[OIDC_LOGINS].providers.items()
        ],
        registration=registration,
        terms=[
            Document(
                name=document.name,
                version=document.version,
                languages={tag: text.url for tag, text in document.languages.items()},
            )
            for document in call.app[TERMS].documents
        ],
    )


@api.post("/sessions", scope=None, status=201)
async def create_session(call: Call[NewSession]) -> Session:
    """Sign in.

    With `user` and `password`; with `jwt`, a token of an issuer that the instance's admin has set
    (an account is made at first sight, where that is allowed); or with `login_token`, which a
    login at a provider ended with. The answer's `access_token` goes into the header
    `Authorization: Bearer ...` of all other calls.
    """
    given = call.body
    action = "login" if given.password is not None else "token_login"
    call.app[RATE_LIMITS].check(action, caller_key(call.request))
    user_id = await call.app[keys.SIGN_IN].who(given)
    return await _session(
        call.request, user_id, given.device_id, given.device_name, given.refreshable
    )


def _takes_address(flows: Flows) -> bool:
    """Whether a newcomer has to show an e-mail address to be theirs, for which there is no call."""
    return all(EMAIL_IDENTITY in flow for flow in flows)


async def _session(
    request: web.Request,
    user_id: UserId,
    device_id: str | None,
    device_name: str | None,
    refreshable: bool,
) -> Session:
    tokens = await request.app[SESSIONS].log_in(
        user_id,
        device_id=device_id,
        display_name=device_name,
        refreshable=refreshable,
        origin=origin(request),
    )
    return Session(
        person=await request.app[keys.PEOPLE].person(user_id),
        device_id=tokens.device_id,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in_ms=tokens.expires_in_ms,
    )


@api.post("/sessions/refresh", scope=None)
async def refresh_session(call: Call[Refresh]) -> Tokens:
    """Change a refresh token for new tokens."""
    call.app[RATE_LIMITS].check("challenge", caller_key(call.request))
    tokens = await call.app[SESSIONS].refresh(call.body.refresh_token)
    return Tokens(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in_ms=tokens.expires_in_ms,
    )


@api.get("/sessions/current", scope="devices")
async def get_current_session(call: Call) -> CurrentSession:
    """Tell whose access token it is."""
    requester, device = call.requester, None
    if requester.device_id is not None:
        found = await call.app[DEVICES].get(requester.user_id, requester.device_id)
        device = device_shown(found, requester)
    fresh_until = await call.app[keys.SIGN_IN].fresh_until(requester)
    return CurrentSession(
        person=await call.app[keys.PEOPLE].person(requester.user_id),
        device=device,
        application_id=call.caller.application_id,
        is_admin=requester.admin,
        fresh_until=rfc3339(fresh_until) if fresh_until is not None else None,
    )


@api.delete("/sessions/current", scope=SESSION)
async def delete_current_session(call: Call) -> None:
    """Sign out: the device is gone, with its keys and what waited for it."""
    requester = call.requester
    if requester.device_id is None:
        raise Forbidden("This token belongs to no device: there is nothing to sign out of")
    await call.app[DEVICES].remove(requester.user_id, [requester.device_id])


# ---------------------------------------------------------------- accounts


@api.get("/accounts/available", scope=None)
async def check_user_name(call: Call[None, UserNameQuery]) -> Availability:
    """Tell whether a user name could be registered."""
    call.app[RATE_LIMITS].check("availability", caller_key(call.request))
    try:
        user_id = await call.app[REGISTRATION].check_available(call.query.user_name)
    except MatrixError as error:
        if error.errcode not in ("M_USER_IN_USE", "M_INVALID_USERNAME"):
            raise
        return Availability(available=False, reason=error.text)
    return Availability(available=True, address=address(user_id))


@api.post("/accounts", scope=None, status=201)
async def create_account(call: Call[NewAccount]) -> Session:
    """Make an account, and sign in to it.

    Where registration is open to all, or with a `code`: an invitation of a member's, or a
    registration token of the admin's. If there are terms (see the ways to sign in), `accept_terms`
    names each with its present version.
    """
    call.app[RATE_LIMITS].check("registration", caller_key(call.request))
    given, registration = call.body, call.app[REGISTRATION]
    flows = registration.flows()
    if _takes_address(flows):
        config = call.app[CONFIG]
        page = f"on the page {config.public_base_url.rstrip('/')}{SIGN_UP}"
        where = page if config.oauth.enabled else "in a Matrix client"
        text = f"A new account takes an e-mail address here: make it {where}"
        raise Problem("email_required", text, status=403)
    user_id = await registration.check_available(given.user_name)
    check_strength(given.password)
    proof: dict[str, object] = {}
    if given.code is not None:
        proof[REGISTRATION_TOKEN] = await registration.token_stage({"token": given.code}, None)
    elif all(REGISTRATION_TOKEN in flow for flow in flows):
        raise Problem("code_required", "A new account takes a 'code' here", status=403)
    if call.app[TERMS].documents:
        if given.accept_terms != call.app[TERMS].versions:
            raise Problem(
                "terms_required",
                "'accept_terms' must name each of the terms with its present version",
                status=403,
                terms=call.app[TERMS].versions,
            )
        proof[TERMS_STAGE] = call.app[TERMS].versions
    await registration.register(user_id, given.password, proof)
    if given.name:
        await call.app[PROFILES].set_field(user_id, DISPLAY_NAME, given.name)
    return await _session(call.request, user_id, None, given.device_name, given.refreshable)


@api.post("/me/password", scope=SESSION)
async def change_password(call: Call[NewPassword]) -> None:
    """Change the password, and sign the other devices out unless `sign_out_others` is false.

    Takes a proof that it is really the user, unless they have signed in within ten minutes.
    """
    call.app[RATE_LIMITS].check("login", caller_key(call.request))
    check_strength(call.body.new_password)
    await call.app[keys.SIGN_IN].require_proof(call.requester, call.body)
    await call.app[ACCOUNTS].set_password(
        call.user_id,
        call.body.new_password,
        keep_device=call.requester.device_id,
        logout_devices=call.body.sign_out_others,
    )
    await call.app[THIRD_PARTY_IDS].password_changed(call.user_id)


@api.post("/me/delete", scope=SESSION, idempotent=False)
async def delete_account(call: Call[Deletion]) -> None:
    """End the account for ever; nobody gets its address again.

    Takes a proof that it is really the user, unless they have signed in within ten minutes.
    """
    call.app[RATE_LIMITS].check("login", caller_key(call.request))
    await call.app[keys.SIGN_IN].require_proof(call.requester, call.body)
    await call.app[ACCOUNTS].deactivate(call.user_id, erase=call.body.erase)
