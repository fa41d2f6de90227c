"""Incoming EDUs reach the service that they concern, unless a room's ACL says otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from federation.edus import Edus

ROOM, OTHER = "!room:one.example", "!other:one.example"
PEER = "two.example"


class Service:
    """Any of the services; remembers what it was given."""

    def __init__(self, heard: list[tuple[Any, ...]]) -> None:
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        async def hear(*arguments: Any) -> None:
            self._heard.append((name, *arguments))

        return hear


class Acls:
    """Lets everybody into one room alone."""

    async def is_server_allowed(self, room_id: str, server_name: str) -> bool:
        """Whether it is that room."""
        return room_id == ROOM


@pytest.fixture
def heard():
    return []


@pytest.fixture
def edus(heard):
    service: Any = Service(heard)
    return Edus(
        typing=service,
        receipts=service,
        presence=service,
        to_device=service,
        remote_devices=service,
        acls=Acls(),
        notices=service,
        deliveries=service,
        hears=lambda sender: sender != "@listed:peer.test",
    )


@pytest.mark.parametrize(
    ("edu_type", "method"),
    [
        ("m.presence", "receive"),
        ("m.direct_to_device", "receive"),
        ("m.device_list_update", "receive_update"),
        ("m.signing_key_update", "receive_signing_keys"),
    ],
)
async def test_each_type_has_its_service(edus, heard, edu_type, method):
    await edus.handle(PEER, {"edu_type": edu_type, "content": {"a": 1}})

    assert heard == [(method, PEER, {"a": 1})]


async def test_device_messages_of_whom_lists_name_are_dropped(edus, heard):
    for sender in ("@listed:peer.test", "@other:peer.test"):
        content = {"sender": sender, "messages": {}}
        await edus.handle(PEER, {"edu_type": "m.direct_to_device", "content": content})

    assert heard == [("receive", PEER, {"sender": "@other:peer.test", "messages": {}})]


async def test_typing_is_dropped_where_the_acl_forbids_it(edus, heard):
    for room_id in (ROOM, OTHER, 5):
        await edus.handle(PEER, {"edu_type": "m.typing", "content": {"room_id": room_id}})

    assert heard == [("receive", PEER, {"room_id": ROOM})]


async def test_receipts_are_dropped_where_the_acl_forbids_them(edus, heard):
    content = {OTHER: {"m.read": {}}, ROOM: {"m.read": {"a": 1}}, "!bad:x": []}

    await edus.handle(PEER, {"edu_type": "m.receipt", "content": content})

    assert heard == [("receive", PEER, ROOM, {"m.read": {"a": 1}})]


async def test_deliveries_are_dropped_where_the_acl_forbids_them(edus, heard):
    content = {"rooms": {OTHER: {"@a:x": "$1"}, ROOM: {"@a:x": "$2"}}}

    for given in (content, {"rooms": 5}, {}):
        await edus.handle(PEER, {"edu_type": "dev.comity.delivered", "content": given})

    assert heard == [("receive", PEER, {"rooms": {ROOM: {"@a:x": "$2"}}})]


@pytest.mark.parametrize(
    "edu", [{}, {"edu_type": "m.unknown", "content": {}}, {"edu_type": "m.typing", "content": 5}]
)
async def test_unknown_and_malformed_edus_are_ignored(edus, heard, edu):
    await edus.handle(PEER, edu)

    assert heard == []
