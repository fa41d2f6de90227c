"""What people write of consent, checked: peers, scopes, states."""

from __future__ import annotations

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import InvalidIdentifier, parse_address
from homeserver.protocol.server_names import is_valid_server_name
from homeserver.services.consent.scopes import EVERYONE, SCOPES, TIER_PREFIX, Scope
from homeserver.storage.consent import CLEARED

SETTABLE = ("granted", "denied", "revoked", CLEARED)
LATEST_MS = 2**53


def parse_scope(text: str, scopes: tuple[str, ...] = SCOPES) -> str:
    """One of these scopes.  Raises :class:`InvalidParam`."""
    if text not in scopes:
        raise InvalidParam(f"'{text}' is not one of {', '.join(scopes)}")
    return text


def parse_peer(peer: str) -> str:
    """A user ID or address, a server name, or ``*``.  Raises :class:`InvalidParam`."""
    if peer == EVERYONE:
        return peer
    if "@" in peer:
        try:
            return parse_address(peer)
        except InvalidIdentifier as error:
            raise InvalidParam(f"'{peer}' is not a user ID or address") from error
    if not is_valid_server_name(peer):
        raise InvalidParam(f"'{peer}' is no user, no server, and not '*'")
    return peer


def check_row(owner: str, peer: str, scope: str) -> None:
    """Raise :class:`InvalidParam` where a user has nothing to say of such a peer."""
    if peer == owner:
        raise InvalidParam("You need not consent to yourself")
    check_peer_of_scope(peer, scope)


def check_peer_of_scope(peer: str, scope: str) -> None:
    """Raise :class:`InvalidParam` where a scope is not about such a peer."""
    if scope == Scope.FEDERATION and "@" in peer:
        raise InvalidParam("'federation' is about servers: name one, or '*'")


def check_expiry(expires_at: int | None, now_ms: int) -> None:
    """Raise :class:`InvalidParam` unless a row's end, if it has one, is to come."""
    if expires_at is not None and not now_ms < expires_at < LATEST_MS:
        raise InvalidParam("'expires_at' must be a time to come")


def is_row(peer: str) -> bool:
    """Whether a peer is a user, an instance or everyone, and not a tier of people."""
    return not peer.startswith(TIER_PREFIX)
