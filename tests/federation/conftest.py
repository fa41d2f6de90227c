"""A loopback network for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from federation import health
from homeserver.storage.database import Database
from tests.federation.network import DnsServer, Net, Node
from tests.federation.outbox_world import ROOM, Inbox, RunningClock, Us


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    """Peers, and a clock that goes only when told to."""
    net = Net()
    yield net
    await net.close()


@pytest.fixture
async def node(net: Net, database: Database) -> Node:
    """The transport of ``us.test``."""
    return await net.node(database)


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """A DNS server; not yet listening."""
    server = DnsServer()
    yield server
    server.close()


@pytest.fixture
async def us(net: Net, database, monkeypatch):
    monkeypatch.setattr(health, "FIRST_INTERVAL_MS", 50)
    net.clock = RunningClock()
    await database.execute(
        "INSERT INTO rooms (room_id, room_version, created_at) VALUES ($1, '11', 0)", ROOM
    )
    us = Us(net, await net.node(database))
    await us.start()
    yield us
    await us.stop()


@pytest.fixture
async def inbox(net: Net) -> Inbox:
    return Inbox(await net.peer())
