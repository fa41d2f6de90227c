"""Applications: who they are, and how they are told what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.services.conversations.api_tokens import ApiTokens
from homeserver.services.conversations.applications import Applications
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class ApplicationParts:
    """Applications, API tokens, webhooks in both directions."""

    def __init__(self, wiring: Wiring) -> None:
        caretaker = wiring.ends.caretaker
        self.tokens = ApiTokens(database=wiring.database, wake=caretaker.wake, clock_ms=clock_ms)
        self.applications = Applications(
            server_name=wiring.config.server_name,
            database=wiring.database,
            accounts=wiring.accounts,
            profiles=wiring.profiles,
            tokens=self.tokens,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        caretaker.add(self.tokens)
        wiring.registration.reserve(self.applications)
        wiring.accounts.on_ended.append(self.tokens.account_ended)
        wiring.accounts.after_ended += (self.applications.forget_user, self._forget_tokens)

    def _forget_tokens(self, user_id: str) -> None:
        self.tokens.forget(user_id=user_id)

    async def start(self) -> None:
        """Read which applications there are."""
        await self.applications.start()
