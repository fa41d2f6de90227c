"""What consent and content policy cost: the same load on a server with none and one with plenty.

Both servers run on the same PostgreSQL and are measured in turns, so that whatever else goes on on
the machine falls on both alike.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import yaml

from tests.harness import Comity, World

from .load import Audience, Record, Sender, flat_out
from .measures import WARM_UP_SECONDS, Figures, Scale, spread_senders
from .people import open_room, register_many

RULES = 200
CONSENT_ROWS = 100_000
ROWS_OF_MEMBERS = 25_000
SECONDS = 2.0
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
SCOPES = ("message", "group", "media", "call")
FAR_FUTURE = 2**60

INSERT_CONSENT = """
WITH new AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    WITH ORDINALITY AS new (owner, peer, scope, state, n)), history AS (
    INSERT INTO consent (position, owner, peer, scope, state, how, created_at)
    SELECT -n, owner, peer, scope, state, 'page', 0 FROM new)
INSERT INTO consent_current (owner, scope, peer, state, expires_at)
SELECT owner, scope, peer, state, CASE WHEN n % 3 = 0 THEN $5::bigint END FROM new
"""


def rules(chance: random.Random) -> list[dict[str, Any]]:
    """Rules as an admin would have them after some years; ordinary messages match none."""

    def word() -> str:
        return "".join(chance.choices(ALPHABET, k=8))

    def name() -> str:
        return f"{word()}.example"

    def rate(*of: str) -> dict[str, Any]:
        return {"per": chance.choice(of), "count": 1_000_000, "seconds": 60}

    makers: list[tuple[int, Any]] = [
        (60, lambda: {"keywords": [word() for _ in range(10)]}),
        (30, lambda: {"regex": rf"(?i)\b{word()}\s+{word()}[0-9]{{2,}}"}),
        (35, lambda: {"link_domains": [name() for _ in range(20)]}),
        (20, lambda: {"sender": [f"@{word()}*:*", f"@*:{name()}"]}),
        (20, lambda: {"server": [f"*.{name()}", name()]}),
        (3, lambda: {"event_type": "m.room.message", "rate": rate("sender", "room", "server")}),
        (6, lambda: {"links": {"min": 1}, "rate": rate("sender")}),
        (6, lambda: {"event_type": ["m.reaction", "m.sticker"], "rate": rate("sender")}),
        (10, lambda: {"any": [{"keywords": [word()]}, {"all": [{"links": {"min": 3}},
                                                             {"mentions": {"min": 5}}]}]}),
        (2, lambda: {"msgtype": "m.text", "not": {"size_bytes": {"max": 60_000}}}),
        (5, lambda: {"room": f"!{word()}*", "links": {"min": 1}}),
        (3, lambda: {"invites": {"min": 20}, "standing": "stranger"}),
    ]  # fmt: skip
    made = []
    for count, make in makers:
        for _ in range(count):
            match = make()
            made.append({"match": match, "action": chance.choice(["reject", "flag", "hold"])})
    chance.shuffle(made)
    return [{"name": f"rule{number}", **rule} for number, rule in enumerate(made)]


async def fill_consent(server: Comity, members: list[str], chance: random.Random) -> None:
    """Rows of the members of the rooms, who have contacts and have blocked some, and of others."""
    owners = [members[n % len(members)] for n in range(ROWS_OF_MEMBERS)]
    owners += [f"@other{n % 5_000}:{server.server_name}" for n in range(CONSENT_ROWS - len(owners))]
    rows = []
    for number, owner in enumerate(owners):
        at_large = number % 20 == 0
        peer = f"far{number}.example" if at_large else f"@peer{number}:far{number % 500}.example"
        state = chance.choices(("granted", "denied", "asked"), (80, 15, 5))[0]
        rows.append((owner, peer, SCOPES[number % 7 % 4], state))
    dsn = yaml.safe_load(server.config_file.read_text())["database"]["dsn"]
    connection = await asyncpg.connect(dsn)
    try:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await connection.execute(INSERT_CONSENT, *columns, FAR_FUTURE)
        await connection.execute("ANALYZE consent, consent_current")
    finally:
        await connection.close()


class _Side:
    """One of the servers, with people who talk and listen."""

    def __init__(self, server: Comity) -> None:
        self.server = server
        self.rates: list[float] = []
        self.sends = 0
        self.cpu_seconds = 0.0
        self.delivery_p50: list[float] = []
        self.errors = 0

    async def settle(self, scale: Scale) -> None:
        """Make accounts and rooms."""
        self.users = await register_many(self.server, scale.rooms * scale.members)
        rooms = [await open_room(self.users[n :: scale.rooms]) for n in range(scale.rooms)]
        self.senders: list[Sender] = spread_senders(rooms, scale.senders)
        self.readers_per_send = scale.members - 1

    @asynccontextmanager
    async def anew(self) -> AsyncIterator[None]:
        """A new process of the server, and everybody listening."""
        await self.server.stop_async()
        await self.server.start_async()
        self.audience = Audience(self.users)
        async with self.audience.listening():
            yield

    async def turn(self, seconds: float, *, counts: bool = True) -> None:
        """Send flat out for a while, and wait until all has arrived."""
        record = self.audience.record = Record()
        before = self.server.cpu_seconds()
        await flat_out(self.senders, record, seconds)
        await self.audience.drained(len(record.send_ms.values) * self.readers_per_send)
        self.audience.record = None
        if counts:
            self.rates.append(record.sends_per_second)
            self.sends += len(record.send_ms.values)
            self.cpu_seconds += self.server.cpu_seconds() - before
            self.delivery_p50.append(record.delivery_ms.percentile(50))
            self.errors += record.errors

    @property
    def cpu_us(self) -> float:
        """What a send and its deliveries cost the server's process, in microseconds."""
        return self.cpu_seconds / self.sends * 1e6


