"""Signed tokens (JWT): whether one is what it says.  Spec: RFC 7519, 7515, 8725."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import orjson
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
    SecurityWarning,
)
from msgspec import Struct

from homeserver.errors import Forbidden
from homeserver.protocol.events import JsonObject
from homeserver.services.sign_in.key_sets import KEY_TYPES, KeySource

MAX_TOKEN_LENGTH = 16 * 1024
MAX_SUBJECT_LENGTH = 1_024


class TokenRefused(Forbidden):
    """A token is not signed, not for us, not of now, or says too little."""


class Expected(Struct, frozen=True):
    """What a token must be.  ``leeway_seconds``: how far clocks may differ."""

    issuer: str
    audiences: Collection[str]
    algorithms: Collection[str]
    leeway_seconds: int


def unverified_issuer(token: str) -> str | None:
    """Whom a token says it is of, to find out which keys to try; None if it is no token."""
    try:
        claims = orjson.loads(_parts(token).payload)
    except (TokenRefused, ValueError):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


async def verify(
    token: str, expected: Expected, keys: KeySource, *, now_seconds: int
) -> JsonObject:
    """A token's claims.  Raises :class:`TokenRefused`, :class:`~homeserver.errors.PeerFailed`.

    The algorithm is one that was set for the issuer, never one that the token chooses; ``iss``,
    ``aud``, ``exp`` and a subject must be there.
    """
    from joserfc import jwt  # large, and not needed before there is a token

    header = _parts(token).headers()
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in expected.algorithms or algorithm not in KEY_TYPES:
        raise TokenRefused("The token is not signed with an algorithm that its issuer uses")
    if key_id is not None and not isinstance(key_id, str):
        raise TokenRefused("The token's key ID must be a text")
    claims = None
    for key in await keys.find(algorithm, key_id):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # EdDSA is called Ed25519 of late
                claims = jwt.decode(token, key, algorithms=[algorithm]).claims
            break
        except (JoseError, ValueError, TypeError):
            continue
    if claims is None:
        raise TokenRefused("The token's signature cannot be verified with its issuer's keys")
    _check_claims(claims, expected, now_seconds)
    return claims


def _check_claims(claims: JsonObject, expected: Expected, now_seconds: int) -> None:
    from joserfc.jwt import JWTClaimsRegistry

    registry = JWTClaimsRegistry(
        now=now_seconds,
        leeway=expected.leeway_seconds,
        iss={"essential": True, "value": expected.issuer},
        aud={"essential": True, "values": list(expected.audiences)},
        exp={"essential": True},
    )
    try:
        registry.validate(claims)
    except ExpiredTokenError as error:
        raise TokenRefused("The token has expired") from error
    except (MissingClaimError, InvalidClaimError) as error:
        raise TokenRefused(
            f"The token is refused: its claim '{error.claim}' does not do"
        ) from error
    except (JoseError, TypeError, ValueError, OverflowError) as error:
        raise TokenRefused("The token's claims are not what they must be") from error


def _parts(token: str) -> Any:
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenRefused("The token is too long")
    from joserfc.jws import extract_compact

    try:
        parts = extract_compact(token.encode("ascii"))
        if not isinstance(parts.headers(), dict):
            raise ValueError
    except (JoseError, ValueError, TypeError, UnicodeError) as error:
        raise TokenRefused("That is no signed token") from error
    return parts
