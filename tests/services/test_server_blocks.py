"""Blocked instances: who is, by whose word, and until when."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from homeserver.errors import InvalidParam
from homeserver.services.server_blocks import KEPT_MS, Block, ServerBlocks
from homeserver.storage.database import Database

DAY_MS = 86_400_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000_000

    def __call__(self) -> int:
        return self.now


class Sweeper:
    """What was withdrawn."""

    def __init__(self) -> None:
        self.globs: list[str] = []

    async def servers_blocked(self, servers: Collection[str]) -> None:
        self.globs += servers


class Backlog:
    """What was dropped, and how often somebody was told."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.told = 0

    def rules_changed(self) -> None:
        self.told += 1

    async def forget(self, server: str) -> None:
        self.forgotten.append(server)


def make(database: Database, clock: Clock | None = None) -> ServerBlocks:
    blocks = ServerBlocks(
        server_name="one.test:8448", database=database, clock_ms=clock or Clock(), sweeper=Sweeper()
    )
    blocks.backlog = Backlog()
    return blocks


def listed(glob: str, created_at: int = 0) -> Block:
    return Block(glob, "spam", "list:!list", created_at)


@pytest.mark.parametrize(
    ("name", "blocked"),
    [
        ("evil.example", False),
        ("a.evil.example", True),
        ("A.EVIL.example", True),
        ("a.evil.example:8448", True),
        ("worse.example", True),
        ("worse.example:1", True),
        ("worse.example.org", False),
        ("[2001:db8::1]:8448", True),
        ("not a name", False),
    ],
)
async def test_names_are_compared_in_any_case_with_and_without_their_port(
    database: Database, name: str, blocked: bool
) -> None:
    blocks = make(database)
    for glob in ("*.Evil.example", "worse.example", "[2001:db8::1]"):
        await blocks.block(glob, reason="spam", source="admin")

    assert (blocks.is_blocked(name) is not None) is blocked
    assert (blocks.is_blocked(name) is not None) is blocked  # from memory


async def test_a_block_says_why_and_outlives_a_restart(database: Database) -> None:
    clock = Clock()
    await make(database, clock).block(
        "evil.example", reason="spam", source="rule:flood", actor="@a:one.test"
    )
    again = make(database, clock)

    await again.start()
    await again.close()

    found = Block("evil.example", "spam", "rule:flood", clock.now, "@a:one.test")
    assert again.is_blocked("evil.example") == found
    assert again.list() == [found]


@pytest.mark.parametrize(
    "glob",
    ["", "one.test", "one.test:8448", "*", "o?e.*", "a b", "ex\0", "x" * 256, "bücher.example"],
)
async def test_what_is_no_server_or_includes_ourselves_is_refused(
    database: Database, glob: str
) -> None:
    blocks = make(database)

    with pytest.raises(InvalidParam):
        await blocks.block(glob, reason="", source="admin")

    assert blocks.list() == []


async def test_a_block_ends_when_its_time_is_over(database: Database) -> None:
    clock = Clock()
    blocks = make(database, clock)
    await blocks.block("evil.example", reason="", source="admin", expires_at=clock.now + DAY_MS)
    await blocks.block("worse.example", reason="", source="admin")

    clock.now += DAY_MS
    await blocks.end_expired()

    assert blocks.is_blocked("evil.example") is None
    assert blocks.is_blocked("worse.example") is not None
    assert [block.server for block in blocks.list()] == ["worse.example"]


async def test_a_block_that_would_be_over_is_refused(database: Database) -> None:
    clock = Clock()

    with pytest.raises(InvalidParam):
        await make(database, clock).block("a.b", reason="", source="admin", expires_at=clock.now)


async def test_blocking_withdraws_requests_and_unblocking_does_not(database: Database) -> None:
    blocks = make(database)
    await blocks.block("*.evil.example", reason="", source="admin")
    await blocks.use_lists([listed("worse.example")], [])
    await blocks.use_lists([listed("worse.example")], [])
    await blocks.exempt("fine.example", reason="")

    assert await blocks.unblock("*.evil.example")

    assert blocks.sweeper.globs == ["*.evil.example", "worse.example"]
    assert blocks.backlog.told == 4


async def test_the_admins_word_comes_first_then_exemptions_then_lists_and_rules(
    database: Database,
) -> None:
    blocks = make(database)
    await blocks.use_lists([listed("*.example")], ["kept.example"])
    await blocks.block("ruled.test", reason="", source="rule:r")
    await blocks.exempt("fine.example", reason="a mistake of the list")
    await blocks.exempt("ruled.test", reason="")
    await blocks.block("fine.example", reason="", source="rule:r")

    names = ("evil.example", "fine.example", "kept.example", "ruled.test")
    found = [blocks.is_blocked(name) for name in names]
    await blocks.block("fine.example", reason="it was none", source="admin")

    assert [block and block.source for block in found] == ["list:!list", None, None, None]
    assert blocks.is_blocked("fine.example").reason == "it was none"


async def test_unblocking_what_a_list_blocks_exempts_it(database: Database) -> None:
    blocks = make(database)
    await blocks.use_lists([listed("*.example")], [])

    assert await blocks.unblock("fine.example", actor="@a:one.test")

    assert blocks.is_blocked("fine.example") is None
    assert blocks.is_blocked("evil.example") is not None
    assert [block.server for block in blocks.exemptions()] == ["fine.example"]


async def test_unblocking_what_the_admin_blocks_otherwise_says_by_what(database: Database) -> None:
    blocks = make(database)
    await blocks.block("*.example", reason="", source="admin")

    with pytest.raises(InvalidParam, match=r"\*\.example"):
        await blocks.unblock("fine.example")


async def test_unblocking_what_is_not_blocked_is_told(database: Database) -> None:
    assert not await make(database).unblock("evil.example")


async def test_a_list_that_no_longer_names_a_server_blocks_it_no_more(database: Database) -> None:
    blocks = make(database)
    await blocks.use_lists([listed("evil.example"), listed("worse.example")], [])

    await blocks.use_lists([listed("worse.example")], [])

    assert blocks.is_blocked("evil.example") is None
    assert blocks.is_blocked("worse.example") is not None


async def test_what_waited_is_dropped_at_the_end_of_a_long_block_only(database: Database) -> None:
    clock = Clock()
    blocks = make(database, clock)
    end = clock.now + 2 * KEPT_MS
    await blocks.block("long.example", reason="", source="admin")
    await blocks.block("timed.example", reason="", source="admin", expires_at=end)
    await blocks.use_lists([listed("listed.example", clock.now)], [])
    clock.now = end
    await blocks.block("short.example", reason="", source="admin")

    await blocks.end_expired()
    await blocks.use_lists([], [])
    await blocks.unblock("short.example")
    await blocks.unblock("long.example")

    assert blocks.backlog.forgotten == ["timed.example", "listed.example", "long.example"]