async def policy(world: World, scale: Scale) -> Figures:
    """Sends per second with no rules and no consent rows, and with many of both.

    Two processes of one program differ by some per cent, by where their memory happens to lie: so
    each side has several, one after the other.
    """
    chance = random.Random(7)
    made = rules(chance)
    assert len(made) == RULES
    plain = _Side(world.comity("plain"))
    laden = _Side(world.comity("laden", overrides={"policy": {"rules": made}}))
    for side in (plain, laden):
        await side.server.start_async()
        await side.settle(scale)
    await fill_consent(laden.server, [user.user_id for user in laden.users], chance)
    gc.collect()
    gc.freeze()
    for _ in range(scale.rounds):
        async with plain.anew(), laden.anew():
            for side in (plain, laden):
                await side.turn(WARM_UP_SECONDS, counts=False)
            for number in range(scale.turns):
                order = (plain, laden) if number % 2 == 0 else (laden, plain)
                for side in order:
                    await side.turn(SECONDS)
    ratios = [b / a for a, b in zip(plain.rates, laden.rates, strict=True)]
    laden_name = f"{RULES} rules, {CONSENT_ROWS:,} consent rows"
    return {
        "sends per second, no rules, no consent": statistics.median(plain.rates),
        f"sends per second, {laden_name}": statistics.median(laden.rates),
        "fewer sends per second with them (%)": 100 * (1 - statistics.median(ratios)),
        "a send, no rules, no consent (µs of CPU)": plain.cpu_us,
        f"a send, {laden_name} (µs of CPU)": laden.cpu_us,
        "more CPU with them (%)": 100 * (laden.cpu_us / plain.cpu_us - 1),
        "delivery p50, no rules, no consent (ms)": statistics.median(plain.delivery_p50),
        "delivery p50, with them (ms)": statistics.median(laden.delivery_p50),
        "errors, policy": plain.errors + laden.errors,
    }
