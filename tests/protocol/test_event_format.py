"""The format of an event: each test breaks one thing about a good one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.canonical import encode_canonical_json
from homeserver.protocol.event_format import (
    MAX_NESTING,
    MAX_PDU_BYTES,
    BadEvent,
    check_format,
)
from homeserver.protocol.events import JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from tests.protocol.sample_events import ALL_VERSIONS, by_identifier, json_values, make_event

V1, V5, V6, V11, V12 = (ROOM_VERSIONS[version] for version in ("1", "5", "6", "11", "12"))
STRICT = [version for version in ALL_VERSIONS if version.strict_canonical_json]
LENIENT = [version for version in ALL_VERSIONS if not version.strict_canonical_json]
MISSING = object()


def pdu(version: RoomVersion = V12, **changes: Any) -> JsonObject:
    """A good PDU but for the changes."""
    changed = {**make_event(version).pdu, **changes}
    return {key: value for key, value in changed.items() if value is not MISSING}


def assert_bad(value: Any, version: RoomVersion = V12, match: str | None = None) -> None:
    with pytest.raises(BadEvent, match=match):
        check_format(value, version)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=by_identifier)
def test_a_good_event_passes(version: RoomVersion) -> None:
    check_format(pdu(version), version)
    check_format(pdu(version, state_key=""), version)
    check_format(pdu(version, unsigned={"age": 1}), version)


@pytest.mark.parametrize("value", [None, [], "text", 1, {}])
def test_an_event_is_an_object_with_fields(value: Any) -> None:
    assert_bad(value)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=by_identifier)
@pytest.mark.parametrize(
    "key",
    [
        "auth_events",
        "content",
        "depth",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "signatures",
        "type",
    ],
)
def test_a_required_field_must_be_there_and_of_its_type(version: RoomVersion, key: str) -> None:
    for wrong in (MISSING, None, True, 1.5, "text", [1], {"a": 1}):
        if wrong == "text" and key == "type":
            continue
        if wrong == {"a": 1} and key == "content":
            continue
        assert_bad(pdu(version, **{key: wrong}), version)


@given(st.dictionaries(st.text(), json_values(), max_size=4), st.sampled_from(ALL_VERSIONS))
def test_nothing_but_bad_event_is_raised(changes: dict[str, Any], version: RoomVersion) -> None:
    good = pdu(version)
    for key in good:
        for wrong in changes.values():
            try:
                check_format({**good, **changes, key: wrong}, version)
            except BadEvent:
                continue


@pytest.mark.parametrize("key", ["type", "state_key"])
@pytest.mark.parametrize("text", ["a" * 255, "é" * 127])
def test_keys_may_have_255_bytes(key: str, text: str) -> None:
    check_format(pdu(V12, **{key: text}), V12)


@pytest.mark.parametrize("key", ["type", "state_key"])
@pytest.mark.parametrize("text", ["a" * 256, "é" * 128, None, 1, "nul\0", "\ud800"])
def test_keys_may_not_have_more(key: str, text: Any) -> None:
    """Bytes count, not characters.  PostgreSQL cannot store NUL in a text."""
    assert_bad(pdu(V12, **{key: text}), match=key)


@pytest.mark.parametrize(
    "sender", ["alice", "@alice", "@alice:", "@a:not a server", "@" + "a" * 255 + ":b"]
)
def test_the_sender_is_a_user_id(sender: str) -> None:
    assert_bad(pdu(sender=sender))


@pytest.mark.parametrize("sender", ["@Alice Smith:domain", "@ünïcödé:domain", "@:domain"])
def test_historical_user_ids_may_send(sender: str) -> None:
    check_format(pdu(sender=sender), V12)


# ---------------------------------------------------------------- room IDs


@pytest.mark.parametrize("version", ALL_VERSIONS[:-1], ids=by_identifier)
@pytest.mark.parametrize("room_id", ["!room", "room:domain", "!room:", "#room:domain"])
def test_before_v12_a_room_id_names_a_server(version: RoomVersion, room_id: str) -> None:
    assert_bad(pdu(version, room_id=room_id), version)


@pytest.mark.parametrize("room_id", ["!room:domain", "room", "!", "$room"])
def test_since_v12_a_room_id_names_no_server(room_id: str) -> None:
    assert_bad(pdu(V12, room_id=room_id))


def test_since_v12_the_create_event_has_no_room_id() -> None:
    create = make_event(V12, type="m.room.create", state_key="").pdu

    check_format(create, V12)
    assert_bad({**create, "room_id": "!room"}, match="room_id")


def test_before_v12_the_create_event_has_a_room_id() -> None:
    create = make_event(V11, type="m.room.create", state_key="").pdu
    del create["room_id"]

    assert_bad(create, V11)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("version", STRICT, ids=by_identifier)
def test_since_v6_depth_fits_a_double(version: RoomVersion) -> None:
    check_format(pdu(version, depth=2**53 - 1), version)
    assert_bad(pdu(version, depth=2**53), version, "depth")


@pytest.mark.parametrize("version", LENIENT, ids=by_identifier)
def test_before_v6_depth_fits_64_bits(version: RoomVersion) -> None:
    check_format(pdu(version, depth=2**63 - 1), version)
    assert_bad(pdu(version, depth=2**63), version, "depth")


@pytest.mark.parametrize("depth", [-1, True, 1.0, "1", None])
@pytest.mark.parametrize("version", [V1, V12], ids=by_identifier)
def test_depth_is_a_natural_number(version: RoomVersion, depth: Any) -> None:
    assert_bad(pdu(version, depth=depth), version, "depth")


@pytest.mark.parametrize("timestamp", [True, 1.5, "1", None, 2**63, -(2**63)])
@pytest.mark.parametrize("version", [V1, V12], ids=by_identifier)
def test_a_timestamp_is_an_integer_of_64_bits(version: RoomVersion, timestamp: Any) -> None:
    assert_bad(pdu(version, origin_server_ts=timestamp), version, "origin_server_ts")


@pytest.mark.parametrize("version", STRICT, ids=by_identifier)
@pytest.mark.parametrize("value", [1.5, 1.0, 2**53, -(2**53)])
def test_since_v6_floats_and_large_integers_are_refused(version: RoomVersion, value: Any) -> None:
    assert_bad(pdu(version, content={"a": [{"b": value}]}), version, "integers")


@pytest.mark.parametrize("version", LENIENT, ids=by_identifier)
@pytest.mark.parametrize("value", [1.5, 1.0, 2**53, -(2**53), 10**30])
def test_before_v6_they_are_accepted(version: RoomVersion, value: Any) -> None:
    check_format(pdu(version, content={"a": [{"b": value}]}), version)


def test_unsigned_may_have_any_numbers() -> None:
    """It is no part of what the event's server vouches for."""
    check_format(pdu(V12, unsigned={"age": 1.5}), V12)


