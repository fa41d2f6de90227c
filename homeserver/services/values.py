"""Checks on values that clients and other instances send: small enough, and fit to be stored."""

from __future__ import annotations

from typing import Any, TypeGuard

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId

MAX_TEXT = 255
MAX_INTEGER = 2**63 - 1


def is_text(value: Any, longest: int = MAX_TEXT) -> TypeGuard[str]:
    """Whether a value is a non-empty string that PostgreSQL stores, no longer than ``longest``."""
    return isinstance(value, str) and 0 < len(value) <= longest and "\0" not in value


def is_user_id(value: Any) -> TypeGuard[str]:
    """Whether a value can be a user ID: ``@``, a localpart, ``:``, a server name."""
    return is_text(value) and value.startswith("@") and ":" in value


def is_compliant_user_id(value: Any) -> TypeGuard[str]:
    """Whether clients may be told of it outside of an event: it has no historical characters.

    Spec: appendices, historical user IDs.
    """
    return is_user_id(value) and UserId(value).is_compliant


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer, not a boolean, that PostgreSQL stores."""
    return type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER


def is_object(value: Any) -> TypeGuard[JsonObject]:
    """Whether a value is a JSON object."""
    return isinstance(value, dict)
