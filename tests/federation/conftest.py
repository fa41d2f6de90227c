"""A loopback network for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.federation.network import DnsServer, Net, Node


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    """Peers, and a clock that goes only when told to."""
    net = Net(tmp_path)
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
