"""Scopes: what a client may do, and as which device.  Spec: client-server API, scope.

Clients from before v1.15 of the spec have other names for the same (MSC2967); a client gets back
the names that it has used.
"""

from __future__ import annotations

import re

from authlib.oauth2.rfc6749 import InvalidScopeError, list_to_scope, scope_to_list
from msgspec import Struct

PREFIXES = ("urn:matrix:client:", "urn:matrix:org.matrix.msc2967.client:")
API = "api:*"
DEVICE = "device:"
SUPPORTED = "urn:matrix:client:api:*"
OPENID = "openid"  # of OpenID Connect: the client wants an ID token
# RFC 6749, section 3.3; at most as long as a device ID of the legacy API.
DEVICE_ID = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}")
MAX_LENGTH = 2_000


class Scope(Struct, frozen=True):
    """What is granted: the tokens as the client spelt them, and the device."""

    text: str
    device_id: str

    @property
    def wants_id_token(self) -> bool:
        """Whether an ID token goes with it."""
        return OPENID in self.text.split()


def parse_scope(text: str | None) -> Scope:
    """What a requested scope amounts to; tokens that mean nothing here are left out.

    Raises Authlib's :class:`InvalidScopeError`: without the whole API, or not exactly one device.
    """
    granted: list[str] = []
    device_ids: set[str] = set()
    has_api = False
    if text is None or len(text) > MAX_LENGTH:
        raise InvalidScopeError("The scope is missing or too long")
    for token in dict.fromkeys(scope_to_list(text)):
        name = _name(token)
        if name == API:
            has_api = True
        elif name is not None and name.startswith(DEVICE):
            device_ids.add(name[len(DEVICE) :])
        elif token != OPENID:
            continue
        granted.append(token)
    if not has_api:
        raise InvalidScopeError(f"The scope must have {SUPPORTED} in it")
    if len(device_ids) != 1:
        raise InvalidScopeError("The scope must name exactly one device")
    (device_id,) = device_ids
    if not DEVICE_ID.fullmatch(device_id):
        raise InvalidScopeError("The device ID in the scope cannot be one")
    return Scope(str(list_to_scope(granted)), device_id)


def _name(token: str) -> str | None:
    """A token without its prefix, if it is one of Matrix's clients."""
    for prefix in PREFIXES:
        if token.startswith(prefix):
            return token[len(prefix) :]
    return None
