"""Other servers' keys: fetched, cached, rotated, notarised, refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from federation.app_keys import NOTARY
from federation.key_fetching import BadKeyResponse, parse_key_response
from federation.keyring import KeyUnavailable
from federation.routes import keys as key_routes
from homeserver.app_keys import RATE_LIMITS
from homeserver.config import RateConfig
from homeserver.protocol.signing import BadSignature, sign_json, verify_json
from homeserver.services.rate_limits import RateLimits
from homeserver.web import error_middleware
from tests.federation.network import DAY_MS, Net, Node, Peer, signing_key

WEEK_MS = 7 * DAY_MS


def signed(peer: Peer, key: Any = None) -> dict[str, Any]:
    """Something that a peer signed."""
    return sign_json({"hello": "world"}, peer.server_name, key or peer.key)


async def verify(
    node: Node, peer: Peer, value: dict[str, Any], at_ts: int | None = None, **options: Any
) -> None:
    """Check that a peer signed something, now if no time is given."""
    await node.keyring.verify_json_signed_by(
        peer.server_name, value, node.clock() if at_ts is None else at_ts, **options
    )


async def test_a_good_signature_is_accepted_and_the_key_is_fetched_once(net, node, database):
    peer = await net.peer()

    await asyncio.gather(*(verify(node, peer, signed(peer)) for _ in range(50)))

    assert peer.key_requests == 1
    again = await net.node(database)
    await verify(again, peer, signed(peer))
    assert peer.key_requests == 1


async def test_a_wrong_signature_is_refused(net, node):
    peer = await net.peer()
    value = {**signed(peer), "hello": "forged"}

    with pytest.raises(BadSignature):
        await verify(node, peer, value)


async def test_all_signatures_with_keys_that_are_known_must_be_good(net, node):
    peer = await net.peer()
    await verify(node, peer, signed(peer))
    other, good = signing_key(61, "other"), signed(peer)
    with_unknown = sign_json(good, peer.server_name, other)
    forged = sign_json(good, peer.server_name, other)
    forged["signatures"][peer.server_name][other.key_id] = other.sign(b"something else")

    await verify(node, peer, with_unknown)
    peer.old_keys = {
        other.key_id: {"key": other.verify_key.to_base64(), "expired_ts": net.clock() + DAY_MS}
    }
    net.clock.advance(5)
    await node.keyring.fetch(peer.server_name)

    await verify(node, peer, with_unknown)
    with pytest.raises(BadSignature):
        await verify(node, peer, forged)


async def test_an_unknown_key_is_not_asked_for_where_a_known_one_signed(net, node):
    peer = await net.peer()
    await verify(node, peer, signed(peer))
    net.clock.advance(5)

    await verify(node, peer, sign_json(signed(peer), peer.server_name, signing_key(61, "Zother")))

    assert peer.key_requests == 1


async def test_in_a_burst_each_gets_its_own_verdict(net, node):
    peer = await net.peer()
    good, bad = signed(peer), {**signed(peer), "hello": "forged"}

    results = await asyncio.gather(
        *(verify(node, peer, bad if number % 7 == 0 else good) for number in range(300)),
        return_exceptions=True,
    )

    wrong = [number for number, result in enumerate(results) if result is not None]
    assert wrong == list(range(0, 300, 7))
    assert all(isinstance(results[number], BadSignature) for number in wrong)


@pytest.mark.parametrize("value", [{}, {"signatures": []}, {"signatures": {"x": {}}}])
async def test_what_is_not_signed_is_refused(net, node, value):
    peer = await net.peer()

    with pytest.raises(BadSignature):
        await verify(node, peer, value)
    assert peer.key_requests == 0


async def test_a_rotated_key_is_good_for_what_is_older_than_its_expiry(net, node):
    peer = await net.peer()
    old, rotated_at = peer.key, net.clock()
    peer.key = signing_key(60, "new")
    peer.old_keys = {old.key_id: {"key": old.verify_key.to_base64(), "expired_ts": rotated_at}}

    await verify(node, peer, signed(peer, old), rotated_at - 1)
    await verify(node, peer, signed(peer), rotated_at + 1)
    with pytest.raises(BadSignature):
        await verify(node, peer, signed(peer, old), rotated_at + 1)
    await verify(node, peer, signed(peer, old), rotated_at + 1, enforce_validity=False)


async def test_a_new_key_is_fetched_when_it_is_first_met(net, node):
    peer = await net.peer()
    await verify(node, peer, signed(peer))
    peer.key = signing_key(60, "new")
    net.clock.advance(5)

    await verify(node, peer, signed(peer))

    assert peer.key_requests == 2


async def test_an_expired_answer_is_fetched_again(net, node):
    peer = await net.peer()
    await verify(node, peer, signed(peer))
    net.clock.advance(2 * 24 * 3600)

    await verify(node, peer, signed(peer))

    assert peer.key_requests == 2


async def test_a_key_is_valid_for_a_week_at_most_whatever_its_server_says(net, node):
    peer = await net.peer()
    peer.valid_for_ms = 1000 * DAY_MS
    await verify(node, peer, signed(peer), net.clock() + WEEK_MS)

    with pytest.raises(BadSignature):
        await verify(node, peer, signed(peer), net.clock() + WEEK_MS + 1)


async def test_without_enforcement_an_expired_key_will_do(net, node):
    peer = await net.peer()
    await verify(node, peer, signed(peer))
    await peer.close()
    net.clock.advance(5)
    later = net.clock() + 100 * DAY_MS

    await verify(node, peer, signed(peer), later, enforce_validity=False)
    with pytest.raises(KeyUnavailable):
        await verify(node, peer, signed(peer), later)


async def test_a_server_that_does_not_answer_is_not_asked_with_every_event(net, node):
    peer = await net.peer()
    asked = 0

    async def fail(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=500)

    peer.answers["/_matrix/key"] = fail
    for _ in range(20):
        with pytest.raises(KeyUnavailable):
            await verify(node, peer, signed(peer))
    assert asked == 1
    del peer.answers["/_matrix/key"]
    net.clock.advance(61)

    await verify(node, peer, signed(peer))


async def test_many_unknown_keys_are_one_question(net, node):
    peer = await net.peer()

    for number in range(30):
        with pytest.raises(BadSignature):
            await verify(node, peer, signed(peer, signing_key(60, f"k{number}")))

    assert peer.key_requests == 1


def test_an_answer_must_be_the_servers_own_and_signed_by_itself():
    key, other = signing_key(1), signing_key(2)
    document = {
        "server_name": "a.test",
        "valid_until_ts": 1000,
        "verify_keys": {key.key_id: {"key": key.verify_key.to_base64()}},
    }
    good = sign_json(document, "a.test", key)

    assert [k.valid_until_ts for k in parse_key_response("a.test", good, 0)] == [1000]
    for bad in (
        document,
        sign_json(document, "b.test", key),
        sign_json(document, "a.test", other),
        {**good, "valid_until_ts": 2000},
        sign_json({**document, "server_name": "b.test"}, "a.test", key),
        sign_json({**document, "valid_until_ts": "x"}, "a.test", key),
        sign_json({**document, "valid_until_ts": 2**80}, "a.test", key),
        sign_json({**document, "verify_keys": {key.key_id: {"key": "abc"}}}, "a.test", key),
        sign_json({**document, "verify_keys": {key.key_id: "abc"}}, "a.test", key),
        sign_json({**document, "verify_keys": []}, "a.test", key),
        {},
    ):
        with pytest.raises(BadKeyResponse):
            parse_key_response("a.test", bad, 0)


# ---------------------------------------------------------------- our own


async def test_our_own_old_key_stays_published_after_a_rotation(net, database):
    before = await net.node(database, keys=[signing_key(1, "old")])
    value = sign_json({"a": 1}, "us.test", before.keys[0])
    sent_at = net.clock()
    net.clock.advance(3600)

    after = await net.node(database, keys=[signing_key(2, "new")])

    document = after.own_keys.document()
    verify_json(document, "us.test", "ed25519:new", after.keys[0].verify_key)
    assert list(document["verify_keys"]) == ["ed25519:new"]
    assert document["old_verify_keys"]["ed25519:old"]["expired_ts"] == net.clock()
    await after.keyring.verify_json_signed_by("us.test", value, sent_at)
    with pytest.raises(BadSignature):
        await after.keyring.verify_json_signed_by("us.test", value, net.clock() + 1)


# ---------------------------------------------------------------- notaries


@pytest.fixture
async def notary(net: Net, postgres):
    """An instance of ours that answers queries about others, as a peer of the one under test."""
    from homeserver.storage.database import Database

    database = await Database.connect(await postgres.create_database())
    peer = await net.peer("notary.test")
    node = await net.node(database, server_name=peer.server_name, keys=[peer.key])
    app = web.Application(middlewares=[error_middleware])
    app[NOTARY] = node.notary
    app[RATE_LIMITS] = RateLimits(rates={"key_query": RateConfig(per_second=0.001, burst=150)})
    app.add_routes(key_routes.routes)
    client = TestClient(TestServer(app))
    await client.start_server()

    async def forward(request: web.Request) -> web.Response:
        async with client.request(
            request.method, request.raw_path, data=await request.read()
        ) as response:
            return web.Response(
                body=await response.read(), status=response.status, content_type="application/json"
            )

    peer.answers["/_matrix/key"] = forward
    peer.http = client
    yield peer
    await client.close()
    await node.close()
    await database.close()


async def test_a_notary_stands_in_for_a_server_that_is_down(net, database, notary):
    peer = await net.peer()
    async with notary.http.get(f"/_matrix/key/v2/query/{peer.server_name}") as response:
        (answer,) = (await response.json())["server_keys"]
    verify_json(answer, peer.server_name, peer.key.key_id, peer.key.verify_key)
    verify_json(answer, notary.server_name, notary.key.key_id, notary.key.verify_key)
    await peer.close()
    node = await net.node(database, notaries=[notary.server_name])

    await verify(node, peer, signed(peer))


async def test_a_notary_that_lies_is_not_believed(net, database, notary):
    peer, liar = await net.peer(), signing_key(66)
    await peer.close()
    forged = sign_json(
        {
            "server_name": peer.server_name,
            "valid_until_ts": net.clock() + DAY_MS,
            "verify_keys": {liar.key_id: {"key": liar.verify_key.to_base64()}},
        },
        peer.server_name,
        liar,
    )

    async def lie(request: web.Request) -> web.Response:
        return web.json_response({"server_keys": [forged]})  # not signed by the notary

    notary.answers = {"/_matrix/key/v2/query": lie, **notary.answers}
    node = await net.node(database, notaries=[notary.server_name])

    with pytest.raises(KeyUnavailable):
        await verify(node, peer, sign_json({"a": 1}, peer.server_name, liar))


@pytest.mark.parametrize("answer", [[], {}, {"server_keys": {}}, {"server_keys": [1, {}]}])
async def test_a_notary_that_answers_garbage_does_no_harm(net, database, notary, answer):
    peer = await net.peer()
    await peer.close()

    async def garbage(request: web.Request) -> web.Response:
        return web.json_response(answer)

    notary.answers = {"/_matrix/key/v2/query": garbage, **notary.answers}
    node = await net.node(database, notaries=[notary.server_name])

    with pytest.raises(KeyUnavailable):
        await verify(node, peer, signed(peer))


async def query(notary: Any, body: Any) -> tuple[int, Any]:
    """Ask a notary about several servers."""
    async with notary.http.post("/_matrix/key/v2/query", json=body) as response:
        return response.status, await response.json()


async def test_a_query_for_several_servers_answers_what_is_known(net, notary):
    one, two, down = await net.peer("one.test"), await net.peer("two.test"), await net.peer()
    await down.close()
    wanted = {
        one.server_name: {},
        two.server_name: {two.key.key_id: {"minimum_valid_until_ts": net.clock()}},
        down.server_name: {},
        "not a name": {},
        notary.server_name: {},
    }

    status, answer = await query(notary, {"server_keys": wanted})

    names = [entry["server_name"] for entry in answer["server_keys"]]
    assert status == 200
    assert names == [one.server_name, two.server_name, notary.server_name]


async def test_a_notary_asks_again_when_what_it_has_is_not_valid_for_long_enough(net, notary):
    peer = await net.peer()
    least = net.clock() + DAY_MS + 1000
    wanted = {"server_keys": {peer.server_name: {peer.key.key_id: {}}}}
    await query(notary, wanted)
    await query(notary, wanted)
    asked = peer.key_requests
    net.clock.advance(10)
    wanted["server_keys"][peer.server_name][peer.key.key_id]["minimum_valid_until_ts"] = least

    _, answer = await query(notary, wanted)

    assert (asked, peer.key_requests) == (1, 2)
    assert answer["server_keys"][0]["valid_until_ts"] >= least


async def test_a_notary_keeps_an_answer_for_half_of_its_lifetime(net, notary):
    peer = await net.peer()
    path = f"/_matrix/key/v2/query/{peer.server_name}"
    asked = []
    for days in (0, 0.4, 0.2):
        net.clock.advance(days * 24 * 3600)
        async with notary.http.get(path) as response:
            assert len((await response.json())["server_keys"]) == 1
        asked.append(peer.key_requests)
    await peer.close()
    net.clock.advance(24 * 3600)

    async with notary.http.get(path) as response:
        answer = await response.json()

    assert asked == [1, 1, 2]
    assert [key["server_name"] for key in answer["server_keys"]] == [peer.server_name]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"server_keys": []},
        {"server_keys": {"a.test": []}},
        {"server_keys": {"a.test": {"ed25519:a": 1}}},
        {"server_keys": {"a.test": {"ed25519:a": {"minimum_valid_until_ts": "x"}}}},
        {"server_keys": {f"a{number}.test": {} for number in range(101)}},
    ],
)
async def test_a_malformed_query_gets_an_error(notary, body):
    status, answer = await query(notary, body)

    assert status in (400, 413)
    assert answer["errcode"] in ("M_BAD_JSON", "M_MISSING_PARAM", "M_TOO_LARGE")