# ---------------------------------------------------------------- size


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=by_identifier)
def test_an_event_may_have_64_kib(version: RoomVersion) -> None:
    empty = pdu(version, content={"body": ""})
    room = MAX_PDU_BYTES - len(encode_canonical_json(empty))

    check_format(pdu(version, content={"body": "a" * room}), version)
    assert_bad(pdu(version, content={"body": "a" * (room + 1)}), version, "65536 bytes")


def test_bytes_count_not_characters() -> None:
    assert_bad(pdu(content={"body": "€" * 25_000}), match="65536 bytes")


def test_the_size_of_unsigned_does_not_count() -> None:
    check_format(pdu(unsigned={"x": "a" * MAX_PDU_BYTES}), V12)


@pytest.mark.parametrize("open_with", [lambda below: [below], lambda below: {"a": below}])
@pytest.mark.parametrize("version", [V1, V12], ids=by_identifier)
def test_nesting_is_limited(version: RoomVersion, open_with: Any) -> None:
    value: Any = 1
    for _ in range(MAX_NESTING - 2):
        value = open_with(value)

    check_format(pdu(version, content={"x": value}), version)
    assert_bad(pdu(version, content={"x": open_with(value)}), version, "nested")


@pytest.mark.parametrize("depth", [300, 3_000])
@pytest.mark.parametrize("version", [V1, V12], ids=by_identifier)
def test_nesting_beyond_what_parsers_take_is_refused(version: RoomVersion, depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]

    assert_bad(pdu(version, content={"x": value}), version)


