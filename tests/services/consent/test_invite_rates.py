"""How often people whom a user does not know may invite, and what moderators see of it."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.config import RateConfig
from homeserver.errors import LimitExceeded
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent.invite_rates import ACQUAINTED_FACTOR, NOTED_EVERY_MS, InviteRates

VICTIM = UserId("@victim:one.example")
EVIL = "evil.example"
PER_SENDER, PER_INSTANCE = 3, 8


class People:
    """Whom the victim knows."""

    def __init__(self) -> None:
        self.contacts: set[str] = set()
        self.acquaintances: set[str] = set()

    async def is_contact(self, owner: str, peer: str) -> bool:
        return peer in self.contacts

    async def is_known(self, owner: str, peer: str) -> bool:
        return peer in self.contacts | self.acquaintances


class Moderators:
    """What they are told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def request_abuse(self, sender: str, note: str) -> None:
        self.told.append(sender)


class Stage:
    """The rates, at a time that stands still."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.people: Any = People()
        self.moderators: Any = Moderators()
        self.rates = InviteRates(
            consent=self.people,
            per_sender=RateConfig(per_second=1e-6, burst=PER_SENDER),
            per_instance=RateConfig(per_second=1e-6, burst=PER_INSTANCE),
            clock_ms=lambda: self.now_ms,
        )
        self.rates.abuse = self.moderators

    async def passes(self, inviter: str, event_id: str | None = None) -> bool:
        """Whether an invite is let through."""
        try:
            await self.rates.count(VICTIM, inviter, event_id)
        except LimitExceeded:
            return False
        return True


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_thousand_senders_have_one_bound_and_one_line(stage):
    passed = [await stage.passes(f"@m{n}:{EVIL}") for n in range(1000) for _ in range(2)]

    assert sum(passed) == PER_INSTANCE
    assert stage.moderators.told == [EVIL]


async def test_one_sender_does_not_use_up_the_whole_instances_bound(stage):
    loud = [await stage.passes(f"@loud:{EVIL}") for _ in range(100)]
    others = [await stage.passes(f"@m{n}:{EVIL}") for n in range(PER_INSTANCE)]

    assert sum(loud) == PER_SENDER
    assert sum(others) == PER_INSTANCE - PER_SENDER
    assert stage.moderators.told == [f"@loud:{EVIL}", EVIL]


async def test_moderators_are_told_again_when_it_goes_on(stage):
    for _ in range(2 * PER_SENDER):
        await stage.passes(f"@loud:{EVIL}")
    stage.now_ms += NOTED_EVERY_MS

    await stage.passes(f"@loud:{EVIL}")

    assert stage.moderators.told == [f"@loud:{EVIL}"] * 2


async def test_the_same_invite_counts_once(stage):
    passed = [await stage.passes(f"@m:{EVIL}", "$one") for _ in range(10)]

    assert all(passed)
    assert await stage.passes(f"@m:{EVIL}", "$two")


async def test_acquaintances_have_more_room_but_not_any(stage):
    users = [f"@m{n}:{EVIL}" for n in range(100)]
    stage.people.acquaintances.update(users)

    passed = [await stage.passes(user) for user in users for _ in range(3)]

    assert sum(passed) == ACQUAINTED_FACTOR * PER_INSTANCE


async def test_contacts_are_not_counted(stage):
    stage.people.contacts.add(f"@friend:{EVIL}")
    for number in range(2 * PER_INSTANCE):
        await stage.passes(f"@m{number}:{EVIL}")

    assert all([await stage.passes(f"@friend:{EVIL}") for _ in range(100)])


async def test_users_of_this_instance_are_counted_one_by_one(stage):
    strangers = [await stage.passes(f"@u{n}:one.example") for n in range(100)]
    loud = [await stage.passes("@loud:one.example") for _ in range(100)]
    stage.people.acquaintances.add("@colleague:one.example")
    colleague = [await stage.passes("@colleague:one.example") for _ in range(100)]

    assert all(strangers)
    assert sum(loud) == PER_SENDER
    assert all(colleague)
