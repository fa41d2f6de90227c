"""Canonical JSON, hashes, event IDs, base64."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import canonicaljson
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.canonical import (
    NotCanonical,
    check_strict,
    content_hash,
    decode_base64,
    encode_base64,
    encode_canonical_json,
    encode_strict_json,
    event_id_of,
    reference_hash,
)
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from tests.protocol.sample_events import (
    ALICE,
    contents,
    event_types,
    json_values,
    make_event,
    versions,
)

# Spec: appendices, canonical JSON, examples.
EXAMPLES = [
    ("{}", "{}"),
    ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
    ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
    ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
    (
        """{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {
        "display_name": "John Doe", "three_pids": [
        {"medium": "email", "address": "john.doe@example.org"},
        {"medium": "msisdn", "address": "123456789"}]}}}""",
        '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe",'
        '"three_pids":[{"address":"john.doe@example.org","medium":"email"},'
        '{"address":"123456789","medium":"msisdn"}]},"success":true}}',
    ),
    ('{"a": "日本語"}', '{"a":"日本語"}'),
    ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
    ('{"a": "\\u65E5"}', '{"a":"日"}'),
    ('{"a": null}', '{"a":null}'),
    ('{"a": -0, "b": 1e10}', '{"a":0,"b":10000000000}'),
]


def parse_exact(text: str) -> Any:
    """Parse JSON as the spec's last example has it: ``1e10`` is an integer."""

    def number(literal: str) -> int | float:
        exact = Decimal(literal)
        return int(exact) if exact == exact.to_integral_value() else float(literal)

    return json.loads(text, parse_float=number)


@pytest.mark.parametrize(("text", "canonical"), EXAMPLES)
def test_the_examples_of_the_appendices_are_encoded_as_given(text: str, canonical: str) -> None:
    assert encode_canonical_json(parse_exact(text)) == canonical.encode()


@given(json_values(st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_the_encoding_agrees_with_canonicaljson(value: Any) -> None:
    """Also for what room versions 1 to 5 let pass: floats, and integers of any size."""
    assert encode_canonical_json(value) == canonicaljson.encode_canonical_json(value)


@pytest.mark.parametrize("code_points", [range(0x300), range(0xFF00, 0x10200)])
def test_every_character_is_escaped_as_canonicaljson_does(code_points: range) -> None:
    """Control characters and astral ones, as values and as keys, which are sorted by codepoint."""
    value = {chr(point): chr(point) for point in code_points}

    assert encode_canonical_json(value) == canonicaljson.encode_canonical_json(value)


def test_astral_keys_sort_after_those_of_the_basic_plane() -> None:
    """By codepoint, unlike UTF-16, in which surrogates sort below U+FFFF."""
    assert encode_canonical_json({"𐀀": 1, "\uffff": 2}) == '{"\uffff":2,"𐀀":1}'.encode()


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**63) - 1, 10**40, 1.5, 1e-7, 1e22, -0.0])
def test_numbers_that_orjson_writes_otherwise_are_written_as_python_does(value: float) -> None:
    assert encode_canonical_json([value]) == json.dumps([value]).encode()


def test_identifiers_may_be_keys() -> None:
    """orjson alone refuses keys of a subclass of ``str``."""
    assert encode_canonical_json({UserId(ALICE): 100}) == b'{"@alice:domain":100}'


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, float("nan"), float("inf"), b"", {1}])
def test_what_has_no_json_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        encode_canonical_json(value)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(NotCanonical):
        encode_strict_json({"a": nested(100_000)})
    with pytest.raises(NotCanonical):
        encode_canonical_json(nested(100_000))


def nested(depth: int) -> list[Any]:
    """That many arrays in each other."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@given(json_values())
def test_integers_that_a_double_holds_are_strict(value: Any) -> None:
    check_strict(value)

    assert encode_strict_json(value) == encode_canonical_json(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), 1.0, 1.5, float("nan"), 10**30])
def test_floats_and_large_integers_are_not_strict(value: float) -> None:
    with pytest.raises(NotCanonical):
        check_strict({"a": [True, {"b": value}]})


@given(event_types(), contents(), versions(), st.randoms())
def test_hashes_do_not_depend_on_the_order_of_keys(
    event_type: str, content: dict[str, Any], version: RoomVersion, random: Any
) -> None:
    pdu = make_event(version, type=event_type, content=content).pdu

    shuffled = shuffle(pdu, random)

    assert content_hash(shuffled) == content_hash(pdu)
    assert reference_hash(shuffled, version) == reference_hash(pdu, version)
    assert event_id_of(shuffled, version) == event_id_of(pdu, version)


def shuffle(value: Any, random: Any) -> Any:
    """The same JSON with the keys of all objects in another order."""
    if isinstance(value, list):
        return [shuffle(item, random) for item in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    random.shuffle(keys)
    return {key: shuffle(value[key], random) for key in keys}


@given(event_types(), contents(), versions())
def test_redaction_changes_neither_event_id_nor_reference_hash(
    event_type: str, content: dict[str, Any], version: RoomVersion
) -> None:
    event = make_event(version, type=event_type, content=content)

    redacted = redact(event.pdu, version)

    assert reference_hash(redacted, version) == reference_hash(event.pdu, version)
    assert event_id_of(redacted, version) == event.event_id


def test_hashing_leaves_the_event_as_it_is() -> None:
    event = make_event(ROOM_VERSIONS["12"], unsigned={"age": 1})
    before = orjson.dumps(event.pdu)

    content_hash(event.pdu)
    reference_hash(event.pdu, event.room_version)

    assert orjson.dumps(event.pdu) == before


def test_the_content_hash_covers_all_but_unsigned_signatures_and_hashes() -> None:
    pdu = make_event(ROOM_VERSIONS["11"]).pdu

    assert content_hash({**pdu, "unsigned": {}, "signatures": {}, "hashes": {}}) == (
        content_hash(pdu)
    )
    assert content_hash({**pdu, "age_ts": 1}) != content_hash(pdu)


@pytest.mark.parametrize(
    ("version", "length", "alphabet"),
    [("3", 44, "+/"), ("4", 44, "-_"), ("12", 44, "-_")],
)
def test_event_ids_are_hashes_in_the_alphabet_of_the_version(
    version: str, length: int, alphabet: str
) -> None:
    ids = [make_event(ROOM_VERSIONS[version], depth=depth).event_id for depth in range(40)]

    special = set("".join(ids)) - {"$"}
    assert {len(event_id) for event_id in ids} == {length}
    assert {character for character in special if not character.isalnum()} == set(alphabet)


@pytest.mark.parametrize("version", ["1", "2"])
def test_in_old_versions_the_event_says_its_id(version: str) -> None:
    assert make_event(ROOM_VERSIONS[version], event_id="$x:domain").event_id == "$x:domain"


# Spec: appendices, unpadded base64.
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
    ],
)
def test_the_base64_examples_of_the_appendices_hold(data: bytes, text: str) -> None:
    assert encode_base64(data) == text
    assert decode_base64(text) == data
    assert decode_base64(text + "=" * (-len(text) % 4)) == data


@given(st.binary(), st.booleans())
def test_base64_of_either_alphabet_is_read(data: bytes, urlsafe: bool) -> None:
    assert decode_base64(encode_base64(data, urlsafe=urlsafe)) == data


@pytest.mark.parametrize("text", ["a", "Zm9v!", "Zm 9v", "Zg=Zg", "é", "abcde"])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_base64(text)
