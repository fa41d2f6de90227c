"""After a partition heals, all servers have the same state: for every resolution algorithm.

``COMITY_SIM_SEEDS=5000`` tries more seeds; a failure prints its seed.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from tests.simulation.servers import Server

SEEDS = int(os.environ.get("COMITY_SIM_SEEDS", "250"))
SEEDS_PER_TEST = 50
STEPS = 18


class Network:
    """Carries events between servers, late, twice, out of order, not across a partition."""

    def __init__(self, servers: list[Server], rng: random.Random) -> None:
        self.servers = servers
        self.rng = rng
        self.in_flight: list[tuple[Server, Server, Event]] = []
        self.side: dict[str, int] = {}

    def broadcast(self, source: Server, event: Event | None) -> None:
        if event is None:
            return
        for server in self.servers:
            if server is not source:
                copies = 2 if self.rng.random() < 0.2 else 1
                self.in_flight.extend([(source, server, event)] * copies)

    def deliver_some(self) -> None:
        self.rng.shuffle(self.in_flight)
        kept = []
        for source, target, event in self.in_flight:
            cut = self.side.get(source.name) != self.side.get(target.name)
            if cut or self.rng.random() < 0.75:
                kept.append((source, target, event))
            else:
                target.take(event)
        self.in_flight = kept

    def partition(self) -> None:
        self.side = {server.name: self.rng.randint(0, 1) for server in self.servers}

    def heal(self) -> None:
        self.side = {}
        self.rng.shuffle(self.in_flight)
        for _, target, event in self.in_flight:
            target.take(event)
        self.in_flight = []


def found_room(version: RoomVersion, servers: list[Server], network: Network) -> None:
    """A public room with everybody in it, known to all."""
    first = servers[0]
    alice = first.users[0]
    creation: dict[str, Any] = {"room_version": version.identifier}
    if not version.implicit_room_creator:
        creation["creator"] = alice
    users = {server.users[0]: 75 for server in servers[1:]}
    if not version.privileged_creators:
        users[alice] = 100
    levels = {"users": users}
    drafts: list[tuple[str, str, dict[str, Any]]] = [
        ("m.room.create", "", creation),
        ("m.room.member", alice, {"membership": "join"}),
        ("m.room.power_levels", "", levels),
        ("m.room.join_rules", "", {"join_rule": "public"}),
    ]
    for ts, (kind, key, content) in enumerate(drafts):
        network.broadcast(first, first.send(kind, alice, key, content, ts))
    network.heal()
    for server in servers:
        for user in server.users:
            event = server.send("m.room.member", user, user, {"membership": "join"}, 10)
            network.broadcast(server, event)
            network.heal()


def random_step(server: Server, servers: list[Server], rng: random.Random, ts: int) -> Event | None:
    """Somebody on the server tries something."""
    sender = rng.choice(server.users)
    target = rng.choice(rng.choice(servers).users)
    state = server.state
    match rng.choice(
        ["ban", "kick", "unban", "levels", "levels", "join", "leave", "topic", "rule"]
    ):
        case "ban":
            return server.send("m.room.member", sender, target, {"membership": "ban"}, ts)
        case "kick" | "unban":
            return server.send("m.room.member", sender, target, {"membership": "leave"}, ts)
        case "join":
            return server.send("m.room.member", sender, sender, {"membership": "join"}, ts)
        case "leave":
            return server.send("m.room.member", sender, sender, {"membership": "leave"}, ts)
        case "topic":
            return server.send("m.room.topic", sender, "", {"topic": str(ts)}, ts)
        case "rule":
            rule = rng.choice(["public", "invite"])
            return server.send("m.room.join_rules", sender, "", {"join_rule": rule}, ts)
        case _:
            current = server.events[state[("m.room.power_levels", "")]].content
            users = {**current["users"], target: rng.choice([0, 50, 75, 100])}
            return server.send("m.room.power_levels", sender, "", {**current, "users": users}, ts)


def simulate(version: RoomVersion, seed: int) -> list[Server]:
    """One run; the servers after everything has arrived."""
    rng = random.Random(seed)
    servers = [Server(f"s{n}.test", version, random.Random(seed + n)) for n in range(3)]
    network = Network(servers, rng)
    found_room(version, servers, network)
    for step in range(STEPS):
        if rng.random() < 0.2:
            network.partition()
        server = rng.choice(servers)
        # clocks that are wrong and often alike
        network.broadcast(server, random_step(server, servers, rng, 20 + rng.randint(0, step)))
        network.deliver_some()
    network.heal()
    return servers


@pytest.mark.parametrize("first_seed", range(0, SEEDS, SEEDS_PER_TEST))
@pytest.mark.parametrize("room_version", ["1", "2", "10", "12"])
def test_all_servers_converge(room_version: str, first_seed: int) -> None:
    """Same events, same state, whatever the order of arrival."""
    version = ROOM_VERSIONS[room_version]
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        servers = simulate(version, seed)

        states = [server.state for server in servers]
        known = [server.events.keys() for server in servers]
        rejected = [server.rejected for server in servers]

        assert known[0] == known[1] == known[2], f"seed {seed}"
        assert rejected[0] == rejected[1] == rejected[2], f"seed {seed}"
        assert states[0] == states[1] == states[2], f"seed {seed}"


def test_the_simulation_really_forks() -> None:
    """The runs do what they are for: the graph forks, and people are banned meanwhile."""
    version = ROOM_VERSIONS["12"]
    forks = bans = 0
    for seed in range(20):
        server = simulate(version, seed)[0]
        cited = [prev for event in server.events.values() for prev in event.prev_event_ids]
        forks += len(cited) - len(set(cited))
        bans += sum(event.membership == "ban" for event in server.events.values())

    assert forks > 10
    assert bans > 5
