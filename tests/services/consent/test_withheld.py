"""What a reader does not get is made once, however often they sync, and again when it changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.services.consent import Consent
from homeserver.services.consent.scopes import Scope
from homeserver.services.visibility import NOTHING_WITHHELD
from homeserver.storage.database import Database
from homeserver.storage.log import Log
from tests.services.doubles import Clock
from tests.services.open_consent import OpenConsent

ALICE, BOB, EVE = "@alice:one.example", "@bob:two.example", "@eve:three.example"
HOUR_MS = 3_600_000


class Ignoring:
    """Account data in which Alice ignores some."""

    def __init__(self) -> None:
        self.content: dict[str, Any] | None = None

    async def get(self, user_id: str, type_: str) -> dict[str, Any] | None:
        return self.content if type_ == "m.ignored_user_list" else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ignoring() -> Ignoring:
    return Ignoring()


@pytest.fixture
async def consent(database: Database, clock: Clock, ignoring: Ignoring) -> AsyncIterator[Consent]:
    log = Log(database)
    await log.start()
    yield OpenConsent(database, log, clock, account_data=ignoring).consent
    await log.close()


async def test_of_who_blocked_nobody_nothing_is_withheld(consent: Consent) -> None:
    assert await consent.withheld(ALICE) is NOTHING_WITHHELD


@pytest.mark.parametrize("scope", [Scope.MESSAGE, Scope.CALL])
async def test_it_is_the_same_from_one_sync_to_the_next(consent: Consent, scope: str) -> None:
    await consent.set(ALICE, EVE, scope, "denied", how="page")

    first = await consent.withheld(ALICE)

    assert first is not NOTHING_WITHHELD
    assert await consent.withheld(ALICE) is first


async def test_it_follows_consent_its_end_and_who_is_ignored(
    consent: Consent, clock: Clock, ignoring: Ignoring
) -> None:
    until = clock.now + HOUR_MS
    await consent.set(ALICE, EVE, Scope.MESSAGE, "denied", how="page", expires_at=until)
    blocked = await consent.withheld(ALICE)
    ignoring.content = {"ignored_users": {BOB: {}}}
    both = await consent.withheld(ALICE)
    clock.now = until
    ignored = await consent.withheld(ALICE)
    await consent.set(ALICE, EVE, Scope.CALL, "denied", how="page")
    calls = await consent.withheld(ALICE)

    assert (blocked.users, both.users) == ({EVE}, {EVE, BOB})
    assert (ignored.users, ignored.may_not_call) == ({BOB}, None)
    assert calls.may_not_call is not None
    assert calls.may_not_call(EVE)
