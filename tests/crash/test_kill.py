"""kill -9 at random moments under load loses nothing that was acknowledged.

    COMITY_CRASH_ROUNDS=50 .venv/bin/python -m pytest tests/crash -s

`COMITY_CRASH_SEED` repeats the choices of an earlier run (who is killed, when, for how long);
`COMITY_CRASH_KINDS=synapse-synapse` runs the same against other servers. Of a Synapse only
the history is checked: after an outage it takes over what it missed as history, which does
not come down its members' syncs.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Sequence

import aiohttp
import pytest

from tests.harness import Homeserver, MatrixRefused, RawClient, World, eventually, raw_session

from .members import OUTAGES, Event, Member, is_message

ROUNDS = int(os.environ.get("COMITY_CRASH_ROUNDS", "5"))
SEED = int(os.environ.get("COMITY_CRASH_SEED", str(random.randrange(1_000_000))))
KINDS = os.environ.get("COMITY_CRASH_KINDS", "comity-comity")
MEMBERS_PER_SERVER = 3
SETTLE_SECONDS = 90.0


@pytest.mark.parametrize("seed", [SEED])
async def test_kill_9_under_load_loses_nothing(seed: int) -> None:
    """Every message answered with 200 is on both sides, once, in one order for all."""
    print(f"\nseed {seed}, rounds {ROUNDS} (COMITY_CRASH_SEED={seed})", flush=True)
    rng = random.Random(seed)
    with World(keep=bool(os.environ.get("COMITY_KEEP_WORLD"))) as world:
        first, second = KINDS.split("-")
        servers = [world.server(first, "one"), world.server(second, "two")]
        for server in servers:
            await server.start_async()
        async with raw_session() as session:
            members = await _assemble(session, servers)

            await _storm(members, servers, rng)

            sent = {k: v for member in members for k, v in member.acknowledged.items()}
            retries = sum(member.failures for member in members)
            print(f"{len(sent)} messages acknowledged, {retries} sends repeated", flush=True)
            for server in servers:
                locals_ = [member for member in members if member.server is server]
                await _check_side(server, locals_, sent)


async def _assemble(session: aiohttp.ClientSession, servers: Sequence[Homeserver]) -> list[Member]:
    """Members on every server, all in one room."""
    members = []
    for server in servers:
        for number in range(MEMBERS_PER_SERVER):
            client = RawClient(session, server.client_url)
            await client.register(f"member{number}")
            members.append(Member(server, client))
    host = members[0]
    room_id = await host.client.create_room(preset="public_chat")
    for member in members:
        member.room_id = room_id
        if member is not host:
            await member.client.join(room_id, via=host.server.server_name)
    everyone = {member.client.user_id for member in members}
    for member in (members[0], members[-1]):

        async def complete(member: Member = member) -> bool:
            return await member.client.joined_members(room_id) == everyone

        await eventually(complete, f"everyone in the room, as {member.server} sees it")
    return members


async def _storm(
    members: Sequence[Member], servers: Sequence[Homeserver], rng: random.Random
) -> None:
    """Let everyone write and read while servers are killed; return when all is quiet."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(member.read()) for member in members]
        writers = [
            group.create_task(member.write(stop, random.Random(rng.random()))) for member in members
        ]
        for number in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0.3, 2.0))
            victim = rng.choice(servers)
            await victim.kill_async()
            await asyncio.sleep(rng.uniform(0.0, 1.0))
            seconds = await victim.start_async()
            print(f"round {number}: killed {victim}, back after {seconds:.2f} s", flush=True)
        await asyncio.sleep(1.0)
        stop.set()
        await asyncio.wait(writers)
        sent = {event_id for member in members for event_id in member.acknowledged}

        async def all_received() -> bool:
            return all([sent <= set(await _arrived(member)) for member in members])

        try:
            await eventually(all_received, "every message in every sync", SETTLE_SECONDS)
        except AssertionError:
            for member in members:
                missing = sorted(sent - set(await _arrived(member)))
                print(f"{member.client.user_id} misses {len(missing)}: {missing[:5]}", flush=True)
        for reader in readers:
            reader.cancel()


async def _check_side(server: Homeserver, members: Sequence[Member], sent: dict[str, str]) -> None:
    """What the members of one server were told, and what the server keeps."""
    histories = [
        [event for event in await _history(member) if is_message(event)] for member in members
    ]
    views = [(f"the history on {server}", histories)]
    if server.kind != "synapse":
        syncs = [list(member.received) for member in members]
        views.append((f"the syncs of {server}", syncs))
    for where, sequences in views:
        orders = [[event["event_id"] for event in events] for events in sequences]
        for order in orders:
            counts = Counter(order)
            lost = [sent[event_id] for event_id in sent if event_id not in counts]
            twice = [event_id for event_id, count in counts.items() if count > 1]
            assert not lost, f"lost from {where}: {len(lost)}, {lost[:5]}"
            assert not twice, f"more than once in {where}: {len(twice)}, {twice[:5]}"
        assert all(order == orders[0] for order in orders), f"{where}: the orders differ"
        _check_texts(where, sequences[0])


def _check_texts(where: str, events: Sequence[Event]) -> None:
    """A repeated send made no second message, and each sender's messages are in order."""
    by_sender: dict[str, list[int]] = {}
    for event in events:
        number = int(event["content"]["body"].rsplit(" ", 1)[1])
        by_sender.setdefault(event["sender"], []).append(number)
    for sender, numbers in by_sender.items():
        assert numbers == list(range(len(numbers))), f"{where}: {sender} is out of order"


async def _arrived(member: Member) -> list[str]:
    """The event IDs that a member has, or on a Synapse could fetch."""
    if member.server.kind == "synapse":
        return [event["event_id"] for event in await _history(member)]
    return member.received_ids()


async def _history(member: Member) -> list[Event]:
    for _ in range(50):
        try:
            return list(await member.client.history(member.room_id))
        except (MatrixRefused, *OUTAGES):
            await asyncio.sleep(0.2)
    return list(await member.client.history(member.room_id))
