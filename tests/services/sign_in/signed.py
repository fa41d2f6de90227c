"""Tokens as issuers sign them."""

from __future__ import annotations

import warnings
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

SECRET = "a secret of the application's, long enough"
NOW = 1_800_000_000
CLAIMS: dict[str, Any] = {
    "iss": "https://shop.test",
    "aud": "https://one.test",
    "sub": "Alice.1",
    "name": "Alice Archer",
    "exp": NOW + 300,
    "iat": NOW,
}


def new_key(algorithm: str, key_id: str = "first") -> Key:
    """A key pair for an algorithm."""
    parameters = {"kid": key_id}
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, parameters)
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", parameters)
    return OKPKey.generate_key("Ed25519", parameters)


def public(*keys: Key) -> dict[str, Any]:
    """The key set in which they are published."""
    return {"keys": [key.as_dict(private=False) for key in keys]}


def signed(algorithm: str = "HS256", key: Key | None = None, **changes: Any) -> str:
    """A token; claims that are None are left out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    key = key or OctKey.import_key(SECRET)
    header = {"alg": algorithm}
    if key.key_type != "oct":
        header["kid"] = key.kid or ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode(header, claims, key, algorithms=[algorithm])
