"""Invites of people who were known by e-mail address: rule 5.4.1, with real signatures."""

from __future__ import annotations

from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.protocol.auth_rules import Allowed, check_auth
from homeserver.protocol.canonical import encode_base64, encode_canonical_json
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.protocol.room_builder import ALICE, BOB, CAROL, Room

KEY = SigningKey(bytes(range(32)))
TOKEN = "token"


def signed(mxid: str = BOB, key: SigningKey = KEY, token: str = TOKEN) -> dict[str, Any]:
    """What an identity server vouches for."""
    value = {"mxid": mxid, "token": token}
    signature = key.sign(encode_canonical_json(value)).signature
    return {**value, "signatures": {"id.test": {"ed25519:0": encode_base64(signature)}}}


def room(version: str, **content: Any) -> Room:
    """A room with a third-party invite by Alice."""
    public = {"public_key": encode_base64(KEY.verify_key.encode()), **content}
    return Room(version).with_state("m.room.third_party_invite", TOKEN, public)


def may_invite(place: Room, third_party_invite: Any, sender: str = ALICE) -> bool:
    event = place.member(sender, BOB, "invite", third_party_invite=third_party_invite)
    return isinstance(check_auth(event, place.state), Allowed)


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_a_signed_invite_stands(version: str) -> None:
    assert may_invite(room(version), {"signed": signed()})


@pytest.mark.parametrize("version", ["1", "11", "12"])
def test_a_key_of_the_list_will_do(version: str) -> None:
    keys = [{"public_key": encode_base64(KEY.verify_key.encode())}]
    place = room(version, public_key=encode_base64(bytes(32)), public_keys=keys)

    assert may_invite(place, {"signed": signed()})


@pytest.mark.parametrize(
    "invite",
    [
        None,
        {},
        {"signed": {}},
        {"signed": {"mxid": BOB, "token": TOKEN}},
        {"signed": signed(mxid=CAROL)},
        {"signed": signed(token="another")},
        {"signed": signed(key=SigningKey(bytes(32)))},
        {"signed": {**signed(), "signatures": {"id.test": {"ed25519:0": "!"}}}},
        {"signed": {**signed(), "signatures": []}},
    ],
)
@pytest.mark.parametrize("version", ["1", "11", "12"])
def test_anything_else_does_not(version: str, invite: Any) -> None:
    assert not may_invite(room(version), invite)


def test_it_is_the_senders_own() -> None:
    place = room("11").with_member(CAROL, "join")

    assert not may_invite(place, {"signed": signed()}, sender=CAROL)


def test_a_banned_user_is_not_invited() -> None:
    assert not may_invite(room("11").with_member(BOB, "ban"), {"signed": signed()})
