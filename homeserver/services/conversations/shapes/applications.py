"""Applications and API tokens as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from homeserver.services.conversations.shapes.base import Input, Shape
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage.api_tokens import ApiToken
from homeserver.storage.applications import ApplicationRow, OwnUser


class TokenInfo(Shape, frozen=True, kw_only=True):
    """An API token, without its secret."""

    id: str
    name: str
    prefix: str  # its first characters
    scopes: Sequence[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class MadeToken(Shape, frozen=True, kw_only=True):
    """A new API token: ``token`` is shown this once."""

    token: str
    info: TokenInfo


class NewToken(Input, frozen=True, kw_only=True):
    """What an API token shall be good for.  Without ``expires_at`` it is good until revoked."""

    name: str
    scopes: list[str]
    expires_at: str | None = None


class ApplicationInfo(Shape, frozen=True, kw_only=True):
    """An application.  ``user_patterns``: the user names that are its users'."""

    id: str
    name: str
    user_patterns: Sequence[str]
    scopes: Sequence[str]
    may_create_users: bool
    bot: str | None  # the address of who acts where no user is named
    created_at: str


class OwnUserInfo(Shape, frozen=True, kw_only=True):
    """A user of an application's."""

    address: str
    name: str | None
    created_at: str


class NewOwnUser(Input, frozen=True, kw_only=True):
    """A user to be.  ``localpart``: their address before the @."""

    localpart: str
    name: str | None = None


class NewOwnSession(Input, frozen=True, kw_only=True):
    """A device that is logged in.  A ``device_id`` that is known is logged in anew."""

    device_id: str | None = None
    device_name: str | None = None


class OwnSession(Shape, frozen=True, kw_only=True):
    """The token by which a user's own device speaks to this instance: shown this once."""

    address: str
    device_id: str
    access_token: str


def token_info(token: ApiToken) -> TokenInfo:
    """A token as JSON."""
    return TokenInfo(
        id=token.token_id,
        name=token.name,
        prefix=token.prefix,
        scopes=token.scopes,
        created_at=rfc3339(token.created_at),
        expires_at=rfc3339(token.expires_at) if token.expires_at is not None else None,
        last_used_at=rfc3339(token.last_used_at) if token.last_used_at is not None else None,
    )


def application_info(application: ApplicationRow) -> ApplicationInfo:
    """An application as JSON."""
    bot = application.bot_user_id
    return ApplicationInfo(
        id=application.application_id,
        name=application.name,
        user_patterns=application.user_patterns,
        scopes=application.scopes,
        may_create_users=application.may_create_users,
        bot=address(bot) if bot is not None else None,
        created_at=rfc3339(application.created_at),
    )


def own_user_info(user: OwnUser) -> OwnUserInfo:
    """A user of an application's as JSON."""
    return OwnUserInfo(
        address=address(user.user_id), name=user.name, created_at=rfc3339(user.created_at)
    )


def to_json(shape: Shape) -> object:
    """A shape as plain values, for the admin API."""
    return msgspec.to_builtins(shape)
