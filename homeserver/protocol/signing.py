"""Ed25519 keys; signing and verifying JSON and events.

Spec: appendices, signing JSON; server-server API, signing events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from msgspec import Struct
from nacl import bindings
from nacl.exceptions import BadSignatureError, CryptoError

from homeserver.protocol.canonical import (
    NotCanonical,
    decode_base64,
    encode_base64,
    encode_canonical_json,
    essential_json,
)
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import EventIdFormat, RoomVersion

ALGORITHM = "ed25519"
SEED_BYTES = 32
SIGNATURE_BYTES = 64
AUTHORISER = "join_authorised_via_users_server"
# With this key ID a policy server signs, with a key that a room names rather than one that the
# server publishes (spec: server-server API, validating policy server signatures).
POLICY_KEY_ID = f"{ALGORITHM}:policy_server"
KEY_VERSION = re.compile(r"[A-Za-z0-9_]+")


class BadSignature(ValueError):
    """A signature is missing, malformed or wrong."""


class BadKey(ValueError):
    """A text is not a key, or not a file of keys."""


class VerifyKey(Struct, frozen=True):
    """The public half of an Ed25519 key."""

    data: bytes

    @classmethod
    def from_base64(cls, text: object) -> VerifyKey:
        """A key as servers publish it.  Raises :class:`BadKey`."""
        try:
            data = decode_base64(text) if isinstance(text, str) else b""
        except ValueError as error:
            raise BadKey("the key is not valid base64") from error
        if len(data) != bindings.crypto_sign_PUBLICKEYBYTES:
            raise BadKey("an Ed25519 key must be 32 bytes long")
        return cls(data)

    def to_base64(self) -> str:
        """The key as servers publish it."""
        return encode_base64(self.data)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature.  Raises :class:`BadSignature`."""
        if len(signature) != SIGNATURE_BYTES:
            raise BadSignature("an Ed25519 signature must be 64 bytes long")
        try:
            bindings.crypto_sign_open(signature + message, self.data)
        except (BadSignatureError, CryptoError) as error:
            raise BadSignature("the signature does not match") from error


@dataclass(frozen=True)
class SigningKey:
    """The secret half of an Ed25519 key, with the version that tells one of a server's keys from
    another: ``a_abcd`` in ``ed25519:a_abcd``.
    """

    version: str
    seed: bytes = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The signing algorithm; there is only one."""
        return ALGORITHM

    @cached_property
    def key_id(self) -> str:
        """The signing key identifier, ``ed25519:a_abcd``."""
        return f"{ALGORITHM}:{self.version}"

    @cached_property
    def _pair(self) -> tuple[bytes, bytes]:
        public, secret = bindings.crypto_sign_seed_keypair(self.seed)
        return bytes(public), bytes(secret)

    @cached_property
    def verify_key(self) -> VerifyKey:
        """The public half."""
        return VerifyKey(self._pair[0])

    def sign(self, message: bytes) -> str:
        """The signature of a message, as unpadded base64."""
        signed = bindings.crypto_sign(message, self._pair[1])
        return encode_base64(signed[:SIGNATURE_BYTES])


def generate_signing_key(seed: bytes, version: str) -> SigningKey:
    """A key from 32 random bytes.  Raises :class:`BadKey`."""
    if len(seed) != SEED_BYTES:
        raise BadKey("the seed of an Ed25519 key must be 32 bytes long")
    if not KEY_VERSION.fullmatch(version):
        raise BadKey("a key version may contain only letters, digits and '_'")
    return SigningKey(version, seed)


def parse_signing_key_file(text: str) -> list[SigningKey]:
    """The keys of a signing key file, a line each: ``ed25519 a_abcd <seed in base64>``.

    Other homeservers write the same form.  Raises :class:`BadKey`, without any of the text.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) != 3 or fields[0] != ALGORITHM:
            raise BadKey(f"line {number}: expected 'ed25519 VERSION SEED'")
        try:
            keys.append(generate_signing_key(decode_base64(fields[2]), fields[1]))
        except ValueError as error:
            raise BadKey(f"line {number}: {error}") from error
    return keys


def format_signing_key(key: SigningKey) -> str:
    """The line of a signing key file that holds a key, with its newline."""
    return f"{ALGORITHM} {key.version} {encode_base64(key.seed)}\n"


# ---------------------------------------------------------------- JSON


def signable_json(value: JsonObject) -> bytes:
    """What a signature of a JSON object covers: all but ``signatures`` and ``unsigned``."""
    covered = value.copy()
    covered.pop("signatures", None)
    covered.pop("unsigned", None)
    return encode_canonical_json(covered)


