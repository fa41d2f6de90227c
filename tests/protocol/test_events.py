"""Events: building, parsing, the format for clients."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given

from homeserver.protocol.canonical import encode_base64, reference_hash
from homeserver.protocol.events import (
    BadEvent,
    Event,
    check_format,
    check_hashes,
    client_event,
    parse_event,
    redacted_copy,
    stripped_state,
)
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signing import verify_event_signature
from tests.protocol.sample_events import (
    ALICE,
    ALL_VERSIONS,
    KEY,
    SERVER_NAME,
    by_identifier,
    contents,
    make_event,
    versions,
)

V1, V10, V11, V12 = (ROOM_VERSIONS[version] for version in ("1", "10", "11", "12"))


# ---------------------------------------------------------------- building


@given(versions(), contents())
def test_an_event_that_we_build_passes_all_checks_of_its_receiver(
    version: RoomVersion, content: dict[str, Any]
) -> None:
    built = make_event(version, content=content, state_key="")

    received = parse_event(orjson.loads(orjson.dumps(built.pdu)), version)

    assert received.event_id == built.event_id
    assert received.pdu == built.pdu
    assert check_hashes(received)
    verify_event_signature(received.pdu, version, SERVER_NAME, KEY.key_id, KEY.verify_key)


def test_since_v12_the_create_event_names_the_room() -> None:
    create = make_event(V12, type="m.room.create", state_key="", content={"room_version": "12"})

    assert "room_id" not in create.pdu
    assert create.room_id == "!" + create.event_id[1:]


def test_before_v12_the_create_event_has_a_room_id() -> None:
    create = make_event(V11, type="m.room.create", state_key="", content={"room_version": "11"})

    assert create.pdu["room_id"] == create.room_id == "!room:domain"


@pytest.mark.parametrize("version", ["1", "2"])
def test_in_old_versions_events_are_cited_with_their_hashes(version: str) -> None:
    room_version = ROOM_VERSIONS[version]
    cited = make_event(room_version, event_id="$cited:domain")

    event = make_event(room_version, prev_events=[cited], auth_events=[cited])

    sha256 = encode_base64(reference_hash(cited.pdu, room_version))
    assert event.pdu["prev_events"] == [["$cited:domain", {"sha256": sha256}]]
    assert event.pdu["auth_events"] == event.pdu["prev_events"]
    assert event.prev_event_ids == event.auth_event_ids == ("$cited:domain",)


@pytest.mark.parametrize("version", ["3", "12"])
def test_since_v3_events_are_cited_by_their_ids(version: str) -> None:
    cited = make_event(ROOM_VERSIONS[version])

    event = make_event(ROOM_VERSIONS[version], prev_events=[cited], auth_events=[cited], depth=8)

    assert event.pdu["prev_events"] == event.pdu["auth_events"] == [cited.event_id]


def test_a_redaction_names_its_target_at_the_top_before_v11() -> None:
    event = make_event(V10, type="m.room.redaction", content={}, redacts="$x")

    assert event.pdu["redacts"] == event.redacts == "$x"
    assert event.content == {}


def test_a_redaction_names_its_target_in_its_content_since_v11() -> None:
    event = make_event(V11, type="m.room.redaction", content={"reason": "spam"}, redacts="$x")

    assert "redacts" not in event.pdu
    assert event.content == {"reason": "spam", "redacts": event.redacts}


def test_content_with_identifiers_as_keys_is_made_plain() -> None:
    """Otherwise the event could not be stored: orjson refuses such keys."""
    event = make_event(V12, content={"users": {UserId(ALICE): 100}})

    assert orjson.loads(orjson.dumps(event.pdu)) == event.pdu
    assert [type(key) for key in event.content["users"]] == [str]


@pytest.mark.parametrize("value", ["\ud800", float("nan"), b"bytes"])
def test_content_that_has_no_json_is_refused(value: Any) -> None:
    with pytest.raises(BadEvent):
        make_event(V10, content={"a": value})


def test_an_old_version_needs_an_event_id() -> None:
    with pytest.raises(BadEvent, match="event ID"):
        make_event(V1, event_id=None)


def test_unsigned_is_covered_by_neither_hash_nor_signature() -> None:
    event = make_event(V12, unsigned={"age": 1})

    assert event.pdu["unsigned"] == {"age": 1}
    assert event.event_id == make_event(V12).event_id


# ---------------------------------------------------------------- receiving


def test_a_changed_content_does_not_match_its_hash() -> None:
    pdu = copy.deepcopy(make_event(V12).pdu)
    pdu["content"]["body"] = "Goodbye"

    received = parse_event(pdu, V12)

    assert not check_hashes(received)
    assert received.event_id == make_event(V12).event_id


@pytest.mark.parametrize("sha256", ["", "!", "AAAA"])
def test_a_malformed_hash_does_not_match(sha256: str) -> None:
    pdu = {**make_event(V12).pdu, "hashes": {"sha256": sha256}}

    assert not check_hashes(parse_event(pdu, V12))


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=by_identifier)
def test_a_redacted_copy_keeps_its_id(version: RoomVersion) -> None:
    event = make_event(version)

    redacted = redacted_copy(event)

    assert redacted == event
    assert redacted.content == {}
    assert parse_event(redacted.pdu, version).event_id == event.event_id


def test_of_unsigned_only_the_state_that_goes_with_an_invite_is_believed() -> None:
    unsigned = {"age": 1, "invite_room_state": [], "redacted_because": {}, "m.relations": {}}
    invite = make_event(
        V12,
        type="m.room.member",
        state_key="@bob:other.example",
        content={"membership": "invite"},
        unsigned=unsigned,
    )
    message = make_event(V12, unsigned=unsigned)

    assert parse_event(invite.pdu, V12).pdu["unsigned"] == {"invite_room_state": []}
    assert "unsigned" not in parse_event(message.pdu, V12).pdu
    assert message.pdu["unsigned"] == unsigned


def test_an_event_id_that_a_new_version_does_not_have_is_covered_by_the_hash() -> None:
    """``event_id`` is in every version's list of keys that redaction keeps."""
    pdu = {**make_event(V12).pdu, "event_id": "$made_up"}

    assert parse_event(pdu, V12).event_id not in ("$made_up", make_event(V12).event_id)


