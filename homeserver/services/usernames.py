"""What people type for a user: a localpart, an address, or a user ID."""

from __future__ import annotations

import secrets

from homeserver.errors import MatrixError
from homeserver.protocol.email_addresses import InvalidEmailAddress, canonical_email
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import (
    InvalidIdentifier,
    UserId,
    is_new_localpart,
    parse_address,
)

MAX_USER_ID_BYTES = 255
GENERATED_LOCALPART_LENGTH = 12


class InvalidUsername(MatrixError):
    """The user name breaks the grammar of user IDs, or names another instance."""

    errcode, status = "M_INVALID_USERNAME", 400


def parse_user(text: str, server_name: str) -> UserId | None:
    """Whom a text means; None if it can be nobody.  Users of this instance are in lower case."""
    if not text or "\0" in text:
        return None
    if "@" not in text and ":" not in text:
        return UserId(f"@{text.lower()}:{server_name}")
    try:
        user_id = parse_address(text)
    except InvalidIdentifier:
        return None
    if user_id.server_name == server_name:
        return UserId(f"@{user_id.localpart.lower()}:{server_name}")
    return user_id


def new_user_id(username: str | None, server_name: str) -> UserId:
    """The ID of a user to be; a random one without a name.

    Raises: :class:`InvalidUsername`.  Spec: appendices, user identifiers.
    """
    if username is None:
        letters = "abcdefghijklmnopqrstuvwxyz"
        username = "".join(secrets.choice(letters) for _ in range(GENERATED_LOCALPART_LENGTH))
    user_id = parse_user(username, server_name)
    if user_id is None or not is_new_localpart(user_id.localpart):
        raise InvalidUsername("A user name consists of the letters a to z, digits, and . _ = - / +")
    if user_id.server_name != server_name:
        raise InvalidUsername(f"Accounts made here are on {server_name}")
    if len(user_id.encode()) > MAX_USER_ID_BYTES:
        raise InvalidUsername(f"A user ID has at most {MAX_USER_ID_BYTES} bytes")
    return user_id


def identified_user(body: JsonObject, server_name: str) -> UserId | None:
    """Whom an ``identifier`` names, or the older fields in its place; None if it can be nobody.

    No e-mail address or telephone number is bound to an account here, but what looks like an
    e-mail address may be a user's address.  Spec: client-server API, identifier types.
    """
    identifier = body.get("identifier")
    if not isinstance(identifier, dict):
        identifier = body
    if identifier.get("type") == "m.id.phone" or identifier.get("medium") == "msisdn":
        return None
    text = identifier.get("user") or identifier.get("address")
    if not isinstance(text, str):
        return None
    user_id = parse_user(text, server_name)
    if user_id is None or user_id.server_name != server_name:
        return None
    return user_id


def identified_address(body: JsonObject) -> str | None:
    """The e-mail address that an ``identifier`` names, be it an account's or not."""
    identifier = body.get("identifier")
    if not isinstance(identifier, dict):
        identifier = body
    address = identifier.get("address")
    if identifier.get("medium") != "email" or not isinstance(address, str):
        return None
    try:
        return canonical_email(address)
    except InvalidEmailAddress:
        return None
