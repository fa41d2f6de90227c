"""Rule 5.4.1: invites of people who were known by e-mail address or telephone number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
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
    if signing_key_of(signed, original.content) is not None:
        return ALLOWED
    return Rejected("the third-party invite is not validly signed")


class NamedKey(Struct, frozen=True):
    """A public key as an ``m.room.third_party_invite`` names it, and where to ask about it."""

    text: str
    data: bytes
    validity_url: str | None


def signing_key_of(signed: Mapping[str, Any], original: Mapping[str, Any]) -> NamedKey | None:
    """The key, of those in the content of a room's invite, that ``signed`` was signed with."""
    for key in _named_keys(original)[:MAX_KEYS]:
        if is_signed_with(signed, key.data):
            return key
    return None


def _named_keys(original: Mapping[str, Any]) -> list[NamedKey]:
    entries: list[Any] = [original]
    more = original.get("public_keys")
    entries.extend(more if isinstance(more, list) else ())
    keys = []
    for entry in entries:
        text = entry.get("public_key") if isinstance(entry, Mapping) else None
        if isinstance(text, str):
            url = entry.get("key_validity_url")
            try:
                data = decode_base64(text)
            except ValueError:
                continue
            keys.append(NamedKey(text, data, url if isinstance(url, str) else None))
    return keys


def is_signed_with(signed: Mapping[str, Any], key: bytes) -> bool:
    """Whether one of the signatures of a signed object is by this key, whoever's it is."""
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
