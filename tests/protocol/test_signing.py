"""Ed25519 keys; signing and verifying JSON and events."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.canonical import content_hash, encode_base64
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signing import (
    BadKey,
    BadSignature,
    VerifyKey,
    format_signing_key,
    generate_signing_key,
    parse_signing_key_file,
    required_signers,
    sign_event,
    sign_json,
    signing_key_ids,
    verify_event_signature,
    verify_json,
)
from tests.protocol.sample_events import (
    BOB,
    KEY,
    SERVER_NAME,
    contents,
    event_types,
    json_values,
    make_event,
    versions,
)

KEY_ID = "ed25519:1"
V1 = ROOM_VERSIONS["1"]


# Spec: appendices, cryptographic test vectors.
@pytest.mark.parametrize(
    ("value", "signature"),
    [
        (
            {},
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ",
        ),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_the_json_vectors_of_the_appendices_are_signed_as_given(
    value: dict[str, Any], signature: str
) -> None:
    assert sign_json(value, SERVER_NAME, KEY) == {
        **value,
        "signatures": {"domain": {KEY_ID: signature}},
    }


@pytest.mark.parametrize(
    ("pdu", "sha256", "signature"),
    [
        (
            {
                "room_id": "!x:domain",
                "sender": "@a:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "signatures": {},
                "hashes": {},
                "type": "X",
                "content": {},
                "prev_events": [],
                "auth_events": [],
                "depth": 3,
                "unsigned": {"age_ts": 1000000},
            },
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            {
                "content": {"body": "Here is the message content"},
                "event_id": "$0:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "type": "m.room.message",
                "room_id": "!r:domain",
                "sender": "@u:domain",
                "signatures": {},
                "unsigned": {"age_ts": 1000000},
            },
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
)
def test_the_event_vectors_of_the_appendices_are_hashed_and_signed_as_given(
    pdu: dict[str, Any], sha256: str, signature: str
) -> None:
    hashed = {**pdu, "hashes": {"sha256": encode_base64(content_hash(pdu))}}

    signed = sign_event(hashed, SERVER_NAME, KEY, V1)

    assert signed == {
        **pdu,
        "hashes": {"sha256": sha256},
        "signatures": {"domain": {KEY_ID: signature}},
    }
    verify_event_signature(signed, V1, SERVER_NAME, KEY_ID, KEY.verify_key)


@given(st.dictionaries(st.text(), json_values(), max_size=5))
def test_a_signature_verifies(value: dict[str, Any]) -> None:
    signed = sign_json(value, SERVER_NAME, KEY)

    verify_json(signed, SERVER_NAME, KEY_ID, KEY.verify_key)


@given(st.dictionaries(st.text(), json_values(), max_size=5), json_values())
def test_a_signature_does_not_cover_what_is_unsigned(value: dict[str, Any], extra: Any) -> None:
    signed = sign_json(value, SERVER_NAME, KEY)

    verify_json({**signed, "unsigned": extra}, SERVER_NAME, KEY_ID, KEY.verify_key)


@given(event_types(), contents(), versions())
def test_an_event_signature_verifies_on_the_whole_event_and_on_the_redacted_one(
    event_type: str, content: dict[str, Any], version: RoomVersion
) -> None:
    pdu = make_event(version, type=event_type, content=content).pdu

    verify_event_signature(pdu, version, SERVER_NAME, KEY_ID, KEY.verify_key)


@given(versions(), st.sampled_from(("sender", "type", "depth", "origin_server_ts", "hashes")))
def test_tampering_with_an_essential_key_is_detected(version: RoomVersion, key: str) -> None:
    pdu = copy.deepcopy(make_event(version).pdu)
    pdu[key] = {"sha256": "x"} if key == "hashes" else BOB if key == "sender" else 9

    with pytest.raises(BadSignature):
        verify_event_signature(pdu, version, SERVER_NAME, KEY_ID, KEY.verify_key)


@given(st.binary(min_size=64, max_size=64))
def test_a_made_up_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        KEY.verify_key.verify(b"message", signature)


def test_another_key_does_not_verify() -> None:
    other = generate_signing_key(bytes(32), "1")

    with pytest.raises(BadSignature):
        verify_json(sign_json({"a": 1}, SERVER_NAME, KEY), SERVER_NAME, KEY_ID, other.verify_key)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"domain": None},
        {"domain": []},
        {"domain": {}},
        {"domain": {KEY_ID: 1}},
        {"domain": {KEY_ID: "!"}},
        {"domain": {KEY_ID: "AAAA"}},
        {"other": {KEY_ID: "AAAA"}},
    ],
)
def test_a_missing_or_malformed_signature_is_refused(signatures: Any) -> None:
    with pytest.raises(BadSignature):
        verify_json({"signatures": signatures}, SERVER_NAME, KEY_ID, KEY.verify_key)


def test_what_cannot_be_written_as_json_is_not_validly_signed() -> None:
    signed = sign_json({}, SERVER_NAME, KEY)

    with pytest.raises(BadSignature):
        verify_json({**signed, "a": "\ud800"}, SERVER_NAME, KEY_ID, KEY.verify_key)


def test_signing_keeps_other_signatures_and_the_original() -> None:
    value = {"signatures": {"domain": {"ed25519:0": "x"}, "other": {"ed25519:9": "y"}}}
    before = copy.deepcopy(value)

    signatures = sign_json(value, SERVER_NAME, KEY)["signatures"]

    assert value == before
    assert signatures["other"] == {"ed25519:9": "y"}
    assert set(signatures["domain"]) == {"ed25519:0", KEY_ID}


@pytest.mark.parametrize("signatures", [None, [], "x", {"domain": []}, {"domain": "x"}])
def test_signing_replaces_signatures_that_are_malformed(signatures: Any) -> None:
    signed = sign_json({"signatures": signatures}, SERVER_NAME, KEY)

    verify_json(signed, SERVER_NAME, KEY_ID, KEY.verify_key)


def test_only_keys_of_a_known_algorithm_are_named() -> None:
    value = {"signatures": {"a": {"ed25519:1": "x", "rsa:1": "y"}, "b": []}}

    assert signing_key_ids(value, "a") == ["ed25519:1"]
    assert signing_key_ids(value, "b") == []
    assert signing_key_ids(value, "c") == []


# ---------------------------------------------------------------- who must sign


@pytest.mark.parametrize("version", ["1", "3", "12"])
def test_the_server_of_the_sender_must_sign(version: str) -> None:
    event = make_event(ROOM_VERSIONS[version], sender=BOB, event_id="$x:other.example")

    assert required_signers(event.pdu, event.room_version) == {"other.example"}


@pytest.mark.parametrize(
    ("version", "signers"),
    [("1", {"domain", "third"}), ("2", {"domain", "third"}), ("3", {"domain"})],
)
def test_in_old_versions_the_server_that_chose_the_event_id_must_sign_too(
    version: str, signers: set[str]
) -> None:
    pdu = {**make_event(ROOM_VERSIONS[version]).pdu, "event_id": "$x:third"}

    assert required_signers(pdu, ROOM_VERSIONS[version]) == signers


@pytest.mark.parametrize(
    ("version", "signers"), [("7", {"domain"}), ("8", {"domain", "other.example"})]
)
def test_the_server_that_authorised_a_restricted_join_must_sign_since_v8(
    version: str, signers: set[str]
) -> None:
    content = {"membership": "join", "join_authorised_via_users_server": BOB}
    event = make_event(
        ROOM_VERSIONS[version], type="m.room.member", state_key="@alice:domain", content=content
    )

    assert required_signers(event.pdu, event.room_version) == signers


def test_a_join_authorised_by_what_is_no_user_can_never_be_signed() -> None:
    content = {"membership": "join", "join_authorised_via_users_server": 1}
    event = make_event(
        ROOM_VERSIONS["10"], type="m.room.member", state_key="@alice:domain", content=content
    )

    assert "" in required_signers(event.pdu, event.room_version)


def test_the_sender_of_a_third_party_invite_need_not_sign() -> None:
    content = {"membership": "invite", "third_party_invite": {"signed": {}}}
    event = make_event(ROOM_VERSIONS["12"], type="m.room.member", state_key=BOB, content=content)

    assert required_signers(event.pdu, event.room_version) == set()


@pytest.mark.parametrize("membership", ["join", "leave", "ban", None])
def test_other_memberships_with_a_third_party_invite_must_be_signed(
    membership: str | None,
) -> None:
    content: dict[str, Any] = {"membership": membership, "third_party_invite": {"signed": {}}}
    event = make_event(ROOM_VERSIONS["12"], type="m.room.member", state_key=BOB, content=content)

    assert required_signers(event.pdu, event.room_version) == {"domain"}


# ---------------------------------------------------------------- keys


@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[A-Za-z0-9_]+", fullmatch=True))
def test_a_key_file_gives_back_the_keys_that_it_was_written_with(seed: bytes, name: str) -> None:
    key = generate_signing_key(seed, name)

    text = format_signing_key(KEY) + "\n# retired in May\n" + format_signing_key(key)

    assert parse_signing_key_file(text) == [KEY, key]


def test_a_key_file_of_synapse_is_read() -> None:
    text = "ed25519 a_ZnVv YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n"

    (key,) = parse_signing_key_file(text)

    assert key.key_id == "ed25519:a_ZnVv"
    assert key.verify_key == KEY.verify_key


@pytest.mark.parametrize(
    "text",
    [
        "ed25519 a_b",
        "rsa a_b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
        "ed25519 a_b AAAA",
        "ed25519 a_b !!!",
        "ed25519 a:b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_a_malformed_key_file_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(BadKey, match="line 1") as caught:
        parse_signing_key_file(text)

    assert text.rpartition(" ")[2] not in str(caught.value)


def test_a_key_does_not_show_its_secret() -> None:
    assert encode_base64(KEY.seed) not in repr(KEY)
    assert repr(KEY.seed) not in repr(KEY)


@pytest.mark.parametrize("text", ["", "AAAA", "!", None, 1, "A" * 44])
def test_what_is_no_public_key_is_refused(text: Any) -> None:
    with pytest.raises(BadKey):
        VerifyKey.from_base64(text)


def test_a_public_key_is_read_as_it_was_published() -> None:
    assert VerifyKey.from_base64(KEY.verify_key.to_base64()) == KEY.verify_key
