"""Policy servers: which one a room has appointed, and the signature that it gives to events.

Spec: server-server API, policy servers; client-server API, ``m.room.policy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from homeserver.protocol.canonical import essential_json
from homeserver.protocol.events import BadEvent, Event, JsonObject, StateKey, check_format
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.signing import (
    POLICY_KEY_ID,
    BadKey,
    BadSignature,
    SigningKey,
    VerifyKey,
    verify_event_signature,
    with_signature,
)

POLICY: StateKey = ("m.room.policy", "")


class Appointment(Struct, frozen=True):
    """The server that a room has made its policy server, and its key as the state has it.

    The text need not be a key at all: no signature is valid then.
    """

    via: str
    public_key: str


def parse_appointment(content: Mapping[str, Any]) -> Appointment | None:
    """What the content of ``m.room.policy`` appoints; None if it is not valid.

    Whether ``via`` has a joined user, without whom nobody is appointed, is the caller's to see.
    """
    via, keys = content.get("via"), content.get("public_keys")
    key = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not isinstance(key, str):
        return None
    return Appointment(via, key)


def appointment_in(state: Mapping[StateKey, Event]) -> Appointment | None:
    """The policy server that a whole state appoints, its joined user included."""
    policy = state.get(POLICY)
    appointment = parse_appointment(policy.content) if policy is not None else None
    if appointment is None:
        return None
    joined = any(
        event.membership == "join" and server_name_of(key[1]) == appointment.via
        for key, event in state.items()
        if key[0] == "m.room.member"
    )
    return appointment if joined else None


def appointment_content(via: str, key: VerifyKey) -> JsonObject:
    """The content of an ``m.room.policy`` that appoints a server."""
    return {"via": via, "public_keys": {"ed25519": key.to_base64()}}


def needs_policy_signature(event_type: str, state_key: str | None) -> bool:
    """Whether an event is for the policy server to sign: all are but the appointment itself."""
    return (event_type, state_key) != POLICY


def sign_as_policy_server(event: Event, key: SigningKey) -> str:
    """A policy server's signature of an event: it covers what event signatures cover."""
    return key.sign(essential_json(event.pdu, event.room_version))


def check_policy_signature(event: Event, appointment: Appointment) -> None:
    """Check that an event bears the policy server's signature.  Raises :class:`BadSignature`."""
    try:
        key = VerifyKey.from_base64(appointment.public_key)
    except BadKey as error:
        raise BadSignature(f"the key in the room's m.room.policy is none: {error}") from error
    verify_event_signature(event.pdu, event.room_version, appointment.via, POLICY_KEY_ID, key)


def has_policy_signature(event: Event, appointment: Appointment) -> bool:
    """Whether an event bears the policy server's valid signature."""
    try:
        check_policy_signature(event, appointment)
    except BadSignature:
        return False
    return True


def add_policy_signature(event: Event, appointment: Appointment, signature: str) -> Event:
    """The same event with the policy server's signature beside those that it has.

    Raises: :class:`BadSignature` if it is not valid; :class:`BadEvent` if it makes the event
    larger than an event may be.
    """
    pdu = with_signature(event.pdu, appointment.via, POLICY_KEY_ID, signature)
    signed = Event(pdu, event.event_id, event.room_version)
    check_policy_signature(signed, appointment)
    check_format(pdu, event.room_version)
    return signed


def policy_signature_in(signatures: Any, via: str) -> str:
    """The policy server's signature among what it answered.  Raises :class:`BadSignature`."""
    by_signer = signatures.get(via) if isinstance(signatures, dict) else None
    found = by_signer.get(POLICY_KEY_ID) if isinstance(by_signer, dict) else None
    if not isinstance(found, str):
        raise BadSignature(f"the answer has no signature of {via} with {POLICY_KEY_ID}")
    return found


def merge_signatures(event: Event, other: Event) -> Event:
    """An event with the signatures of two copies of it; its own where both have one.

    Raises: :class:`BadEvent` if that makes it larger than an event may be.
    """
    if event.event_id != other.event_id:
        raise BadEvent("these are two events")
    merged: JsonObject = dict(other.pdu["signatures"])
    for signer, by_key in event.pdu["signatures"].items():
        merged[signer] = {**merged.get(signer, {}), **by_key}
    pdu = {**event.pdu, "signatures": merged}
    check_format(pdu, event.room_version)
    return Event(pdu, event.event_id, event.room_version)
