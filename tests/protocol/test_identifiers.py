"""User, room and event IDs, aliases, addresses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.identifiers import (
    EventId,
    InvalidIdentifier,
    RoomAlias,
    RoomId,
    UserId,
    is_common_namespaced_identifier,
    is_new_localpart,
    is_opaque_identifier,
    localpart_of,
    parse_address,
    server_name_of,
)

HASH = "Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"
NEW_LOCALPARTS = st.from_regex(r"[a-z0-9._=/+-]{1,40}", fullmatch=True)
SERVER_NAMES = st.sampled_from(
    ("a.example", "a.example:8448", "1.2.3.4", "1.2.3.4:1", "[::1]", "[1234:5678::abcd]:5678")
)
NOT_TEXT = [None, 1, b"@a:b", ["@a:b"]]


@pytest.mark.parametrize(
    "text",
    [
        "@alice:example.org",
        "@a:b",
        "@a-b._=/+9:1.2.3.4:80",
        "@Alice:Example.org",
        "@with space:example.org",
        "@ünïcödé:example.org",
        "@:example.org",  # historical: the empty localpart
        "@\x01:example.org",
        "@bridge_(irc)#channel:example.org",
        "@" + "a" * 242 + ":example.org",
    ],
)
def test_user_ids_of_any_age_are_accepted(text: str) -> None:
    user_id = UserId.parse(text)

    assert user_id == text
    assert f"@{user_id.localpart}:{user_id.server_name}" == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "alice",
        "alice:example.org",
        "#alice:example.org",
        "@alice",
        "@alice:",
        "@alice:not a server",
        "@alice:example.org:port",
        "@al\0ice:example.org",
        "@\ud800:example.org",
        "@" + "a" * 244 + ":example.org",
        "@" + "é" * 122 + ":example.org",  # 134 characters, but 256 bytes
        *NOT_TEXT,
    ],
)
def test_what_is_no_user_id_is_refused(text: Any) -> None:
    with pytest.raises(InvalidIdentifier):
        UserId.parse(text)


@pytest.mark.parametrize("text", ["@Alice:a.org", "@a b:a.org", "@é:a.org", "@:a.org", "@a#:a.org"])
def test_a_new_account_may_not_have_a_historical_user_id(text: str) -> None:
    UserId.parse(text)

    with pytest.raises(InvalidIdentifier):
        UserId.parse_strict(text)


@given(NEW_LOCALPARTS, SERVER_NAMES)
def test_a_new_account_may_have_any_other(localpart: str, server_name: str) -> None:
    user_id = UserId.parse_strict(f"@{localpart}:{server_name}")

    assert is_new_localpart(user_id.localpart)
    assert user_id.is_compliant


@pytest.mark.parametrize(
    ("text", "compliant"),
    [("@Alice#1:a.org", True), ("@a b:a.org", False), ("@:a.org", False), ("@é:a.org", False)],
)
def test_user_ids_out_of_printable_ascii_are_not_compliant(text: str, compliant: bool) -> None:
    assert UserId.parse(text).is_compliant is compliant


@given(NEW_LOCALPARTS, SERVER_NAMES)
def test_an_address_and_a_user_id_are_two_spellings_of_one_thing(
    localpart: str, server_name: str
) -> None:
    user_id = UserId.parse(f"@{localpart}:{server_name}")

    assert user_id.address == f"{localpart}@{server_name}"
    assert parse_address(user_id.address) == user_id
    assert parse_address(user_id) == user_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "bob",
        "bob@",
        "bob:other.example",
        "b:ob@other.example",
        "bob@not a server",
        1,
        None,
    ],
)
def test_what_is_no_address_is_refused(text: Any) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "server_name"),
    [
        ("!abc:example.org", "example.org"),
        ("!:example.org", "example.org"),
        ("!a/b:example.org:80", "example.org:80"),
        (f"!{HASH}", None),
    ],
)
def test_room_ids_of_both_forms_are_accepted(text: str, server_name: str | None) -> None:
    room_id = RoomId.parse(text)

    assert (room_id, room_id.server_name) == (text, server_name)


@pytest.mark.parametrize(
    "text", ["", "!", "#a:b", "!a:", "!a:b c", "!a\0:b", "!" + "a" * 255, *NOT_TEXT]
)
def test_what_is_no_room_id_is_refused(text: Any) -> None:
    with pytest.raises(InvalidIdentifier):
        RoomId.parse(text)


@pytest.mark.parametrize(
    ("text", "server_name"), [("$abc:example.org", "example.org"), (f"${HASH}", None)]
)
def test_event_ids_of_all_forms_are_accepted(text: str, server_name: str | None) -> None:
    event_id = EventId.parse(text)

    assert (event_id, event_id.server_name) == (text, server_name)


@pytest.mark.parametrize("text", ["", "$", "!a:b", "$a:", "$a:b c", "$" + "a" * 255, *NOT_TEXT])
def test_what_is_no_event_id_is_refused(text: Any) -> None:
    with pytest.raises(InvalidIdentifier):
        EventId.parse(text)


def test_aliases_may_have_any_character_but_colon_and_nul() -> None:
    alias = RoomAlias.parse("#träffpunkt #1:example.org:8448")

    assert (alias.localpart, alias.server_name) == ("träffpunkt #1", "example.org:8448")


@pytest.mark.parametrize("text", ["", "#", "#a", "@a:b", "#a:", "#a\0:b", *NOT_TEXT])
def test_what_is_no_alias_is_refused(text: Any) -> None:
    with pytest.raises(InvalidIdentifier):
        RoomAlias.parse(text)


@given(st.text())
def test_parsing_raises_nothing_but_invalid_identifier(text: str) -> None:
    for kind, sigil in ((UserId, "@"), (RoomId, "!"), (EventId, "$"), (RoomAlias, "#")):
        for candidate in (text, sigil + text, f"{sigil}{text}:example.org", f"{sigil}a:{text}"):
            with suppress(InvalidIdentifier):
                assert kind.parse(candidate) == candidate
    with suppress(InvalidIdentifier):
        parse_address(text)


def test_an_identifier_goes_wherever_a_string_does() -> None:
    user_id = UserId.parse("@alice:example.org")

    assert orjson.dumps([user_id]) == b'["@alice:example.org"]'
    assert {str(user_id): 1}[user_id] == 1


@pytest.mark.parametrize(
    ("identifier", "localpart", "server_name"),
    [
        ("@a:b:80", "a", "b:80"),
        ("!hash", "hash", ""),
        ("@a:[::1]:80", "a", "[::1]:80"),
        ("", "", ""),
    ],
)
def test_the_parts_of_an_identifier_meet_at_its_first_colon(
    identifier: str, localpart: str, server_name: str
) -> None:
    assert localpart_of(identifier) == localpart
    assert server_name_of(identifier) == server_name


@pytest.mark.parametrize(
    ("text", "valid"),
    [("a.B_c~-9", True), ("", False), ("a b", False), ("a/b", False), ("a" * 256, False)],
)
def test_opaque_identifiers_have_unreserved_characters_only(text: str, valid: bool) -> None:
    assert is_opaque_identifier(text) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [("m.replace", True), ("org.example.a-b_9", True), ("M.x", False), ("9a", False), ("", False)],
)
def test_common_namespaced_identifiers_begin_with_a_letter(text: str, valid: bool) -> None:
    assert is_common_namespaced_identifier(text) is valid
