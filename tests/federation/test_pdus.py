"""Many PDUs of other servers at once: each is judged as it would be by itself."""

from __future__ import annotations

import contextlib
import random
from typing import Any

from federation.keyring import KeyUnavailable
from federation.pdus import NotSigned, PduChecker
from homeserver.protocol.canonical import content_hash, encode_base64
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import sign_event
from tests.federation.network import Node, Peer, signing_key

VERSION = ROOM_VERSIONS["11"]


def message(node: Node, peer: Peer, number: int, key: Any = None) -> dict[str, Any]:
    """A message that somebody on a peer has sent."""
    pdu: dict[str, Any] = {
        "type": "m.room.message",
        "room_id": "!room:peer.test",
        "sender": f"@bob:{peer.server_name}",
        "content": {"msgtype": "m.text", "body": f"message {number}"},
        "origin_server_ts": node.clock(),
        "depth": number,
        "auth_events": [],
        "prev_events": [],
    }
    pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu))}
    return sign_event(pdu, peer.server_name, key or peer.key, VERSION)


def forged(pdu: dict[str, Any]) -> dict[str, Any]:
    """The same with another sender's time, which the signature covers."""
    return {**pdu, "origin_server_ts": pdu["origin_server_ts"] - 1}


def changed(pdu: dict[str, Any]) -> dict[str, Any]:
    """The same with another text, which only the content hash covers."""
    return {**pdu, "content": {"msgtype": "m.text", "body": "never said"}}


def unsigned(pdu: dict[str, Any]) -> dict[str, Any]:
    """The same without a signature of its server."""
    return {**pdu, "signatures": {}}


async def test_the_good_of_many_pass_in_their_order(net, node):
    peers = [await net.peer(f"peer{number}.test") for number in range(3)]
    pdus = [message(node, peers[number % 3], number) for number in range(500)]
    spoil = random.Random(7)
    expected: list[tuple[int, bool]] = []  # depth, and whether the text is as it was sent
    sent: list[Any] = []
    for pdu in pdus:
        how = spoil.choice((None, None, None, forged, changed, unsigned, lambda _pdu: "no event"))
        sent.append(how(pdu) if how else pdu)
        if how in (None, changed):
            expected.append((pdu["depth"], how is None))

    passed = await PduChecker(node.keyring).check_many(sent, VERSION)

    assert [(event.depth, "body" in event.content) for event in passed] == expected
    assert [peer.key_requests for peer in peers] == [1, 1, 1]


async def test_each_is_judged_as_by_itself(net, node):
    checker = PduChecker(node.keyring)
    peer, gone = await net.peer(), await net.peer("gone.test")
    await gone.close()
    good = message(node, peer, 1)
    elsewhere = sign_event(message(node, peer, 2), "gone.test", gone.key, VERSION)
    cases = [
        good,
        forged(good),
        changed(good),
        unsigned(good),
        message(node, peer, 3, signing_key(99, "b")),
        message(node, gone, 4),
        elsewhere,
    ]

    for _ in range(2):  # before the keys are known, and after
        alone = []
        for pdu in cases:
            with contextlib.suppress(NotSigned, KeyUnavailable):
                alone.append(await checker.check(pdu, VERSION))
        assert [event.depth for event in alone] == [1, 1, 2]
        together = await checker.check_many(cases * 3, VERSION)

        assert [event.pdu for event in together] == [event.pdu for event in alone] * 3


async def test_one_id_with_a_good_and_a_bad_signature_is_one_good_event(net, node):
    peer = await net.peer()
    good = message(node, peer, 1)
    bad = sign_event({**good, "signatures": {}}, peer.server_name, signing_key(99, "b"), VERSION)

    for pdus in ([good, bad], [bad, good]):
        passed = await PduChecker(node.keyring).check_many(pdus, VERSION)

        assert [event.pdu for event in passed] == [good]
