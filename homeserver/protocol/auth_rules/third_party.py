"""Rule 5.4.1: invites of people who were known by e-mail address or telephone number."""

from __future__ import annotations

from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey as NaclVerifyKey

from homeserver.protocol.auth_rules.verdict import ALLOWED, Rejected, Verdict
from homeserver.protocol.canonical import NotCanonical, decode_base64, encode_canonical_json
from homeserver.protocol.events import Event, StateMap

MAX_KEYS = 20


def check_third_party_invite(event: Event, state: StateMap) -> Verdict:
    """Whether the identity server's signature lets the invite stand."""
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, dict) else None
    # 5.4.1.2, 5.4.1.3
    if not isinstance(signed, dict):
        return Rejected("the third-party invite is not signed")
    token = signed.get("token")
    if not isinstance(token, str) or "mxid" not in signed:
        return Rejected("the third-party invite lacks mxid or token")
    # 5.4.1.4
    if signed["mxid"] != event.state_key:
        return Rejected("the third-party invite is for somebody else")
    # 5.4.1.5
    original = state.get(("m.room.third_party_invite", token))
    if original is None:
        return Rejected("the room has no such third-party invite")
    # 5.4.1.6
    if original.sender != event.sender:
        return Rejected("the third-party invite is somebody else's")
    # 5.4.1.7
    if any(_is_signed_by(signed, key) for key in _public_keys(original)[:MAX_KEYS]):
        return ALLOWED
    return Rejected("the third-party invite is not validly signed")


def _public_keys(original: Event) -> list[bytes]:
    texts: list[Any] = [original.content.get("public_key")]
    more = original.content.get("public_keys")
    for entry in more if isinstance(more, list) else ():
        if isinstance(entry, dict):
            texts.append(entry.get("public_key"))
    keys = []
    for text in texts:
        if isinstance(text, str):
            try:
                keys.append(decode_base64(text))
            except ValueError:
                continue
    return keys


def _is_signed_by(signed: dict[str, Any], key: bytes) -> bool:
    unsigned = {k: v for k, v in signed.items() if k not in ("signatures", "unsigned")}
    signatures = signed.get("signatures")
    if not isinstance(signatures, dict):
        return False
    try:
        message = encode_canonical_json(unsigned)
        verify_key = NaclVerifyKey(key)
    except (NotCanonical, ValueError):
        return False
    for by_server in list(signatures.values())[:MAX_KEYS]:
        for key_id, text in by_server.items() if isinstance(by_server, dict) else ():
            if not key_id.startswith("ed25519:") or not isinstance(text, str):
                continue
            try:
                verify_key.verify(message, decode_base64(text))
            except (BadSignatureError, ValueError):
                continue
            return True
    return False
