"""Requests that are repeated, with a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from homeserver.services.conversations.idempotency import (
    KEPT_MS,
    MAX_KEY_LENGTH,
    TAKEN_OVER_AFTER_MS,
    Answer,
    Fresh,
    Idempotency,
    InProgress,
    Mismatch,
    Replay,
    fingerprint,
    is_key,
)
from homeserver.storage.database import Database

ALICE = "@alice:one.test"
ASKED = fingerprint("POST", "/api/v1/messages", b'{"text":"hello"}')
OTHER = fingerprint("POST", "/api/v1/messages", b'{"text":"goodbye"}')
ANSWER = Answer(201, b'{"id":"x"}', {"Content-Type": "application/json"})


class Store:
    """An idempotency store, and its clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = 1_700_000_000_000
        self.restart()

    def restart(self) -> None:
        self.keys = Idempotency(secret=b"s" * 32, database=self.database, clock_ms=lambda: self.now)

    async def fresh(self, key: str = "k", asked: bytes = ASKED, owner: str = ALICE) -> Fresh:
        outcome = await self.keys.begin(owner, key, asked)
        assert isinstance(outcome, Fresh), outcome
        return outcome


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


async def test_the_same_request_again_has_the_same_answer_after_a_restart_too(store: Store) -> None:
    await store.keys.finish(await store.fresh(), ANSWER)
    store.restart()

    again = await store.keys.begin(ALICE, "k", ASKED)

    assert again == Replay(ANSWER)


async def test_what_was_asked_cannot_be_tried_with_what_is_kept(store: Store) -> None:
    """A request may say a password; a plain hash of it could be tried by who has a backup."""
    await store.fresh()

    kept = await store.database.fetch("SELECT * FROM idempotency_keys")

    assert ASKED not in [value for row in kept for value in row.values()]


async def test_the_key_of_another_request_is_a_mismatch(store: Store) -> None:
    await store.keys.finish(await store.fresh(), ANSWER)

    again = await store.keys.begin(ALICE, "k", OTHER)

    assert again == Mismatch()


async def test_another_owners_key_is_another_key(store: Store) -> None:
    await store.keys.finish(await store.fresh(), ANSWER)

    await store.fresh(owner="@bob:one.test", asked=OTHER)


async def test_while_a_request_is_worked_on_nobody_else_begins_it(store: Store) -> None:
    await store.fresh()
    store.now += 1_000

    again = await store.keys.begin(ALICE, "k", ASKED)

    assert again == InProgress(TAKEN_OVER_AFTER_MS - 1_000)


async def test_of_many_at_once_exactly_one_begins(store: Store) -> None:
    outcomes = await asyncio.gather(*(store.keys.begin(ALICE, "k", ASKED) for _ in range(20)))

    assert sum(isinstance(outcome, Fresh) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, InProgress) for outcome in outcomes) == 19


async def test_a_request_that_was_cut_off_is_taken_over_after_a_while(store: Store) -> None:
    cut_off = await store.fresh()
    store.now += TAKEN_OVER_AFTER_MS

    again = await store.fresh()
    await store.keys.finish(cut_off, Answer(200, b"too late"))
    await store.keys.finish(again, ANSWER)

    assert await store.keys.begin(ALICE, "k", ASKED) == Replay(ANSWER)


async def test_a_request_that_was_cut_off_is_not_taken_over_by_another_one(store: Store) -> None:
    await store.fresh()
    store.now += TAKEN_OVER_AFTER_MS

    assert await store.keys.begin(ALICE, "k", OTHER) == Mismatch()


async def test_a_request_that_came_to_nothing_may_be_made_again_at_once(store: Store) -> None:
    await store.keys.give_up(await store.fresh())

    await store.fresh(asked=OTHER)


async def test_what_is_finished_is_not_given_up(store: Store) -> None:
    request = await store.fresh()
    await store.keys.finish(request, ANSWER)
    await store.keys.give_up(request)

    assert await store.keys.begin(ALICE, "k", ASKED) == Replay(ANSWER)


async def test_a_key_is_kept_for_a_day_and_then_pruned(store: Store) -> None:
    began = store.now
    await store.keys.finish(await store.fresh(), ANSWER)
    store.now += KEPT_MS - 1

    assert not await store.keys.step()
    assert await store.keys.next_due() == began + KEPT_MS
    assert await store.keys.begin(ALICE, "k", ASKED) == Replay(ANSWER)

    store.now += 1

    assert await store.keys.step()
    assert await store.keys.next_due() is None


async def test_after_a_day_a_key_is_new_even_before_it_is_pruned(store: Store) -> None:
    await store.keys.finish(await store.fresh(), ANSWER)
    store.now += KEPT_MS

    await store.fresh(asked=OTHER)


@pytest.mark.parametrize("key", ["", "with space", "tab\t", "ü", "a" * (MAX_KEY_LENGTH + 1)])
def test_a_key_is_of_visible_characters(key: str) -> None:
    assert not is_key(key)


def test_a_uuid_is_a_key() -> None:
    assert is_key("7d6e1b5e-8a52-4a53-9f0d-2a9d6e4b9f10")