def test_many_objects_beside_each_other_are_not_nested() -> None:
    check_format(pdu(content={"x": [{} for _ in range(1_000)]}), V12)


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_lone_surrogates_are_refused(text: str) -> None:
    assert_bad(pdu(content={"body": text}))
    assert_bad(pdu(content={text: 1}))


# ---------------------------------------------------------------- references


@pytest.mark.parametrize(("key", "limit"), [("prev_events", 20), ("auth_events", 10)])
def test_the_number_of_references_is_limited(key: str, limit: int) -> None:
    ids = [f"${number}" for number in range(limit + 1)]

    check_format(pdu(V12, **{key: ids[:limit]}), V12)
    assert_bad(pdu(V12, **{key: ids}), match=key)


@pytest.mark.parametrize("key", ["prev_events", "auth_events"])
def test_what_comes_by_backfill_may_cite_any_number_of_events(key: str) -> None:
    event = pdu(V12, **{key: [f"$event{number}" for number in range(50)]})

    check_format(event, V12, limit_references=False)


@pytest.mark.parametrize("key", ["prev_events", "auth_events"])
@pytest.mark.parametrize("wrong", [1, None, "", "x", "$" + "a" * 255, "$a\x1fb", ["$a", {}], "$\0"])
def test_a_reference_is_an_event_id(key: str, wrong: Any) -> None:
    assert_bad(pdu(V12, **{key: [wrong]}), match=key)


@pytest.mark.parametrize("key", ["prev_events", "auth_events"])
@pytest.mark.parametrize(
    "wrong", ["$a:b", [], ["$a:b"], ["$a:b", {}, {}], ["$a:b", "x"], [1, {}], [{}, "$a:b"]]
)
def test_in_old_versions_a_reference_is_a_pair(key: str, wrong: Any) -> None:
    check_format(pdu(V1, **{key: [["$a:b", {"sha256": "x"}]]}), V1)
    assert_bad(pdu(V1, **{key: [wrong]}), V1, key)


@pytest.mark.parametrize("event_id", [MISSING, None, 1, "", "x:domain", "$x", "$x:", "$x:a b"])
def test_in_old_versions_an_event_id_names_a_server(event_id: Any) -> None:
    assert_bad(pdu(V1, event_id=event_id), V1)


# ---------------------------------------------------------------- hashes and signatures


@pytest.mark.parametrize("hashes", [{}, {"sha1": "x"}, {"sha256": 1}, {"sha256": None}])
def test_a_content_hash_is_needed(hashes: Any) -> None:
    assert_bad(pdu(hashes=hashes), match="hashes")


@pytest.mark.parametrize("signatures", [{"a": 1}, {"a": []}, {"a": {"ed25519:1": 1}}, {"a": None}])
def test_signatures_are_strings_per_key_and_server(signatures: Any) -> None:
    assert_bad(pdu(signatures=signatures), match="signatures")


@pytest.mark.parametrize("unsigned", [None, [], "x", 1])
def test_unsigned_is_an_object(unsigned: Any) -> None:
    assert_bad(pdu(unsigned=unsigned), match="unsigned")


@pytest.mark.parametrize("version", [V5, V6], ids=by_identifier)
def test_keys_that_nobody_knows_are_accepted(version: RoomVersion) -> None:
    check_format(pdu(version, **{"org.example.extra": {"a": [None]}, "origin": 1}), version)
