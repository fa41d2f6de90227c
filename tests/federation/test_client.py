"""Requests going out, and all that the other side may do to them."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web

from federation.errors import PeerError, Permanent, Temporary, TooMuch
from federation.request_signing import parse_authorization, signed_bytes
from homeserver.protocol.canonical import decode_base64, encode_canonical_json
from tests.federation.network import signing_key

PATH = "/_matrix/federation/v1/thing"


async def test_a_request_is_signed_over_method_target_destination_and_content(net, node):
    peer = await net.peer()

    await node.client.put(
        peer.server_name, PATH + "/%2Fa%3Fb", query={"q": "ü &"}, body={"b": 1, "a": "é"}
    )

    request = peer.requests[0]
    assert request.raw_path == PATH + "/%2Fa%3Fb?q=%C3%BC%20%26"
    header = parse_authorization(request.headers["Authorization"])
    message = signed_bytes(
        method="PUT",
        uri=request.raw_path,
        origin="us.test",
        destination=peer.server_name,
        content=encode_canonical_json({"b": 1, "a": "é"}),
    )
    assert header.origin == "us.test"
    assert header.destination == peer.server_name
    signing_key(1).verify_key.verify(message, decode_base64(header.signature))
    assert peer.bodies == [{"b": 1, "a": "é"}]
    assert request.headers["Host"] == peer.server_name
    assert request.headers["Content-Type"] == "application/json"


async def test_the_signed_bytes_are_canonical_json():
    parts = {
        "method": "PUT",
        "uri": "/a",
        "origin": "one",
        "destination": "two",
        "content": {"b": 2, "a": [True, None, "ü"]},
    }

    message = signed_bytes(**{**parts, "content": encode_canonical_json(parts["content"])})

    assert message == encode_canonical_json(parts)


async def test_an_error_of_the_peer_keeps_its_code(net, node):
    peer = await net.peer()

    async def refuse(request: web.Request) -> web.Response:
        body = {"errcode": "M_INCOMPATIBLE_ROOM_VERSION", "error": "No", "room_version": "3"}
        return web.json_response(body, status=400)

    peer.answers["/"] = refuse

    with pytest.raises(PeerError) as caught:
        await node.client.get(peer.server_name, PATH)

    assert (caught.value.status, caught.value.errcode) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert not caught.value.temporary
    told = caught.value.to_matrix_error()
    assert told.errcode == "M_INCOMPATIBLE_ROOM_VERSION"
    assert told.extra == {"room_version": "3"}


async def test_an_error_about_our_signature_is_not_passed_on_to_the_client(net, node):
    peer = await net.peer()

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_UNKNOWN_TOKEN", "error": "?"}, status=401)

    peer.answers["/"] = refuse

    with pytest.raises(PeerError) as caught:
        await node.client.get(peer.server_name, PATH)

    error = caught.value.to_matrix_error()
    assert (error.status, error.errcode) == (502, "M_UNKNOWN")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"a":', b"\xff\xfe", b"[" * 9999]
)
async def test_garbage_is_a_temporary_failure(net, node, body):
    peer = await net.peer()

    async def garbage(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    peer.answers["/"] = garbage

    with pytest.raises(Temporary):
        await node.client.get(peer.server_name, PATH)


async def test_a_peer_that_never_answers_costs_the_time_limit_and_no_more(net, node):
    peer = await net.peer()
    peer.answers["/"] = _never

    started = time.monotonic()
    with pytest.raises(Temporary, match="in time"):
        await node.client.get(peer.server_name, PATH, timeout_seconds=0.3)

    assert time.monotonic() - started < 20


async def _never(request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def test_a_peer_that_dribbles_costs_the_time_limit_and_no_more(net, node):
    peer = await net.peer()

    async def dribble(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" ")
            await asyncio.sleep(0.02)
        return response

    peer.answers["/"] = dribble

    with pytest.raises(Temporary, match="in time"):
        await node.client.get(peer.server_name, PATH, timeout_seconds=0.3)


@pytest.mark.parametrize("announced", [True, False])
async def test_gigabytes_are_cut_off(net, node, announced):
    peer = await net.peer()
    written = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        if announced:
            response.content_length = 2**33
        await response.prepare(request)
        while written < 2**33:
            await response.write(b"x" * 65_536)
            written += 65_536
        return response

    peer.answers["/"] = flood

    with pytest.raises(TooMuch):
        await node.client.get(peer.server_name, PATH)

    assert written < 2**26


async def test_a_bomb_of_compressed_zeros_is_cut_off(net, node):
    peer = await net.peer()

    async def bomb(request: web.Request) -> web.Response:
        response = web.Response(body=b"\0" * 50_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    peer.answers["/"] = bomb

    with pytest.raises(TooMuch):
        await node.client.get(peer.server_name, PATH)


async def test_redirects_are_not_followed(net, node):
    peer = await net.peer()

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    peer.answers[PATH] = redirect

    with pytest.raises(PeerError) as caught:
        await node.client.get(peer.server_name, PATH)

    assert caught.value.status == 302
    assert len(peer.requests) == 1


async def test_a_certificate_for_another_name_is_refused_before_anything_is_sent(net, node):
    peer = await net.peer("peer.test", certificate="other.test")

    with pytest.raises(Temporary, match="certificate"):
        await node.client.get(peer.server_name, PATH)

    assert peer.requests == []


async def test_the_local_network_is_refused_by_name(net, database):
    peer = await net.peer()
    node = await net.node(database, allow_private_networks=False)

    with pytest.raises(Permanent, match="local network"):
        await node.client.get(peer.server_name, PATH)

    assert peer.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_the_local_network_is_refused_by_address(net, database, host):
    peer = await net.peer()
    node = await net.node(database, allow_private_networks=False)

    with pytest.raises(Permanent, match="local network"):
        await node.client.get(f"{host}:{peer.port}", PATH)

    assert peer.requests == []


async def test_instances_behind_one_address_share_no_connection(net, node):
    one = await net.peer("one.test")
    two = f"two.test:{one.port}"

    await node.client.get(one.server_name, PATH)
    with pytest.raises(Temporary, match="certificate"):
        await node.client.get(two, PATH)

    assert [request.host for request in one.requests] == [one.server_name]


async def test_connections_are_kept_for_the_next_request(net, node):
    peer = await net.peer()

    for _ in range(3):
        await node.client.get(peer.server_name, PATH)

    assert len({request.transport for request in peer.requests}) == 1


async def test_a_denied_server_is_asked_nothing(net, database):
    peer = await net.peer()
    node = await net.node(database, deny=["peer.*"])

    with pytest.raises(Permanent):
        await node.client.get(peer.server_name, PATH)

    assert peer.requests == []


async def test_a_peer_known_to_be_down_is_refused_at_once_until_it_is_heard_from(net, node):
    peer = await net.peer()
    await peer.close()
    for _ in range(6):
        with pytest.raises(Temporary):
            await node.client.get(peer.server_name, PATH)
        node.clock.advance(node.health.wait_seconds(peer.server_name))
    with pytest.raises(Temporary, match="no connection"):
        await node.client.get(peer.server_name, PATH)
    await net.restart(peer)
    with pytest.raises(Temporary, match="at the moment"):
        await node.client.get(peer.server_name, PATH)

    node.health.heard_from(peer.server_name)

    assert await node.client.get(peer.server_name, PATH) == {}
    assert not node.health.is_failing(peer.server_name)


async def test_large_answers_can_be_streamed(net, node):
    peer = await net.peer()

    async def media(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1_000_000)

    peer.answers["/"] = media

    async with node.client.stream(peer.server_name, PATH) as response:
        size = sum([len(chunk) async for chunk in response.content.iter_chunked(65_536)])

    assert size == 1_000_000


async def test_a_stream_that_breaks_off_is_a_failure(net, node):
    peer = await net.peer()

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10_000
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.abort()
        return response

    peer.answers["/"] = broken

    with pytest.raises(Temporary):
        async with node.client.stream(peer.server_name, PATH) as response:
            await response.read()
