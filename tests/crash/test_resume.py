"""Sockets that are cut off, and a server that is killed, lose nothing and repeat nothing.

    .venv/bin/python -m pytest tests/crash/test_resume.py -s

`COMITY_RESUME_SOCKETS` and `COMITY_RESUME_SECONDS` scale it; `COMITY_RESUME_SEED` repeats the
choices of an earlier run.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from tests.harness import Comity, World, raw_session
from tests.harness.client import RawClient

from .sockets import Device, eventually

SOCKETS = int(os.environ.get("COMITY_RESUME_SOCKETS", "1000"))
SECONDS = float(os.environ.get("COMITY_RESUME_SECONDS", "60"))
SEED = int(os.environ.get("COMITY_RESUME_SEED", str(random.randrange(1_000_000))))
MEMBERS = 10
SETTLE_SECONDS = 120.0
KILL_EVERY_SECONDS = (4.0, 12.0)
DOWN_SECONDS = (0.0, 2.0)
AT_ONCE = 8


@pytest.mark.parametrize("seed", [SEED])
async def test_every_client_has_every_message_once_and_in_order(seed: int) -> None:
    """While sockets are cut off at random and the server is killed, and after it is over."""
    print(f"\nseed {seed}, {SOCKETS} sockets, {SECONDS:.0f} s", flush=True)
    rng = random.Random(seed)
    with World(keep=bool(os.environ.get("COMITY_KEEP_WORLD"))) as world:
        server = world.comity("resume", overrides={"presence": {"enabled": False}})
        await server.start_async()
        devices = await _assemble(server, rng)

        print("everybody is there", flush=True)
        kills = await _storm(server, devices, rng)

        sent = sum(len(device.acknowledged) for device in devices)
        reconnections = sum(device.reconnections for device in devices)
        print(f"{sent} messages, {reconnections} reconnections, {kills} kills", flush=True)
        _check(devices)
        assert "Traceback" not in server.log_file.read_text(errors="replace")


async def _assemble(server: Comity, rng: random.Random) -> list[Device]:
    """Devices of people in conversations of ten."""
    names = [f"device{number}" for number in range(SOCKETS)]
    tokens = await server.add_accounts(names)
    devices = [
        Device(server, name, token, "", random.Random(rng.random()))
        for name, token in zip(names, tokens, strict=True)
    ]
    gate = asyncio.Semaphore(AT_ONCE)
    async with raw_session() as session:

        async def gather(members: Sequence[Device]) -> None:
            async with gate:
                host = RawClient(session, server.client_url, access_token=members[0].token)
                room_id = await host.create_room(preset="public_chat")
                for member in members:
                    member.conversation_id = room_id
                    if member is not members[0]:
                        guest = RawClient(session, server.client_url, access_token=member.token)
                        await guest.join(room_id)

        groups = [devices[n : n + MEMBERS] for n in range(0, len(devices), MEMBERS)]
        await asyncio.gather(*map(gather, groups))
    return devices


async def _storm(server: Comity, devices: Sequence[Device], rng: random.Random) -> int:
    """Everybody talks and is cut off, the server is killed; until all is quiet.  How many kills."""
    listeners = [asyncio.create_task(device.listen()) for device in devices]
    try:
        assert await eventually(lambda: all(d.position is not None for d in devices), 60)
        over, kills = time.monotonic() + SECONDS, 0
        writers = [
            asyncio.create_task(device.write(lambda: time.monotonic() > over)) for device in devices
        ]
        while time.monotonic() < over:
            await asyncio.sleep(min(rng.uniform(*KILL_EVERY_SECONDS), SECONDS / 3))
            await server.kill_async()
            await asyncio.sleep(rng.uniform(*DOWN_SECONDS))
            await server.start_async()
            kills += 1
        await asyncio.gather(*writers)
        print("everybody has said what they had to say", flush=True)
        assert await eventually(lambda: all(d.is_settled for d in devices), SETTLE_SECONDS)
        expected: Counter[str] = Counter()
        for device in devices:
            expected[device.conversation_id] += len(device.acknowledged)
        await eventually(
            lambda: all(len(d.told) >= expected[d.conversation_id] for d in devices),
            SETTLE_SECONDS,
        )
        return kills
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)


def _check(devices: Sequence[Device]) -> None:
    sent: dict[str, dict[str, str]] = defaultdict(dict)
    orders: dict[str, list[str]] = {}
    for device in devices:
        sent[device.conversation_id].update(device.acknowledged)
    for device in devices:
        told = [message_id for _, message_id, _ in device.told]
        positions = [position for position, _, _ in device.told]
        twice = [message_id for message_id, count in Counter(told).items() if count > 1]
        missing = sent[device.conversation_id].keys() - set(told)
        assert not device.problems, device.problems[:3]
        assert not device.resets
        assert not twice, f"{device.name} was told {len(twice)} messages twice"
        assert not missing, f"{device.name} misses {len(missing)} messages"
        assert positions == sorted(positions), f"{device.name} was told out of order"
        assert orders.setdefault(device.conversation_id, told) == told, "the orders differ"
        _check_senders(device)


def _check_senders(device: Device) -> None:
    """Each sender's messages are all there, once, in the order in which they were sent."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for _, _, text in device.told:
        name, _, number = text.rpartition(" ")
        numbers[name].append(int(number))
    for name, found in numbers.items():
        assert found == list(range(len(found))), f"{name} is out of order for {device.name}"
