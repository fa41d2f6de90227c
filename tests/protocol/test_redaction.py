"""The redaction algorithm of each room version."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from tests.protocol.sample_events import (
    ALL_VERSIONS,
    by_identifier,
    contents,
    event_types,
    make_event,
    versions,
)

EVERYTHING = {
    "event_id": "$a:domain",
    "type": "m.room.message",
    "room_id": "!r:domain",
    "sender": "@u:domain",
    "state_key": "",
    "content": {"body": "secret"},
    "hashes": {"sha256": "x"},
    "signatures": {"domain": {"ed25519:1": "x"}},
    "depth": 1,
    "prev_events": [],
    "prev_state": [],
    "auth_events": [],
    "origin": "domain",
    "origin_server_ts": 1,
    "membership": "join",
    "redacts": "$b:domain",
    "unsigned": {"age": 1},
    "org.example.extra": 1,
}
ALWAYS_LOST = {"redacts", "unsigned", "org.example.extra"}
LOST_SINCE_V11 = {"prev_state", "origin", "membership"}


def keeps(event_type: str, content: dict[str, Any], version: str) -> dict[str, Any]:
    """What remains of a content."""
    event = {**EVERYTHING, "type": event_type, "content": content}
    remains: dict[str, Any] = redact(event, ROOM_VERSIONS[version])["content"]
    return remains


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=by_identifier)
def test_only_the_listed_keys_of_the_event_stay(version: RoomVersion) -> None:
    lost = set(EVERYTHING) - set(redact(EVERYTHING, version))

    assert lost == (
        ALWAYS_LOST | LOST_SINCE_V11 if version.updated_redaction_rules else ALWAYS_LOST
    )


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=by_identifier)
def test_a_message_loses_its_content(version: RoomVersion) -> None:
    assert redact(EVERYTHING, version)["content"] == {}


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("1", {"membership"}),
        ("8", {"membership"}),
        ("9", {"membership", "join_authorised_via_users_server"}),
        ("10", {"membership", "join_authorised_via_users_server"}),
        ("11", {"membership", "join_authorised_via_users_server", "third_party_invite"}),
        ("12", {"membership", "join_authorised_via_users_server", "third_party_invite"}),
    ],
)
def test_of_a_membership_stays_what_authorisation_needs(version: str, kept: set[str]) -> None:
    content = {
        "membership": "join",
        "join_authorised_via_users_server": "@a:b",
        "third_party_invite": {"signed": {"token": "x"}, "display_name": "b"},
        "displayname": "Alice",
        "avatar_url": "mxc://a/b",
    }

    assert set(keeps("m.room.member", content, version)) == kept


def test_of_a_third_party_invite_only_the_signed_part_stays_since_v11() -> None:
    invite = {"signed": {"token": "x"}, "display_name": "b"}

    assert keeps("m.room.member", {"third_party_invite": invite}, "11") == {
        "third_party_invite": {"signed": {"token": "x"}}
    }


@pytest.mark.parametrize(
    ("invite", "remains"),
    [
        ({"display_name": "b"}, {"third_party_invite": {}}),
        ({}, {"third_party_invite": {}}),
        ("text", {}),
        (None, {}),
        ([{"signed": 1}], {}),
    ],
)
def test_a_malformed_third_party_invite_is_redacted_as_synapse_does(
    invite: Any, remains: dict[str, Any]
) -> None:
    """The spec is silent here; another result would be another event ID."""
    assert keeps("m.room.member", {"third_party_invite": invite}, "12") == remains


@pytest.mark.parametrize(
    ("version", "kept"), [("1", {"creator"}), ("10", {"creator"}), ("11", {"creator", "x", "y"})]
)
def test_a_create_event_keeps_everything_since_v11(version: str, kept: set[str]) -> None:
    content = {"creator": "@a:b", "x": 1, "y": {"z": 2}}

    assert set(keeps("m.room.create", content, version)) == kept


@pytest.mark.parametrize(("version", "kept"), [("7", {"join_rule"}), ("8", {"join_rule", "allow"})])
def test_join_rules_keep_whom_they_allow_since_v8(version: str, kept: set[str]) -> None:
    content = {"join_rule": "restricted", "allow": [], "other": 1}

    assert set(keeps("m.room.join_rules", content, version)) == kept


@pytest.mark.parametrize(("version", "keeps_invite"), [("10", False), ("11", True)])
def test_power_levels_keep_the_invite_level_since_v11(version: str, keeps_invite: bool) -> None:
    essential = {
        "ban": 1,
        "events": {},
        "events_default": 1,
        "kick": 1,
        "redact": 1,
        "state_default": 1,
        "users": {},
        "users_default": 1,
    }
    content = {**essential, "invite": 2, "notifications": {"room": 1}}

    kept = keeps("m.room.power_levels", content, version)

    assert kept == ({**essential, "invite": 2} if keeps_invite else essential)


@pytest.mark.parametrize(("version", "kept"), [("5", {"aliases": []}), ("6", {})])
def test_aliases_are_kept_until_v5(version: str, kept: dict[str, Any]) -> None:
    assert keeps("m.room.aliases", {"aliases": []}, version) == kept


@pytest.mark.parametrize(("version", "kept"), [("10", {}), ("11", {"redacts": "$x"})])
def test_a_redaction_keeps_its_target_since_v11(version: str, kept: dict[str, Any]) -> None:
    assert keeps("m.room.redaction", {"redacts": "$x", "reason": "spam"}, version) == kept


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=by_identifier)
def test_history_visibility_is_kept(version: RoomVersion) -> None:
    content = {"history_visibility": "joined", "other": 1}

    assert keeps("m.room.history_visibility", content, version.identifier) == {
        "history_visibility": "joined"
    }


@given(event_types(), contents(), versions())
def test_redaction_is_idempotent(
    event_type: str, content: dict[str, Any], version: RoomVersion
) -> None:
    pdu = make_event(version, type=event_type, content=content).pdu

    once = redact(pdu, version)

    assert redact(once, version) == once


@given(event_types(), contents(), versions())
def test_redaction_leaves_the_original_as_it_is(
    event_type: str, content: dict[str, Any], version: RoomVersion
) -> None:
    pdu = make_event(version, type=event_type, content=content).pdu
    before = copy.deepcopy(pdu)

    redact(pdu, version)

    assert pdu == before


@pytest.mark.parametrize("content", [None, [], "text", 1])
def test_content_that_is_no_object_becomes_an_empty_one(content: Any) -> None:
    assert redact({**EVERYTHING, "content": content}, ROOM_VERSIONS["12"])["content"] == {}
