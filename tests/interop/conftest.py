"""Servers and people for the interop tests, shared by the whole session.

`--pairs comity-comity,comity-synapse` (or `COMITY_INTEROP_PAIRS`) chooses which kinds of
servers meet. `synapse-synapse` checks the tests themselves: whatever fails there is a mistake
of the test, not of Comity.
"""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness import Homeserver, World

from .person import Person

DEFAULT_PAIRS = "comity-comity,comity-synapse"
ROOM_VERSIONS = ("10", "11", "12")
HERE = Path(__file__).parent


def _default_pairs() -> str:
    return os.environ.get("COMITY_INTEROP_PAIRS", DEFAULT_PAIRS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--pairs`."""
    parser.addoption(
        "--pairs",
        default=_default_pairs(),
        help="pairs of servers to test, for example comity-synapse,synapse-synapse",
    )


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Everything here shares one event loop, since the clients live as long as the session.

    Modules are marked, before there are tests: each test's loop is chosen as it is found.
    """
    if isinstance(collector, pytest.Module) and HERE in collector.path.parents:
        collector.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with `pair` for every pair, and one with `case` for every way to meet."""
    pairs = metafunc.config.getoption("pairs", _default_pairs()).split(",")
    if "case" in metafunc.fixturenames:
        cases = [
            pytest.param((pair, side, version), id=f"{pair}-{pair.split('-')[side]}-v{version}")
            for pair in pairs
            for side in _sides(pair)
            for version in ROOM_VERSIONS
        ]
        metafunc.parametrize("case", cases, indirect=True, scope="session")
    elif "pair" in metafunc.fixturenames:
        if "asking" in metafunc.fixturenames:  # a Comity of its own meets Bob of each pair
            pairs = [pair for pair in pairs if "comity" in pair]
        metafunc.parametrize("pair", pairs, indirect=True, scope="session")


def _sides(pair: str) -> tuple[int, ...]:
    """Which side may make the room: two servers of one kind are interchangeable."""
    first, second = pair.split("-")
    return (0,) if first == second else (0, 1)


@dataclass
class Pair:
    """Two running servers with a person on each."""

    name: str
    alice: Person
    bob: Person

    @property
    def servers(self) -> tuple[Homeserver, Homeserver]:
        """Alice's server and Bob's."""
        return self.alice.server, self.bob.server


@dataclass
class Case:
    """Who makes rooms, who is asked in, and which version the rooms have."""

    host: Person
    guest: Person
    room_version: str
    _shared_room: list[str] = field(default_factory=list)

    async def new_room(self, *, encrypted: bool = False) -> str:
        """A new room with both of them in it."""
        return await meet(self.host, self.guest, self.room_version, encrypted=encrypted)

    async def room(self) -> str:
        """A room with both of them in it, shared by the tests that leave it as it is."""
        if not self._shared_room:
            self._shared_room.append(await self.new_room())
        return self._shared_room[0]


async def meet(host: Person, guest: Person, room_version: str, *, encrypted: bool = False) -> str:
    """Let `host` make a room and `guest` join it; return when each has seen the other there."""
    room_id = await host.create_room(room_version, encrypted=encrypted)
    await host.invite(room_id, guest)
    await guest.join(room_id)
    await host.sees_membership(room_id, guest, "join")
    return room_id


class Stage:
    """Starts servers when a pair first needs them, and brings people to them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._servers: dict[str, Homeserver] = {}
        self._pairs: dict[str, Pair] = {}
        self._cases: dict[tuple[str, int, str], Case] = {}
        self._numbers = itertools.count(1)

    async def pair(self, name: str) -> Pair:
        """The pair of that name, for example `comity-synapse`."""
        if name not in self._pairs:
            first, second = name.split("-")
            alice = await self._person("alice", f"{first}1", first)
            bob = await self._person("bob", f"{second}{2 if first == second else 1}", second)
            self._pairs[name] = Pair(name, alice, bob)
        pair = self._pairs[name]
        for server in pair.servers:
            if not server.is_running:
                await server.start_async()
        return pair

    async def case(self, name: str, side: int, room_version: str) -> Case:
        """The pair of that name, with the host on one side."""
        pair = await self.pair(name)
        host, guest = (pair.alice, pair.bob) if side == 0 else (pair.bob, pair.alice)
        return self._cases.setdefault((name, side, room_version), Case(host, guest, room_version))

    async def close(self) -> None:
        """Send everyone home."""
        for pair in self._pairs.values():
            await pair.alice.depart()
            await pair.bob.depart()

    async def _person(self, name: str, label: str, kind: str) -> Person:
        if label not in self._servers:
            self._servers[label] = self._world.server(kind, label)
            await self._servers[label].start_async()
        return await Person.arrive(name, self._servers[label], self._new_store())

    def _new_store(self) -> Path:
        """A directory for the keys of one client."""
        store = self._world.directory / f"client{next(self._numbers)}"
        store.mkdir()
        return store


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The world of this session."""
    with World(keep=bool(os.environ.get("COMITY_KEEP_WORLD"))) as world:
        yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(world: World) -> AsyncIterator[Stage]:
    """The stage of this session."""
    stage = Stage(world)
    yield stage
    await stage.close()


@pytest_asyncio.fixture(loop_scope="session")
async def pair(stage: Stage, request: pytest.FixtureRequest) -> Pair:
    """Two running servers with a person on each."""
    return await stage.pair(request.param)


@pytest_asyncio.fixture(loop_scope="session")
async def case(stage: Stage, request: pytest.FixtureRequest) -> Case:
    """A host and a guest on two running servers."""
    return await stage.case(*request.param)


@asynccontextmanager
async def strangers(pair: Pair, tmp_path: Path) -> AsyncIterator[tuple[Person, Person]]:
    """Two people who have never met, one on each server."""
    people = []
    for name, server in zip(("carol", "dave"), pair.servers, strict=True):
        store = tmp_path / name
        store.mkdir()
        people.append(await Person.arrive(name, server, store))
    yield people[0], people[1]
    for person in people:
        await person.depart()