# ---------------------------------------------------------------- showing


def test_a_client_is_shown_what_it_needs_and_no_more() -> None:
    event = make_event(V12, state_key="")

    assert client_event(event) == {
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "room_id": event.room_id,
        "sender": ALICE,
        "state_key": "",
        "type": "m.room.message",
    }


def test_in_sync_a_client_is_not_told_the_room_again() -> None:
    shown = client_event(make_event(V12), unsigned={"age": 3}, include_room_id=False)

    assert "room_id" not in shown
    assert "state_key" not in shown
    assert shown["unsigned"] == {"age": 3}


@pytest.mark.parametrize("version", [V1, V10, V11, V12], ids=by_identifier)
def test_clients_of_any_age_find_what_a_redaction_redacts(version: RoomVersion) -> None:
    event = make_event(version, type="m.room.redaction", content={"reason": "x"}, redacts="$x")

    shown = client_event(event)

    assert shown["redacts"] == "$x"
    assert shown["content"] == {"reason": "x", "redacts": "$x"}
    assert (
        event.pdu
        == make_event(version, type="m.room.redaction", content={"reason": "x"}, redacts="$x").pdu
    )


def test_a_message_that_says_redacts_is_no_redaction() -> None:
    event = make_event(V12, content={"redacts": "$x"})

    assert "redacts" not in client_event(event)


def test_stripped_state_has_four_keys() -> None:
    event = make_event(V12, type="m.room.name", state_key="", content={"name": "Tea"})

    assert stripped_state(event) == {
        "content": {"name": "Tea"},
        "sender": ALICE,
        "state_key": "",
        "type": "m.room.name",
    }


def test_an_event_has_the_fields_that_rules_read() -> None:
    event = make_event(V12, type="m.room.member", state_key=ALICE, content={"membership": "join"})

    assert event.is_state
    assert event.key == ("m.room.member", ALICE)
    assert event.membership == "join"
    assert event.redacts is None
    assert event == Event(redact(event.pdu, V12), event.event_id, V12)
    assert len({event, redacted_copy(event)}) == 1
    assert event.event_id in repr(event)
    check_format(event.pdu, V12)
