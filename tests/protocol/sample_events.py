"""Events for tests of the protocol core, all of them signed with the key of the spec's vectors."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from homeserver.protocol.canonical import decode_base64
from homeserver.protocol.events import Event, JsonObject, build_event
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signing import generate_signing_key

# Spec: appendices, cryptographic test vectors.
SERVER_NAME = "domain"
KEY = generate_signing_key(decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"), "1")

ALICE = "@alice:domain"
BOB = "@bob:other.example"
ALL_VERSIONS = list(ROOM_VERSIONS.values())


def by_identifier(version: RoomVersion) -> str:
    """How pytest names a room version in a test's ID."""
    return f"v{version.identifier}"


def make_event(version: RoomVersion, **changes: Any) -> Event:
    """An event of Alice's: a message, unless the changes say otherwise."""
    fields: JsonObject = {
        "room_id": "!room" if version.room_id_is_create_hash else "!room:domain",
        "sender": ALICE,
        "type": "m.room.message",
        "content": {"msgtype": "m.text", "body": "Hello"},
        "prev_events": [],
        "auth_events": [],
        "depth": 7,
        "origin_server_ts": 1_700_000_000_000,
        "server_name": SERVER_NAME,
        "signing_key": KEY,
        "event_id": "$event:domain",
    }
    return build_event(version, **{**fields, **changes})


def versions() -> st.SearchStrategy[RoomVersion]:
    """Any room version."""
    return st.sampled_from(ALL_VERSIONS)


def json_values(numbers: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Any JSON value; integers within the strict range unless told otherwise."""
    if numbers is None:
        numbers = st.integers(-(2**53) + 1, 2**53 - 1)
    leaves = st.none() | st.booleans() | numbers | st.text()
    return st.recursive(
        leaves,
        lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
        max_leaves=12,
    )


def contents() -> st.SearchStrategy[JsonObject]:
    """The content of any event, with keys that redaction knows among others."""
    keys = st.text() | st.sampled_from(
        (
            "membership",
            "third_party_invite",
            "join_authorised_via_users_server",
            "creator",
            "join_rule",
            "allow",
            "users",
            "invite",
            "aliases",
            "history_visibility",
            "redacts",
            "body",
        )
    )
    return st.dictionaries(keys, json_values(), max_size=6)


def event_types() -> st.SearchStrategy[str]:
    """Types that redaction treats in different ways."""
    return st.sampled_from(
        (
            "m.room.member",
            "m.room.create",
            "m.room.join_rules",
            "m.room.power_levels",
            "m.room.aliases",
            "m.room.history_visibility",
            "m.room.redaction",
            "m.room.message",
        )
    )
