"""API tokens of the caller."""

from __future__ import annotations

from client_api.auth import refuse_oauth
from client_api.conversations.api import Api, Call
from client_api.conversations.keys import API_TOKENS
from homeserver.services.conversations.scopes import SESSION
from homeserver.services.conversations.shapes.applications import (
    MadeToken,
    NewToken,
    TokenInfo,
    token_info,
)
from homeserver.services.conversations.shapes.pages import Page
from homeserver.services.conversations.shapes.times import parse_time

api = Api("API tokens")


@api.post("/tokens", scope=SESSION, status=201, idempotent=False)
async def create_token(call: Call[NewToken]) -> MadeToken:
    """Make a personal API token: a program that bears it acts for you, within its scopes.

    The token is shown this once. To make one takes a session of your own: an API token cannot make
    another, nor can a session that a client got by OAuth 2.0 (403 `forbidden`), for the token would
    outlive it. It is good until it expires or is revoked, or your account ends.
    """
    await refuse_oauth(call.request, call.requester)
    body = call.body
    expires_at = parse_time(body.expires_at, "expires_at") if body.expires_at is not None else None
    text, token = await call.app[API_TOKENS].create(
        user_id=call.user_id,
        name=body.name,
        scopes=body.scopes,
        created_by=call.user_id,
        expires_at=expires_at,
    )
    return MadeToken(token=text, info=token_info(token))


@api.get("/tokens", scope=SESSION)
async def list_tokens(call: Call) -> Page[TokenInfo]:
    """List your API tokens, the oldest first: what each is for, and when it was last used."""
    tokens = await call.app[API_TOKENS].list_of(user_id=call.user_id)
    return Page(items=[token_info(token) for token in tokens])


@api.delete("/tokens/{token_id}", scope=SESSION)
async def revoke_token(call: Call) -> None:
    """Revoke an API token of yours, at once."""
    await call.app[API_TOKENS].revoke(call.path("token_id"), user_id=call.user_id)
