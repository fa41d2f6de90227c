"""Identifiers as clients send them.  Addresses (``bob@other.example``) are taken for user IDs."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, RoomId, UserId, parse_address
from homeserver.services.third_party_invites import ThirdPartyAddress
from homeserver.web import optional, required, string_list


def user_id(text: str) -> UserId:
    """A user ID or an address.  Raises :class:`InvalidParam`."""
    try:
        return parse_address(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"'{text}' is not a user ID or address") from error


def body_user_id(body: dict[str, Any], key: str = "user_id") -> UserId:
    """The user that the body names."""
    return user_id(required(body, key, str))


def user_id_list(body: dict[str, Any], key: str) -> list[UserId]:
    """A list of users in the body; empty if absent."""
    return [user_id(text) for text in string_list(body, key)]


def path_room_id(request: web.Request) -> str:
    """The room ID in the path, as ``{room_id}``."""
    return room_id(request.match_info["room_id"])


def room_id(text: str) -> str:
    """A room ID.  Raises :class:`InvalidParam`."""
    try:
        return RoomId.parse(text)
    except InvalidIdentifier as error:
        raise InvalidParam("That is not a room ID") from error


def room_servers(request: web.Request) -> list[str]:
    """The instances that may know a room: ``via`` (v1.12), and its older name ``server_name``."""
    return [*request.query.getall("via", []), *request.query.getall("server_name", [])]


def path_user_id(request: web.Request) -> UserId:
    """The user in the path, as ``{user_id}``."""
    return user_id(request.match_info["user_id"])


MAX_ADDRESS_LENGTH = 500
MAX_TOKEN_LENGTH = 4_096


def third_party_address(body: dict[str, Any]) -> ThirdPartyAddress:
    """An e-mail address or telephone number, in canonical form, and where to look it up.

    Spec: ``Invite3pid``; appendices, 3PID types.
    """
    medium, address = required(body, "medium", str), required(body, "address", str).casefold()
    if not 0 < len(address) <= MAX_ADDRESS_LENGTH or not address.isprintable() or " " in address:
        raise InvalidParam("'address' is not an address")
    if not 0 < len(medium) <= MAX_ADDRESS_LENGTH or not medium.isidentifier():
        raise InvalidParam("'medium' must be email or msisdn")
    token = required(body, "id_access_token", str)
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise InvalidParam("'id_access_token' is not a token")
    return ThirdPartyAddress(required(body, "id_server", str), token, medium, address)


MAX_DEVICE_ID_BYTES = 255
MAX_DEVICE_NAME_LENGTH = 255


def device_id(body: dict[str, Any]) -> str | None:
    """The ``device_id`` that a client chose, if it did."""
    value = optional(body, "device_id", str)
    if value is None or value == "":
        return None
    check_device_id(value)
    return value


def check_device_id(value: str) -> None:
    """Raise :class:`InvalidParam` for what can be no device's ID."""
    if "\0" in value or len(value.encode()) > MAX_DEVICE_ID_BYTES:
        raise InvalidParam(f"A device ID has at most {MAX_DEVICE_ID_BYTES} bytes")


def device_name(body: dict[str, Any], key: str) -> str | None:
    """A device's name, if it is given."""
    value = optional(body, key, str)
    if value is not None and ("\0" in value or len(value) > MAX_DEVICE_NAME_LENGTH):
        raise InvalidParam(f"A device's name has at most {MAX_DEVICE_NAME_LENGTH} characters")
    return value
