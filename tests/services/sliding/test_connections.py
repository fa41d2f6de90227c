"""Where connections are kept, and how many."""

from __future__ import annotations

import pytest
from asyncpg.exceptions import UndefinedTableError

from homeserver.services.sliding import connections as module
from homeserver.services.sliding.connection import Connection, Moment, Step
from homeserver.services.sliding.connections import Connections, UnknownPos
from homeserver.storage.database import Database

USER, DEVICE = "@alice:one.test", "DEVICE"
DAY_MS = 24 * 3_600_000


class Clock:
    """A time (ms) that is set."""

    now = 1_000 * DAY_MS

    def __call__(self) -> int:
        return self.now


def key(name: str, device: str = DEVICE) -> tuple[str, str, str]:
    return (USER, device, name)


async def begun(connections: Connections, name: str) -> tuple[Connection, str]:
    """A connection with its first answer, and the answer's ``pos``."""
    connection = await connections.resume(key(name), None)
    return connection, connection.answer(Step(Moment(position=5)))


async def test_what_is_put_away_is_found_again_by_its_device_alone(database: Database) -> None:
    connections = Connections(database=database, clock_ms=Clock())
    _, pos = await begun(connections, "a")
    await connections.put_away([key("a")])
    assert len(connections) == 0

    with pytest.raises(UnknownPos):
        await connections.resume(key("a", "OTHER"), pos)
    found = await connections.resume(key("a"), pos)

    assert found.state.moment.position == 5
    assert await database.fetchval("SELECT count(*) FROM sliding_connections") == 0


async def test_a_new_connection_takes_the_place_of_the_one_before(database: Database) -> None:
    connections = Connections(database=database, clock_ms=Clock())
    _, pos = await begun(connections, "a")
    await connections.put_away([key("a")])
    await begun(connections, "a")
    await connections.put_away([key("a")])

    with pytest.raises(UnknownPos):
        await connections.resume(key("a"), pos)


async def test_a_device_has_so_many_connections_and_no_more(database: Database) -> None:
    connections = Connections(database=database, clock_ms=Clock())
    names = [str(n) for n in range(module.CONNECTIONS_PER_DEVICE + 3)]
    begun_with = {name: (await begun(connections, name))[1] for name in names}

    assert len(connections) == module.CONNECTIONS_PER_DEVICE
    with pytest.raises(UnknownPos):
        await connections.resume(key(names[0]), begun_with[names[0]])
    await connections.put_away([key(name) for name in names])
    more = [f"more {n}" for n in range(3)]
    for name in more:
        await begun(connections, name)
    await connections.put_away([key(name) for name in more])

    count = await database.fetchval("SELECT count(*) FROM sliding_connections")
    assert count == module.CONNECTIONS_PER_DEVICE


async def test_the_coldest_are_put_away_when_there_are_too_many(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOMS_IN_MEMORY", 2)
    connections = Connections(database=database, clock_ms=Clock())
    kept = {name: await begun(connections, name) for name in "abc"}
    await connections.resume(key("a"), kept["a"][1])

    await connections.sweep()

    assert set(connections._kept) == {key("c"), key("a")}
    assert (await connections.resume(key("b"), kept["b"][1])).state.moment.position == 5


async def test_what_is_quiet_is_put_away_and_forgotten_in_the_end(database: Database) -> None:
    clock = Clock()
    connections = Connections(database=database, clock_ms=clock)
    _, pos = await begun(connections, "a")

    await connections.sweep(quiet_seconds=-1)
    assert len(connections) == 0
    clock.now += 31 * DAY_MS
    await connections.sweep()

    with pytest.raises(UnknownPos):
        await connections.resume(key("a"), pos)


async def test_what_cannot_be_read_is_unknown(database: Database) -> None:
    connections = Connections(database=database, clock_ms=Clock())
    _, pos = await begun(connections, "a")
    await connections.put_away([key("a")])
    await database.execute("UPDATE sliding_connections SET state = '{\"nonce\": 1}'")

    with pytest.raises(UnknownPos):
        await connections.resume(key("a"), pos)


async def test_what_is_in_use_stays_in_memory_until_it_is_answered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOMS_IN_MEMORY", 0)
    connections = Connections(database=database, clock_ms=Clock())
    connection, _ = await begun(connections, "a")

    with connections.using(key("a"), connection):
        await connections.sweep(quiet_seconds=-1)
        await connections.put_away([key("a")])
        pos = connection.answer(Step(Moment(position=7)))
    await connections.sweep()

    assert len(connections) == 0
    assert (await connections.resume(key("a"), pos)).state.moment.position == 7


async def test_a_new_connection_takes_none_that_is_in_use(database: Database) -> None:
    connections = Connections(database=database, clock_ms=Clock())
    connection, pos = await begun(connections, "0")
    _, of_another = await begun(connections, "1")

    with connections.using(key("0"), connection):
        for number in range(2, module.CONNECTIONS_PER_DEVICE + 1):
            await begun(connections, str(number))

    assert await connections.resume(key("0"), pos) is connection
    with pytest.raises(UnknownPos):
        await connections.resume(key("1"), of_another)


async def test_what_cannot_be_put_away_stays(database: Database) -> None:
    connections = Connections(database=database, clock_ms=Clock())
    connection, pos = await begun(connections, "a")
    await database.execute("ALTER TABLE sliding_connections RENAME TO elsewhere")

    with pytest.raises(UndefinedTableError):
        await connections.put_away([key("a")])

    await database.execute("ALTER TABLE elsewhere RENAME TO sliding_connections")
    assert await connections.resume(key("a"), pos) is connection
