"""Who is asking: the account and device behind an access token."""

from __future__ import annotations

from msgspec import Struct

from homeserver.protocol.identifiers import UserId
from homeserver.services.appservices.registration import AppService


class Requester(Struct, frozen=True):
    """The caller of an operation, as authenticated."""

    user_id: UserId
    device_id: str | None
    admin: bool = False
    guest: bool = False
    app_service: AppService | None = None  # that acts as this user by its own token
