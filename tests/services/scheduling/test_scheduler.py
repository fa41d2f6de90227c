"""The schedule, with a clock that the test moves and a sender that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from homeserver.errors import Forbidden, LimitExceeded, MatrixError, PeerFailed
from homeserver.protocol.events import JsonObject
from homeserver.services.caretaker import Caretaker
from homeserver.services.scheduling.scheduler import GIVE_UP_AFTER_MS, ScheduleLimits, Scheduler
from homeserver.storage import scheduled as storage
from homeserver.storage.database import Database
from homeserver.storage.scheduled import EVENT, FAILED, SCHEDULED, SENDING, SENT, ScheduledSend

MINUTE = 60_000
ALICE = "@alice:one.test"
LIMITS = ScheduleLimits(max_delay_ms=60 * MINUTE, max_per_user=3, keep_finished_ms=120 * MINUTE)


class Wire:
    """Where things are sent to: remembers what came, and fails as the test wants."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.failure: Exception | None = None
        self.before: Callable[[ScheduledSend], None] = lambda _row: None
        self.retries_rate_limits = False

    async def send(self, row: ScheduledSend) -> str:
        await asyncio.sleep(0)
        self.before(row)
        if self.failure is not None:
            raise self.failure
        self.sent.append(row.scheduled_id)
        return f"${row.scheduled_id}"

    def describe(self, error: MatrixError) -> JsonObject:
        return error.to_json()


