"""Policy servers' appointments and signatures, against PyNaCl and JSON written out by hand."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from nacl.signing import SigningKey as NaclKey

from homeserver.protocol.events import BadEvent, Event, parse_event
from homeserver.protocol.policy_servers import (
    POLICY,
    Appointment,
    add_policy_signature,
    appointment_in,
    check_policy_signature,
    has_policy_signature,
    merge_signatures,
    needs_policy_signature,
    parse_appointment,
    policy_signature_in,
    sign_as_policy_server,
)
from homeserver.protocol.room_versions import ROOM_VERSIONS, V12
from homeserver.protocol.signing import (
    BadSignature,
    generate_signing_key,
    signing_key_ids,
)

VIA = "policy.example.org"
SEED = bytes(range(32))
NACL = NaclKey(SEED)
KEY = generate_signing_key(SEED, "policy_server")
ROOM_ID = "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"


def unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


PUBLIC = unpadded(bytes(NACL.verify_key))
APPOINTMENT = Appointment(VIA, PUBLIC)


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def message(body: str = "hello", **changes: Any) -> Event:
    pdu: dict[str, Any] = {
        "auth_events": ["$urlsafe_base64_encoded_eventid", "$a-different-event-id"],
        "content": {"body": body, "msgtype": "m.text"},
        "depth": 12,
        "origin_server_ts": 1404838188000,
        "prev_events": ["$another-event"],
        "room_id": ROOM_ID,
        "sender": "@alice:example.com",
        "type": "m.room.message",
        **changes,
    }
    pdu["hashes"] = {"sha256": unpadded(hashlib.sha256(canonical(pdu)).digest())}
    pdu["signatures"] = {"example.com": {"ed25519:auto": "c2VuZGVy"}}
    return parse_event(pdu, V12)


def by_hand(event: Event) -> str:
    """The signature by the letter of the spec: of the redacted event, in canonical JSON."""
    redacted = {
        "auth_events": event.pdu["auth_events"],
        "content": {},
        "depth": 12,
        "hashes": event.pdu["hashes"],
        "origin_server_ts": 1404838188000,
        "prev_events": event.pdu["prev_events"],
        "room_id": ROOM_ID,
        "sender": "@alice:example.com",
        "type": "m.room.message",
    }
    return unpadded(NACL.sign(canonical(redacted)).signature)


def test_it_signs_the_redacted_event() -> None:
    event = message()

    assert sign_as_policy_server(event, KEY) == by_hand(event)


def test_its_signature_stands_beside_the_senders() -> None:
    event = message()

    signed = add_policy_signature(event, APPOINTMENT, by_hand(event))

    assert signed.pdu["signatures"] == {
        "example.com": {"ed25519:auto": "c2VuZGVy"},
        VIA: {"ed25519:policy_server": by_hand(event)},
    }
    assert signed.event_id == event.event_id
    assert has_policy_signature(signed, APPOINTMENT)
    assert not has_policy_signature(event, APPOINTMENT)


def test_a_policy_server_that_sends_keeps_its_own_signature() -> None:
    event = message()
    own = Appointment("example.com", PUBLIC)

    signed = add_policy_signature(event, own, by_hand(event))

    assert set(signed.pdu["signatures"]["example.com"]) == {
        "ed25519:auto",
        "ed25519:policy_server",
    }


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_signature_and_check_agree_in_every_room_version(version: str) -> None:
    room_version = ROOM_VERSIONS[version]
    assigned = version in ("1", "2")
    reference: Any = ["$x:example.com", {"sha256": "x"}] if assigned else "$x"
    pdu = {
        **message().pdu,
        "room_id": ROOM_ID if version == "12" else "!room:example.com",
        "auth_events": [reference],
        "prev_events": [reference],
        **({"event_id": "$e:example.com"} if assigned else {}),
    }
    event = parse_event(pdu, room_version)

    signed = add_policy_signature(event, APPOINTMENT, sign_as_policy_server(event, KEY))

    check_policy_signature(signed, APPOINTMENT)


@pytest.mark.parametrize(
    "appointment",
    [
        Appointment("other.example.org", PUBLIC),
        Appointment(VIA, unpadded(bytes(NaclKey(bytes(32)).verify_key))),
        Appointment(VIA, "not a key"),
        Appointment(VIA, ""),
    ],
)
def test_a_signature_counts_for_its_server_and_key_alone(appointment: Appointment) -> None:
    event = message()
    signed = add_policy_signature(event, APPOINTMENT, by_hand(event))

    with pytest.raises(BadSignature):
        check_policy_signature(signed, appointment)


def test_a_signature_of_another_event_is_not_added() -> None:
    with pytest.raises(BadSignature):
        add_policy_signature(message(), APPOINTMENT, by_hand(message("goodbye")))


def test_an_event_may_not_outgrow_its_limit_by_the_signature() -> None:
    overhead = len(canonical(message("").pdu))
    event = message("x" * (65_536 - overhead))

    with pytest.raises(BadEvent):
        add_policy_signature(event, APPOINTMENT, by_hand(event))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"via": VIA},
        {"via": VIA, "public_keys": {}},
        {"via": VIA, "public_keys": [PUBLIC]},
        {"via": VIA, "public_keys": {"ed25519": 7}},
        {"via": VIA, "public_keys": {"curve25519": PUBLIC}},
        {"via": None, "public_keys": {"ed25519": PUBLIC}},
        {"public_keys": {"ed25519": PUBLIC}},
    ],
)
def test_content_without_both_appoints_nobody(content: dict[str, Any]) -> None:
    assert parse_appointment(content) is None


def test_the_urlsafe_key_of_the_specs_example_is_one() -> None:
    url_safe = PUBLIC.replace("+", "-").replace("/", "_")
    event = message()

    appointment = parse_appointment({"via": VIA, "public_keys": {"ed25519": url_safe}})

    assert appointment is not None
    assert add_policy_signature(event, appointment, by_hand(event))


def state_event(kind: str, state_key: str, content: dict[str, Any]) -> Event:
    return message(type=kind, state_key=state_key, content=content)


def test_an_appointment_needs_a_joined_user() -> None:
    policy = state_event(*POLICY, {"via": VIA, "public_keys": {"ed25519": PUBLIC}})
    bot, other = f"@bot:{VIA}", "@alice:example.com"

    def state(membership: str) -> dict[tuple[str, str], Event]:
        members = {bot: membership, other: "join"}
        return {POLICY: policy} | {
            ("m.room.member", user): state_event("m.room.member", user, {"membership": how})
            for user, how in members.items()
        }

    assert appointment_in(state("join")) == APPOINTMENT
    assert appointment_in(state("leave")) is None
    assert appointment_in(state("invite")) is None
    assert appointment_in({k: e for k, e in state("join").items() if k != POLICY}) is None


@pytest.mark.parametrize(
    ("kind", "state_key", "needed"),
    [
        ("m.room.policy", "", False),
        ("m.room.policy", "other", True),
        ("m.room.policy", None, True),
        ("m.room.member", "@a:b", True),
        ("m.room.message", None, True),
    ],
)
def test_all_but_the_appointment_itself_is_signed(
    kind: str, state_key: str | None, needed: bool
) -> None:
    assert needs_policy_signature(kind, state_key) is needed


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {VIA: {}},
        {VIA: "signature"},
        {VIA: {"ed25519:policy_server": 5}},
        {VIA: {"ed25519:auto": "signature"}},
        {"other.example.org": {"ed25519:policy_server": "signature"}},
        [],
    ],
)
def test_an_answer_without_the_signature_is_found_wanting(answer: Any) -> None:
    with pytest.raises(BadSignature):
        policy_signature_in(answer, VIA)


def test_two_copies_of_an_event_share_their_signatures() -> None:
    event = message()
    ours = add_policy_signature(event, APPOINTMENT, by_hand(event))
    pdu = {**event.pdu, "signatures": {"two.example": {"ed25519:b": "aW52aXRlZA"}}}
    theirs = Event(pdu, event.event_id, V12)

    merged = merge_signatures(ours, theirs)

    assert merged.pdu["signatures"] == {
        **ours.pdu["signatures"],
        "two.example": {"ed25519:b": "aW52aXRlZA"},
    }


def test_the_signature_of_another_event_is_not_merged() -> None:
    with pytest.raises(BadEvent):
        merge_signatures(message(), message("goodbye"))


def test_a_senders_published_keys_are_tried_before_the_policy_servers() -> None:
    signatures = {"ed25519:policy_server": "x", "ed25519:auto": "y", "rsa:1": "z"}
    value = {"signatures": {VIA: signatures}}

    assert signing_key_ids(value, VIA) == ["ed25519:auto", "ed25519:policy_server"]
