"""Consent where nobody has said anything and the instance's defaults are open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeserver import app_keys
from homeserver.services.consent import Consent, Defaults
from homeserver.services.consent.access import ConsentAccess
from homeserver.services.consent.requests import MessageRequests, RequestLimits
from homeserver.storage.database import Database
from homeserver.storage.log import Log


class NoAccountData:
    """Users who have set nothing."""

    async def get(self, user_id: str, type_: str) -> None:
        return None


class OpenConsent:
    """The parts of consent, following a log."""

    def __init__(
        self,
        database: Database,
        log: Log,
        clock_ms: Callable[[], int],
        *,
        account_data: Any = None,
        server_name: str = "one.example",
    ) -> None:
        self.consent = Consent(
            server_name=server_name,
            database=database,
            log=log,
            defaults=Defaults(),
            consent_uri=str,
            account_data=account_data or NoAccountData(),
            clock_ms=clock_ms,
        )
        log.subscribe(self.consent.on_notice)
        self.requests = MessageRequests(
            database=database,
            log=log,
            consent=self.consent,
            limits=RequestLimits(),
            clock_ms=clock_ms,
        )
        log.subscribe(self.requests.on_notice)
        self.access = ConsentAccess(database=database, consent=self.consent, base_url="")

    def app_parts(self) -> dict[Any, Any]:
        """What handlers ask for."""
        return {
            app_keys.CONSENT: self.consent,
            app_keys.CONSENT_ACCESS: self.access,
            app_keys.MESSAGE_REQUESTS: self.requests,
        }
