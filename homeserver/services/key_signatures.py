"""Verifying signatures that clients make on keys.  Spec: appendices, signing JSON."""

from __future__ import annotations

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from homeserver.protocol.canonical import decode_base64, encode_canonical_json
from homeserver.protocol.events import JsonObject


def is_signed(key: JsonObject, signer: str, public_key: str, key_id: str | None = None) -> bool:
    """Whether ``key`` bears a valid signature of ``signer`` by an Ed25519 key (unpadded Base64).

    The signature is looked for under ``key_id``, or ``ed25519:`` and the public key itself.
    """
    try:
        signature = key["signatures"][signer][key_id or f"ed25519:{public_key}"]
        signed = {name: key[name] for name in key if name not in ("signatures", "unsigned")}
        message = encode_canonical_json(signed)
        VerifyKey(decode_base64(public_key)).verify(message, decode_base64(signature))
    except (KeyError, TypeError, ValueError, CryptoError):
        return False
    return True
