"""From what an issuer says of somebody to a user name and a display name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from homeserver.services.profiles import MAX_DISPLAY_NAME_LENGTH
from homeserver.services.sign_in.tokens import TokenRefused

CLAIM = re.compile(r"\{([^{}]+)\}")
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/+")
MAX_LOCALPART = 128
MAX_CLAIM = 1_024


def claims_of(template: str) -> list[str]:
    """The claims that a template names, such as ``sub`` in ``shop-{sub}``."""
    return CLAIM.findall(template)


def localpart(template: str, claims: Mapping[str, Any]) -> str:
    """The user name that a template gives.  Raises :class:`TokenRefused` for a missing claim.

    What may not stand in a user name is written as ``=`` and two hexadecimal digits for each byte;
    capitals become small.  Spec: appendices, mapping from other character sets.
    """
    filled = CLAIM.sub(lambda found: _escape(_text(claims, found.group(1))), template).lower()
    if not filled or filled.startswith("_") or len(filled) > MAX_LOCALPART:
        raise TokenRefused("No user name can be made of what the token says")
    return filled


def display_name(template: str | None, claims: Mapping[str, Any]) -> str | None:
    """The display name that a template gives; None where a claim is missing or empty."""
    if template is None:
        return None
    try:
        name = CLAIM.sub(lambda found: _text(claims, found.group(1)), template)
    except TokenRefused:
        return None
    name = " ".join(name.replace("\0", "").split())
    return name[:MAX_DISPLAY_NAME_LENGTH] or None


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or len(value) > MAX_CLAIM:
        raise TokenRefused(f"The token lacks the claim '{name}'")
    return value


def _escape(text: str) -> str:
    """The text's characters as they may stand in a user name."""
    return "".join(
        letter
        if letter in ALLOWED
        else "".join(f"={byte:02x}" for byte in letter.encode("utf-8", "replace"))
        for letter in text.lower()
    )
