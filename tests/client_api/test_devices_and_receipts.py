"""Keys, to-device messages, receipts, typing and presence over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from client_api.matrix import keys, presence, receipts, to_device, typing
from homeserver import app_keys
from homeserver.errors import MatrixError
from homeserver.services.cross_signing import CrossSigningService
from homeserver.services.device_lists import DeviceListService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.presence import PresenceService
from homeserver.services.receipts import ReceiptService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.services.to_device import ToDeviceService
from homeserver.services.typing import TypingService
from homeserver.storage.log import Log
from tests.client_api.stage import bearer, serve
from tests.services.doubles import (
    ALICE,
    BOB,
    ROOM,
    SERVER,
    Clock,
    Edus,
    Members,
    Peers,
    add_device,
    add_event,
    device_keys,
    set_membership,
)
from tests.services.test_cross_signing import OTHER, three_keys

MODULES = (keys, to_device, receipts, typing, presence)
ALICES, BOBS = bearer("alice/LAPTOP"), bearer("bob/PHONE")


class NoOAuth:
    """Nobody has logged in by the OAuth 2.0 API."""

    async def uses_oauth(self, user_id: str, device_id: str) -> bool:
        """Never."""
        return False


@dataclass
class Stage:
    """A client, and what stands behind the server."""

    http: Any
    parts: dict[Any, Any]
    log: Log

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] = BOBS
    ) -> Any:
        """A request beneath /_matrix/client/v3; the answer's body, and ``status`` in it."""
        response = await self.http.request(
            method, f"/_matrix/client/v3{path}", json=body, headers=headers
        )
        return {**await response.json(), "status": response.status}

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and code of an error."""
        answer = await self.call(method, path, body)
        return answer["status"], answer["errcode"]


@pytest.fixture
async def stage(database):
    log = Log(database)
    await log.start()
    edus, members, peers, clock = Edus(), Members(), Peers(), Clock()
    members.joined[ROOM] = {ALICE, BOB}
    lists = DeviceListService(database=database, log=log, edus=edus)
    remote = RemoteDevices(database=database, log=log, remote=peers, clock_ms=clock)
    end_to_end = EndToEndKeyService(
        server_name=SERVER,
        database=database,
        device_lists=lists,
        remote_devices=remote,
        remote=peers,
    )
    parts: dict[Any, Any] = {
        app_keys.OAUTH_TOKENS: NoOAuth(),
        app_keys.APPROVALS: NoOAuth(),
        app_keys.DEVICE_LISTS: lists,
        app_keys.END_TO_END_KEYS: end_to_end,
        app_keys.CROSS_SIGNING: CrossSigningService(
            database=database, device_lists=lists, keys=end_to_end
        ),
        app_keys.TO_DEVICE: ToDeviceService(
            server_name=SERVER, database=database, log=log, edus=edus, clock_ms=clock
        ),
        app_keys.RECEIPTS: ReceiptService(
            database=database, log=log, rooms=members, edus=edus, clock_ms=clock
        ),
        app_keys.TYPING: TypingService(rooms=members, edus=edus, clock_ms=clock),
        app_keys.PRESENCE: PresenceService(
            server_name=SERVER, database=database, edus=edus, clock_ms=clock
        ),
    }
    for user_id, device_id in ((ALICE, "LAPTOP"), (BOB, "PHONE")):
        await add_device(database, user_id, device_id)
        await set_membership(database, user_id)
    await add_event(database, "$1")
    log.position = await database.fetchval("SELECT last_value FROM log_position")
    routes = [route for module in MODULES for route in module.routes.definitions]
    async with serve(routes, parts) as http:
        yield Stage(http, parts, log)
    parts[app_keys.TYPING].close()
    await remote.close()
    await log.close()


async def test_alice_finds_and_claims_bobs_keys(stage):
    uploaded = await stage.call(
        "POST",
        "/keys/upload",
        {
            "device_keys": device_keys(BOB, "PHONE"),
            "one_time_keys": {"signed_curve25519:A": {"key": "a", "signatures": {}}},
        },
    )
    queried = await stage.call(
        "POST", "/keys/query", {"device_keys": {BOB: []}, "timeout": 1000}, headers=ALICES
    )
    claimed = await stage.call(
        "POST", "/keys/claim", {"one_time_keys": {BOB: {"PHONE": "signed_curve25519"}}}
    )
    again = await stage.call(
        "POST", "/keys/claim", {"one_time_keys": {BOB: {"PHONE": "signed_curve25519"}}}
    )

    assert uploaded == {"one_time_key_counts": {"signed_curve25519": 1}, "status": 200}
    assert list(queried["device_keys"][BOB]) == ["PHONE"]
    assert claimed["one_time_keys"] == {
        BOB: {"PHONE": {"signed_curve25519:A": {"key": "a", "signatures": {}}}}
    }
    assert again["one_time_keys"] == {}


async def test_changes_between_two_syncs_are_named(stage):
    since = stage.log.position
    await stage.call("POST", "/keys/upload", {"device_keys": device_keys(BOB, "PHONE")})

    answer = await stage.call(
        "GET", f"/keys/changes?from=s{since}_5_5&to=s{stage.log.position}_9_9", headers=ALICES
    )

    assert answer == {"changed": [BOB], "left": [], "status": 200}


async def test_new_cross_signing_keys_need_the_user_and_the_first_do_not(stage, monkeypatch):
    async def nobody(*_: Any, **__: Any) -> None:
        raise MatrixError("Who are you?", status=401, session="s")

    monkeypatch.setattr(keys, "authenticate_interactively", nobody)

    first = await stage.call("POST", "/keys/device_signing/upload", three_keys(BOB))
    second = await stage.call("POST", "/keys/device_signing/upload", three_keys(BOB, OTHER))

    assert first["status"] == 200
    assert second["status"] == 401 and second["session"] == "s"


async def test_a_message_reaches_bobs_phone(stage):
    body = {"messages": {BOB: {"*": {"n": 1}}}}
    for _ in range(2):
        answer = await stage.call("PUT", "/sendToDevice/m.test/t1", body, headers=ALICES)
        assert answer["status"] == 200

    service = stage.parts[app_keys.TO_DEVICE]
    batch = await service.messages_for(BOB, "PHONE", 0, stage.log.position)
    assert batch.events == [{"sender": ALICE, "type": "m.test", "content": {"n": 1}}]


async def test_bob_has_read_an_event(stage):
    receipt = await stage.call("POST", f"/rooms/{ROOM}/receipt/m.read/$1", {"thread_id": "main"})
    markers = await stage.call("POST", f"/rooms/{ROOM}/read_markers", {"m.fully_read": "$1"})

    service = stage.parts[app_keys.RECEIPTS]
    assert receipt["status"] == markers["status"] == 200
    assert (await service.latest_read(BOB, [ROOM]))[ROOM].keys() == {"main"}


async def test_bob_types_and_only_for_himself(stage):
    own = await stage.call("PUT", f"/rooms/{ROOM}/typing/{BOB}", {"typing": True, "timeout": 9})
    others = await stage.refused("PUT", f"/rooms/{ROOM}/typing/{ALICE}", {"typing": True})

    assert own["status"] == 200
    assert others == (403, "M_FORBIDDEN")
    await asyncio.sleep(0.05)


async def test_alice_sees_how_bob_is(stage):
    body = {"presence": "unavailable", "status_msg": "asleep"}
    await stage.call("PUT", f"/presence/{BOB}/status", body)
    others = await stage.refused("PUT", f"/presence/{ALICE}/status", body)

    seen = await stage.call("GET", f"/presence/{BOB}/status", headers=ALICES)

    assert seen == {"presence": "unavailable", "status_msg": "asleep", "status": 200}
    assert others == (403, "M_FORBIDDEN")


BAD_INPUT = [
    ("POST", "/keys/upload", {"one_time_keys": {"nocolon": "x"}}, 400),
    ("POST", "/keys/upload", {"one_time_keys": {"a:b": 3}}, 400),
    ("POST", "/keys/upload", {"one_time_keys": {"a:\0": "x"}}, 400),
    ("POST", "/keys/upload", {"one_time_keys": []}, 400),
    ("POST", "/keys/upload", {"fallback_keys": {"a:b": "x", "a:c": "x"}}, 400),
    ("POST", "/keys/query", {}, 400),
    ("POST", "/keys/query", {"device_keys": {"bob": []}}, 400),
    ("POST", "/keys/query", {"device_keys": {BOB: "PHONE"}}, 400),
    ("POST", "/keys/query", {"device_keys": {BOB: []}, "timeout": "x"}, 400),
    ("POST", "/keys/claim", {"one_time_keys": {BOB: {"PHONE": 1}}}, 400),
    ("GET", "/keys/changes?from=x&to=1", None, 400),
    ("GET", "/keys/changes?from=99999999999999999999&to=1", None, 400),
    ("GET", "/keys/changes", None, 400),
    ("POST", "/keys/device_signing/upload", {"master_key": "x"}, 400),
    ("POST", "/keys/device_signing/upload", {"master_key": {"user_id": BOB}}, 400),
    ("POST", "/keys/signatures/upload", [], 400),
    ("PUT", "/sendToDevice/m.test/t", {}, 400),
    ("PUT", "/sendToDevice/m.test/t", {"messages": {BOB: []}}, 400),
    ("PUT", "/sendToDevice/m.test/%00", {"messages": {}}, 400),
    ("POST", f"/rooms/{ROOM}/receipt/m.read/$1", {"thread_id": 1}, 400),
    ("POST", f"/rooms/{ROOM}/receipt/m.read/$1", {"thread_id": None}, 400),
    ("POST", f"/rooms/{ROOM}/receipt/m.read/%00", {}, 400),
    ("POST", f"/rooms/{ROOM}/read_markers", {"m.read": 5}, 400),
    ("PUT", f"/rooms/{ROOM}/typing/{BOB}", {"typing": "yes"}, 400),
    ("PUT", "/rooms/nonsense/typing/@bob:one.example", {"typing": True}, 400),
    ("PUT", f"/presence/{BOB}/status", {"presence": "asleep"}, 400),
    ("PUT", f"/presence/{BOB}/status", {"presence": "online", "status_msg": "\0"}, 400),
    ("GET", "/presence/nonsense/status", None, 400),
    ("GET", "/presence/@eve:two.example/status", None, 403),
]


async def test_bad_input_is_refused_and_never_a_server_error(stage):
    answers = [await stage.call(method, path, body) for method, path, body, _ in BAD_INPUT]

    wrong = [
        (case, answer)
        for case, answer in zip(BAD_INPUT, answers, strict=True)
        if answer["status"] != case[3] or not answer["errcode"].startswith("M_")
    ]
    assert wrong == []


async def test_signatures_on_nonsense_fail_one_by_one(stage):
    body = {BOB: {"PHONE": 5, "OTHER": {}}, "nonsense": 1}

    answer = await stage.call("POST", "/keys/signatures/upload", body)

    assert answer["status"] == 200
    assert set(answer["failures"][BOB]) == {"PHONE", "OTHER"}
