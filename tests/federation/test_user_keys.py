"""What other instances may ask about our users' keys."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from aiohttp import web

from federation.routes import base, user_devices, user_keys
from federation.server import CONTENT, ORIGIN
from homeserver.app_keys import END_TO_END_KEYS, RATE_LIMITS
from homeserver.config import RateConfig
from homeserver.services.device_lists import DeviceListService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.rate_limits import RateLimits
from homeserver.services.remote_devices import RemoteDevices
from homeserver.storage.log import Log
from tests.client_api.stage import serve
from tests.services.doubles import BOB, CAROL, SERVER, Clock, Edus, Peers, add_device, device_keys
from tests.services.open_consent import OpenConsent

PREFIX = "/_matrix/federation/v1/user"


@pytest.fixture
async def http(database, monkeypatch):
    async def trust(request: web.Request) -> None:
        request[ORIGIN] = "peer.test"
        request[CONTENT] = await request.json() if request.can_read_body else {}

    monkeypatch.setattr(base, "authenticate_request", trust)
    monkeypatch.setattr(base, "take_turn", lambda _: nullcontext())
    log = Log(database)
    await log.start()
    peers: Any = Peers()
    lists = DeviceListService(database=database, log=log, edus=Edus())
    remote = RemoteDevices(database=database, log=log, remote=peers, clock_ms=Clock())
    service = EndToEndKeyService(
        server_name=SERVER,
        database=database,
        device_lists=lists,
        remote_devices=remote,
        remote=peers,
    )
    await add_device(database, BOB, "PHONE")
    await service.upload(
        BOB,
        "PHONE",
        device_keys=device_keys(BOB, "PHONE"),
        one_time_keys={
            f"signed_curve25519:{name}": {"key": name.lower(), "signatures": {}} for name in "ABC"
        },
        fallback_keys={"signed_curve25519:F": {"key": "f", "fallback": True, "signatures": {}}},
    )
    routes = [*user_devices.routes.definitions, *user_keys.routes.definitions]
    consent = OpenConsent(database, log, Clock(), server_name=SERVER)
    limits = RateLimits(rates={"key_claim": RateConfig(per_second=0.001, burst=2)})
    parts = {END_TO_END_KEYS: service, RATE_LIMITS: limits, **consent.app_parts()}
    async with serve(routes, parts) as client:
        client.consent = consent.consent
        yield client
    await remote.close()
    await log.close()


async def test_a_peer_gets_the_device_list(http):
    answer = await (await http.get(f"{PREFIX}/devices/{BOB}")).json()

    assert [device["device_id"] for device in answer["devices"]] == ["PHONE"]
    assert isinstance(answer["stream_id"], int)


async def test_a_peer_gets_no_list_of_another_servers_users(http):
    response = await http.get(f"{PREFIX}/devices/{CAROL}")

    assert response.status == 404


async def test_a_peer_queries_and_claims_keys_of_our_users_alone(http):
    query = {"device_keys": {BOB: [], CAROL: []}}
    claim = {"one_time_keys": {BOB: {"PHONE": "signed_curve25519"}, CAROL: {"DESK": "x"}}}

    queried = await (await http.post(f"{PREFIX}/keys/query", json=query)).json()
    claimed = await (await http.post(f"{PREFIX}/keys/claim", json=claim)).json()

    assert queried["device_keys"] == {BOB: {"PHONE": device_keys(BOB, "PHONE")}}
    assert "user_signing_keys" not in queried
    assert claimed["one_time_keys"].keys() == {BOB}
    (name, key), *more = claimed["one_time_keys"][BOB]["PHONE"].items()
    assert name == f"signed_curve25519:{key['key'].upper()}"
    assert not more


async def test_an_instance_that_takes_too_many_keys_gets_the_fallback_key_alone(http):
    claim = {"one_time_keys": {BOB: {"PHONE": "signed_curve25519"}}}

    answers = [await (await http.post(f"{PREFIX}/keys/claim", json=claim)).json() for _ in range(4)]

    names = [next(iter(answer["one_time_keys"][BOB]["PHONE"])) for answer in answers]
    assert {*names[:2]} < {"signed_curve25519:A", "signed_curve25519:B", "signed_curve25519:C"}
    assert names[2:] == ["signed_curve25519:F"] * 2


@pytest.mark.parametrize("path", ["query", "claim"])
async def test_a_malformed_question_is_refused(http, path):
    response = await http.post(f"{PREFIX}/keys/{path}", json={"device_keys": 1})

    assert (response.status, (await response.json())["errcode"]) == (400, "M_BAD_JSON")


async def test_an_instance_that_bob_blocks_learns_what_is_said_of_unknown_users(http):
    for scope in ("message", "federation"):
        await http.consent.set(BOB, "peer.test", scope, "denied", how="page")

        devices = await http.get(f"{PREFIX}/devices/{BOB}")
        unknown = await http.get(f"{PREFIX}/devices/@nobody:{SERVER}")
        queried = await http.post(f"{PREFIX}/keys/query", json={"device_keys": {BOB: []}})
        claims = {"one_time_keys": {BOB: {"PHONE": "signed_curve25519"}}}
        claimed = await http.post(f"{PREFIX}/keys/claim", json=claims)

        assert await devices.json() == {**await unknown.json(), "user_id": BOB}
        assert (await queried.json())["device_keys"] == {}
        assert (await claimed.json())["one_time_keys"] == {}
        await http.consent.clear(BOB, "peer.test", scope, how="page")

    assert (await (await http.get(f"{PREFIX}/devices/{BOB}")).json())["devices"]
