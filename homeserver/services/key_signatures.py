"""Verifying signatures that clients make on keys.  Spec: appendices, signing JSON."""

from __future__ import annotations

from homeserver.protocol.events import JsonObject
from homeserver.protocol.signing import BadKey, BadSignature, VerifyKey, verify_json


def is_signed(key: JsonObject, signer: str, public_key: str, key_id: str | None = None) -> bool:
    """Whether ``key`` bears a valid signature of ``signer`` by an Ed25519 key (unpadded Base64).

    The signature is looked for under ``key_id``, or ``ed25519:`` and the public key itself.
    """
    try:
        verify_key = VerifyKey.from_base64(public_key)
        verify_json(key, signer, key_id or f"ed25519:{public_key}", verify_key)
    except (BadKey, BadSignature):
        return False
    return True