def sign_json(value: JsonObject, signer_name: str, key: SigningKey) -> JsonObject:
    """A copy of an object with our signature beside those that it has.

    Spec: appendices, signing details.
    """
    return with_signature(value, signer_name, key.key_id, key.sign(signable_json(value)))


def with_signature(value: JsonObject, signer_name: str, key_id: str, signature: str) -> JsonObject:
    """A copy of an object with one more signature; what it has of no use is dropped."""
    signatures = value.get("signatures")
    signatures = dict(signatures) if isinstance(signatures, dict) else {}
    by_signer = signatures.get(signer_name)
    by_signer = dict(by_signer) if isinstance(by_signer, dict) else {}
    signatures[signer_name] = {**by_signer, key_id: signature}
    return {**value, "signatures": signatures}


def signature_of(value: JsonObject, signer_name: str, key_id: str) -> bytes:
    """The signature that an object bears.  Raises :class:`BadSignature` if there is none."""
    found: Any = value.get("signatures")
    for name in (signer_name, key_id):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str):
        raise BadSignature(f"there is no signature of {signer_name} with {key_id}")
    try:
        return decode_base64(found)
    except ValueError as error:
        raise BadSignature(f"the signature of {signer_name} is not valid base64") from error


def signing_key_ids(value: JsonObject, signer_name: str) -> list[str]:
    """The IDs of the keys, of an algorithm that we know, with which a server signed an object.

    That of policy servers comes last: servers do not publish it, as a rule, and need not be asked.
    Spec: appendices, checking for a signature, steps 1 and 2.
    """
    signatures = value.get("signatures")
    by_signer = signatures.get(signer_name) if isinstance(signatures, dict) else None
    if not isinstance(by_signer, dict):
        return []
    key_ids = [key_id for key_id in by_signer if key_id.startswith(f"{ALGORITHM}:")]
    return sorted(key_ids, key=POLICY_KEY_ID.__eq__)


def verify_json(value: JsonObject, signer_name: str, key_id: str, verify_key: VerifyKey) -> None:
    """Check one signature of an object.

    Raises: :class:`BadSignature`.  Spec: appendices, checking for a signature.
    """
    signature = signature_of(value, signer_name, key_id)
    try:
        message = signable_json(value)
    except NotCanonical as error:
        raise BadSignature("what was signed is not JSON") from error
    verify_key.verify(message, signature)


# ---------------------------------------------------------------- events


def sign_event(
    pdu: JsonObject, server_name: str, key: SigningKey, room_version: RoomVersion
) -> JsonObject:
    """A copy of a PDU with a server's signature, which covers its redacted form.

    The content hash must be in place.  Spec: server-server API, adding hashes and signatures.
    """
    signature = key.sign(essential_json(pdu, room_version))
    return with_signature(pdu, server_name, key.key_id, signature)


def verify_event_signature(
    pdu: JsonObject,
    room_version: RoomVersion,
    signer_name: str,
    key_id: str,
    verify_key: VerifyKey,
) -> None:
    """Check one signature of a PDU, whole or redacted.  Raises :class:`BadSignature`."""
    signature = signature_of(pdu, signer_name, key_id)
    try:
        message = essential_json(pdu, room_version)
    except NotCanonical as error:
        raise BadSignature("what was signed is not JSON") from error
    verify_key.verify(message, signature)


def required_signers(pdu: JsonObject, room_version: RoomVersion) -> set[str]:
    """The servers whose signatures a PDU of good format must bear.

    Spec: server-server API, validating hashes and signatures on received events; room version 8,
    authorisation rules (``join_authorised_via_users_server``).
    """
    signers = set()
    content = pdu["content"]
    is_member = pdu["type"] == "m.room.member"
    # The sender of a third-party invite is that of the original; another server may send it on.
    if not (
        is_member and content.get("membership") == "invite" and "third_party_invite" in content
    ):
        signers.add(server_name_of(pdu["sender"]))
    if room_version.event_id_format is EventIdFormat.ASSIGNED:
        # v1, v2: and the server that chose the event ID
        signers.add(server_name_of(pdu["event_id"]))
    if room_version.restricted_join_rule and is_member and AUTHORISER in content:
        # v8 rule 4.2: and the server whose user let the joining one in.  What is no user ID gives
        # the empty name, and nobody can sign with that.
        authoriser = content[AUTHORISER]
        signers.add(server_name_of(authoriser) if isinstance(authoriser, str) else "")
    return signers