class Timed:
    """A schedule with its worker."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = 1_000_000
        self.wire = Wire()
        self.worker = Caretaker(clock_ms=lambda: self.now)
        self.scheduler = Scheduler(
            database=database, limits=LIMITS, wake=lambda: None, clock_ms=lambda: self.now
        )
        self.scheduler.senders[EVENT] = self.wire
        self.worker.add(self.scheduler)

    async def pass_time(self, ms: int) -> None:
        """Move the clock, and let what is due happen."""
        self.now += ms
        await self.worker.work_off()
        await self.scheduler.settle()

    async def add(self, name: str, delay: int, *, user: str = ALICE, txn: str | None = None) -> str:
        row = ScheduledSend(
            name, user, "PHONE", EVENT, "!r:one.test", "m.room.message", None, {"body": name},
            delay, self.now, self.now + delay,
        )  # fmt: skip
        return (await self.scheduler.add(row, txn)).scheduled_id

    async def row(self, name: str) -> ScheduledSend:
        found = await storage.get(self.database, name)
        assert found is not None
        return found


@pytest.fixture
async def timed(database: Database) -> AsyncIterator[Timed]:
    timed = Timed(database)
    yield timed
    await timed.scheduler.close()


async def test_it_is_sent_when_its_time_has_come_and_not_before(timed: Timed) -> None:
    await timed.add("a", 5 * MINUTE)

    await timed.pass_time(5 * MINUTE - 1)
    before = list(timed.wire.sent)
    await timed.pass_time(1)

    assert before == []
    assert timed.wire.sent == ["a"]
    row = await timed.row("a")
    assert (row.state, row.event_id, row.finished_at) == (SENT, "$a", timed.now)


async def test_what_fell_due_together_goes_in_the_order_of_its_times(timed: Timed) -> None:
    await timed.add("second", 2 * MINUTE)
    await timed.add("third", 3 * MINUTE)
    await timed.add("first", MINUTE)

    await timed.pass_time(10 * MINUTE)

    assert timed.wire.sent == ["first", "second", "third"]


async def test_a_slow_send_of_one_user_does_not_hold_up_another(timed: Timed) -> None:
    gate, arrived = asyncio.Event(), asyncio.Event()
    timed.wire.before = lambda _row: arrived.set()
    send = timed.wire.send

    async def slow(row: ScheduledSend) -> str:
        if row.user_id == ALICE:
            await gate.wait()
        return await send(row)

    timed.wire.send = slow  # type: ignore[method-assign]
    await timed.add("hers", MINUTE)
    await timed.add("his", 2 * MINUTE, user="@bob:one.test")
    timed.now += 5 * MINUTE

    await timed.worker.work_off()
    await arrived.wait()

    await asyncio.sleep(0)
    assert timed.wire.sent == ["his"]
    gate.set()
    await timed.scheduler.settle()
    assert timed.wire.sent == ["his", "hers"]


async def test_what_was_being_sent_when_the_process_died_is_taken_up(timed: Timed) -> None:
    await timed.add("a", MINUTE)
    claimed = await storage.claim_due(timed.database, timed.now + MINUTE, timed.now + 10**9, 5)
    assert [row.scheduled_id for row in claimed] == ["a"]
    await timed.pass_time(2 * MINUTE)
    assert timed.wire.sent == []

    await timed.scheduler.start()
    await timed.pass_time(0)

    assert timed.wire.sent == ["a"]


async def test_two_workers_on_one_database_do_not_take_the_same(timed: Timed) -> None:
    other = Timed(timed.database)
    for name in ("a", "b", "c"):
        await timed.add(name, MINUTE)
    timed.now += MINUTE
    other.now = timed.now

    await asyncio.gather(*(world.worker.work_off() for world in (timed, other)))
    await asyncio.gather(timed.scheduler.settle(), other.scheduler.settle())

    assert sorted(timed.wire.sent + other.wire.sent) == ["a", "b", "c"]


async def test_a_refusal_is_kept_with_its_reason(timed: Timed) -> None:
    await timed.add("a", MINUTE)
    timed.wire.failure = Forbidden("You are not in this room")

    await timed.pass_time(MINUTE)
    await timed.pass_time(30 * MINUTE)

    row = await timed.row("a")
    assert row.state == FAILED
    assert row.error == {"errcode": "M_FORBIDDEN", "error": "You are not in this room"}


async def test_what_cannot_be_sent_for_now_is_tried_again(timed: Timed) -> None:
    await timed.add("a", MINUTE)
    timed.wire.failure = PeerFailed("two.test does not answer")
    await timed.pass_time(MINUTE)
    row = await timed.row("a")
    assert (row.state, row.attempts) == (SCHEDULED, 1)
    assert row.error is not None

    timed.wire.failure = None
    await timed.pass_time(MINUTE)

    assert timed.wire.sent == ["a"]
    assert (await timed.row("a")).error is None


async def test_it_is_given_up_after_a_day(timed: Timed) -> None:
    await timed.add("a", MINUTE)
    timed.wire.failure = RuntimeError("the disk is full")

    await timed.pass_time(MINUTE)
    await timed.pass_time(GIVE_UP_AFTER_MS + MINUTE)

    row = await timed.row("a")
    assert row.state == FAILED
    assert row.error is not None and "disk" not in str(row.error)


async def test_a_rate_limit_is_a_failure_only_where_the_sender_says_so(timed: Timed) -> None:
    timed.wire.failure = LimitExceeded(3 * MINUTE)
    await timed.add("delayed", MINUTE)
    await timed.pass_time(MINUTE)
    timed.wire.retries_rate_limits = True
    await timed.add("message", MINUTE)
    await timed.pass_time(MINUTE)
    timed.wire.failure = None

    await timed.pass_time(3 * MINUTE)

    assert (await timed.row("delayed")).state == FAILED
    assert timed.wire.sent == ["message"]


async def test_a_user_may_have_only_so_many_that_wait(timed: Timed) -> None:
    for name in ("a", "b", "c"):
        await timed.add(name, 2 * MINUTE)

    with pytest.raises(LimitExceeded) as refusal:
        await timed.add("d", MINUTE)
    await timed.add("his", MINUTE, user="@bob:one.test")
    await timed.pass_time(2 * MINUTE)
    await timed.add("d", MINUTE)

    assert refusal.value.extra["retry_after_ms"] == 2 * MINUTE


async def test_too_far_ahead_is_refused(timed: Timed) -> None:
    with pytest.raises(Forbidden):
        await timed.add("a", 61 * MINUTE)


async def test_the_same_transaction_is_the_same_schedule(timed: Timed) -> None:
    first = await timed.add("a", MINUTE, txn="t1")

    second = await timed.add("b", MINUTE, txn="t1")
    await timed.pass_time(MINUTE)

    assert (first, second) == ("a", "a")
    assert timed.wire.sent == ["a"]


async def test_what_is_cancelled_is_never_sent(timed: Timed) -> None:
    await timed.add("a", MINUTE)

    cancelled = await timed.scheduler.cancel(await timed.row("a"))
    again = await timed.scheduler.cancel(await timed.row("a"))
    await timed.pass_time(MINUTE)

    assert cancelled is not None and again is None
    assert timed.wire.sent == []


async def test_what_is_being_sent_cannot_be_cancelled(timed: Timed) -> None:
    await timed.add("a", MINUTE)
    row = await timed.row("a")
    await storage.claim_due(timed.database, timed.now + MINUTE, timed.now + 10**9, 5)

    cancelled = await timed.scheduler.cancel(row)

    assert cancelled is None
    assert (await timed.row("a")).state == SENDING


async def test_a_restart_begins_the_wait_anew(timed: Timed) -> None:
    await timed.add("a", 5 * MINUTE)
    await timed.pass_time(4 * MINUTE)

    await timed.scheduler.restart(await timed.row("a"))
    await timed.pass_time(4 * MINUTE)
    before = list(timed.wire.sent)
    await timed.pass_time(MINUTE)

    assert (before, timed.wire.sent) == ([], ["a"])


async def test_what_cannot_be_sent_now_goes_on_waiting_for_its_time(timed: Timed) -> None:
    await timed.add("a", 5 * MINUTE)
    timed.wire.failure = Forbidden("not yet")
    with pytest.raises(Forbidden):
        await timed.scheduler.send_now(await timed.row("a"))
    timed.wire.failure = None
    row = await timed.row("a")

    await timed.pass_time(5 * MINUTE)

    assert (row.state, row.due_at) == (SCHEDULED, 1_000_000 + 5 * MINUTE)
    assert timed.wire.sent == ["a"]


async def test_what_is_done_with_is_forgotten_in_time(timed: Timed) -> None:
    await timed.add("a", MINUTE)
    await timed.pass_time(MINUTE)
    await timed.pass_time(60 * MINUTE)
    kept = await storage.get(timed.database, "a")

    await timed.pass_time(121 * MINUTE)

    assert kept is not None
    assert await storage.get(timed.database, "a") is None


async def test_nothing_more_is_sent_of_an_account_that_ended(timed: Timed) -> None:
    await timed.add("a", MINUTE)

    await timed.scheduler.forget(ALICE)
    await timed.pass_time(MINUTE)

    assert timed.wire.sent == []
