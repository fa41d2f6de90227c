"""One-time keys are given out once, however many claim at once, through whichever process."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.conftest import TestPostgres
from tests.integration.single import Instance, running

ALGORITHM = "signed_curve25519"
SIGNATURES = {"@bob:one.test": {"ed25519:DEVICE": "signature"}}
CLAIMERS = 50
KEYS = 40


async def register(instance: Instance, name: str) -> tuple[str, str]:
    """A new account's token and device ID."""
    body = {"username": name, "password": "sesame", "auth": {"type": "m.login.dummy"}}
    answer = await instance.call("POST", "/register", body)
    return answer["access_token"], answer["device_id"]


@pytest.fixture
async def two_processes(postgres: TestPostgres, tmp_path: Path) -> Any:
    """Two processes of one server upon one database, each with connections of its own."""
    dsn = await postgres.create_database()
    databases = [await Database.connect(dsn) for _ in range(2)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        running(databases[0], tmp_path / "one") as one,
        running(databases[1], tmp_path / "two") as two,
    ):
        yield one, two
    for database in databases:
        await database.close()


async def test_fifty_claimers_in_two_processes_get_each_key_once_and_then_the_fallback_key(
    two_processes: tuple[Instance, Instance],
) -> None:
    one, two = two_processes
    bob, device = await register(one, "bob")
    alice, _ = await register(one, "alice")
    upload = {
        "one_time_keys": {
            f"{ALGORITHM}:K{n:02}": {"key": f"k{n}", "signatures": SIGNATURES} for n in range(KEYS)
        },
        "fallback_keys": {
            f"{ALGORITHM}:F": {"key": "f", "fallback": True, "signatures": SIGNATURES}
        },
    }
    await one.call("POST", "/keys/upload", upload, token=bob)
    body = {"one_time_keys": {"@bob:one.test": {device: ALGORITHM}}}

    answers = await asyncio.gather(
        *(
            (one, two)[number % 2].call("POST", "/keys/claim", body, token=alice)
            for number in range(CLAIMERS)
        )
    )

    names = Counter(
        name for answer in answers for name in answer["one_time_keys"]["@bob:one.test"][device]
    )
    assert names.pop(f"{ALGORITHM}:F") == CLAIMERS - KEYS
    assert sorted(names) == sorted(upload["one_time_keys"])
    assert set(names.values()) == {1}
    sync = await one.call("GET", "/sync", token=bob)
    assert sync["device_one_time_keys_count"] == {ALGORITHM: 0}
    assert sync["device_unused_fallback_key_types"] == []


async def test_of_two_keys_uploaded_at_once_under_one_id_one_is_refused(
    two_processes: tuple[Instance, Instance],
) -> None:
    bob, device = await register(two_processes[0], "bob")

    async def upload(number: int) -> dict[str, Any]:
        body = {
            "one_time_keys": {f"{ALGORITHM}:K": {"key": f"k{number}", "signatures": SIGNATURES}}
        }
        instance = two_processes[number % 2]
        headers = {"Authorization": f"Bearer {bob}"}
        path = "/_matrix/client/v3/keys/upload"
        async with instance.client.post(path, json=body, headers=headers) as response:
            return {"status": response.status, **await response.json()}

    answers = await asyncio.gather(*(upload(number) for number in range(8)))

    accepted = [number for number, answer in enumerate(answers) if answer["status"] == 200]
    assert len(accepted) == 1
    refused = [answer for answer in answers if answer["status"] != 200]
    assert {(answer["status"], answer["errcode"]) for answer in refused} == {
        (400, "M_INVALID_PARAM")
    }
    body = {"one_time_keys": {"@bob:one.test": {device: ALGORITHM}}}
    claimed = await two_processes[0].call("POST", "/keys/claim", body, token=bob)
    key = claimed["one_time_keys"]["@bob:one.test"][device][f"{ALGORITHM}:K"]
    assert key["key"] == f"k{accepted[0]}"


async def test_claims_for_many_devices_and_algorithms_at_once_do_not_block_each_other(
    two_processes: tuple[Instance, Instance],
) -> None:
    one, two = two_processes
    devices = {}
    for name in ("bob", "carol", "dave"):
        token, device = await register(one, name)
        keys = {
            f"{ALGORITHM}:K{n}": {"key": f"{name}{n}", "signatures": SIGNATURES} for n in range(12)
        }
        keys |= {f"curve25519:K{n}": f"{name}{n}" for n in range(12)}
        await one.call("POST", "/keys/upload", {"one_time_keys": keys}, token=token)
        devices[f"@{name}:one.test"] = device
    alice, _ = await register(one, "alice")

    async def claim(number: int) -> dict[str, Any]:
        algorithm = (ALGORITHM, "curve25519")[number % 3 % 2]
        users = list(devices) if number % 2 else list(reversed(devices))  # locks in both orders
        body = {"one_time_keys": {user: {devices[user]: algorithm} for user in users}}
        instance = (one, two)[number // 2 % 2]
        answer = await instance.call("POST", "/keys/claim", body, token=alice)
        found: dict[str, Any] = answer["one_time_keys"]
        return found

    answers = await asyncio.gather(*(claim(number) for number in range(12)))

    given = Counter(
        (user, name)
        for answer in answers
        for user in answer
        for name in answer[user][devices[user]]
    )
    assert sum(given.values()) == 3 * 12
    assert set(given.values()) == {1}
