"""Registration tokens: who may register where ``registration.mode`` is ``token``."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from homeserver.app_keys import DATABASE
from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.services.conversations.shapes.base import Input
from homeserver.storage import registration_tokens as storage
from homeserver.storage.registration_tokens import RegistrationToken

api = AdminApi("Registration tokens", "What newcomers must know where registration is by token.")

RANDOM_BYTES = 12
Uses = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Time = Annotated[int, Meta(ge=0, le=2**53 - 1, description="ms")]


class NewToken(Input, kw_only=True, frozen=True):
    """A token to make; an unguessable one, if it is not named.  Null: no limit."""

    secret_fields: ClassVar = frozenset({"name"})

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]{1,64}$")] | None = None
    uses_allowed: Uses | None = None
    expires_at: Time | None = None


class TokenLimits(Input, kw_only=True, frozen=True):
    """How often, and until when, a token is good; null: without a limit."""

    uses_allowed: Uses | None
    expires_at: Time | None


class Tokens(msgspec.Struct, kw_only=True, frozen=True):
    """All tokens, the oldest first."""

    tokens: list[RegistrationToken]


@api.get("/registration_tokens")
async def list_registration_tokens(call: AdminCall) -> Tokens:
    """All tokens, and how often each was used."""
    return Tokens(tokens=await storage.get_tokens(call.app[DATABASE]))


@api.post("/registration_tokens", status=201)
async def create_registration_token(call: AdminCall[NewToken]) -> RegistrationToken:
    """Make a token."""
    new = call.body
    token = new.name or secrets.token_urlsafe(RANDOM_BYTES)
    made = await storage.insert_token(
        call.app[DATABASE],
        token,
        created_at=time.time_ns() // 1_000_000,
        uses_allowed=new.uses_allowed,
        expires_at=new.expires_at,
    )
    if not made:
        raise InvalidParam("There is a token of that name already")
    return await _token(call, token)


@api.get("/registration_tokens/{token}")
async def get_registration_token(call: AdminCall) -> RegistrationToken:
    """One token."""
    return await _token(call, call.path("token"))


@api.put("/registration_tokens/{token}")
async def change_registration_token(call: AdminCall[TokenLimits]) -> RegistrationToken:
    """Set a token's limits; how often it was used stays."""
    token, limits = call.path("token"), call.body
    if not await storage.set_limits(
        call.app[DATABASE], token, uses_allowed=limits.uses_allowed, expires_at=limits.expires_at
    ):
        raise _unknown()
    return await _token(call, token)


@api.delete("/registration_tokens/{token}")
async def delete_registration_token(call: AdminCall) -> None:
    """Make a token useless; accounts that were made with it stay."""
    if not await storage.delete_token(call.app[DATABASE], call.path("token")):
        raise _unknown()


async def _token(call: AdminCall[Any, Any], token: str) -> RegistrationToken:
    found = await storage.get_token(call.app[DATABASE], token)
    if found is None:
        raise _unknown()
    return found


def _unknown() -> MatrixError:
    return NotFound("There is no such token")
