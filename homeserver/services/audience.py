"""Who may see what users give away in passing: presence, typing, receipts.

Consent answers this (:class:`homeserver.services.consent.Consent`); where it has no say, everybody
may.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

PRESENCE_SCOPE = "presence"
TYPING_SCOPE = "typing"
RECEIPTS_SCOPE = "receipts"


class Audience(Protocol):
    """Who sees a user's presence, typing and receipts."""

    def any_restricts(self, scope: str) -> bool:
        """Whether there is anybody whom not everybody may see."""

    def restricts(self, scope: str, owner: str) -> bool:
        """Whether not everybody may see this user."""

    async def prepare(self, owners: Iterable[str]) -> None:
        """Have at hand what :meth:`may_see` needs of these users, in one statement."""

    async def may_see(self, owner: str, reader: str, scope: str) -> bool:
        """Whether a reader, in a room with a user, may see them."""

    async def servers_that_may_see(
        self, owner: str, servers: Iterable[str], scope: str
    ) -> frozenset[str]:
        """The instances that are told."""


class Everybody:
    """An audience without restrictions."""

    def any_restricts(self, scope: str) -> bool:
        """Nobody does."""
        return False

    def restricts(self, scope: str, owner: str) -> bool:
        """No."""
        return False

    async def prepare(self, owners: Iterable[str]) -> None:
        """Nothing is needed."""

    async def may_see(self, owner: str, reader: str, scope: str) -> bool:
        """Yes."""
        return True

    async def servers_that_may_see(
        self, owner: str, servers: Iterable[str], scope: str
    ) -> frozenset[str]:
        """All of them."""
        return frozenset(servers)


EVERYBODY = Everybody()


async def hidden_from(
    audience: Audience, reader: str, owners: Iterable[str], scope: str
) -> set[str]:
    """Those of some users whom a reader may not see."""
    restricting = [owner for owner in owners if audience.restricts(scope, owner)]
    if len(restricting) > 1:
        await audience.prepare(restricting)
    return {o for o in restricting if not await audience.may_see(o, reader, scope)}
