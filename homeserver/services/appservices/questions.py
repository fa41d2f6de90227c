"""Asks application services whether a user or an alias of theirs exists, so that they can make it.

Spec: application service API, querying.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from urllib.parse import quote

import structlog

from homeserver.errors import MatrixError
from homeserver.services.appservices.client import V1, NoAnswer, ServiceClient
from homeserver.services.appservices.registration import AppService
from homeserver.services.appservices.registry import AppServices
from homeserver.storage import accounts as account_storage
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

PAUSES_SECONDS = (0.5, 1.0)  # before the second attempt, and the third
REMEMBERED = 1_000
REMEMBER_NO_SECONDS = 10.0
MAX_NAME_LENGTH = 255


class Unanswered(MatrixError):
    """The application service whose user or room this would be does not answer."""

    errcode, status = "M_UNKNOWN", 408


class Questions:
    """Asks one thing once, however many wait for the answer."""

    def __init__(self, *, services: AppServices, client: ServiceClient, database: Database) -> None:
        self._services = services
        self._client = client
        self._database = database
        self._asking: dict[str, asyncio.Task[bool]] = {}
        self._denied: OrderedDict[str, float] = OrderedDict()

    async def close(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def expect_user(self, user_id: str) -> None:
        """Somebody means a local user: have them made, if an application service knows them.

        Raises :class:`Unanswered`.
        """
        asked = [each for each in self._reachable() if each.is_interested_in_user(user_id)]
        if asked and await account_storage.get_account(self._database, user_id) is None:
            await self._ask_any(asked, "users", user_id)

    async def expect_alias(self, alias: str) -> bool:
        """Somebody looks for an alias of ours that there is not; whether a service has made it.

        Raises :class:`Unanswered`.
        """
        asked = [each for each in self._reachable() if each.is_interested_in_alias(alias)]
        return await self._ask_any(asked, "rooms", alias)

    def _reachable(self) -> list[AppService]:
        return [service for service in self._services.all if service.url is not None]

    async def _ask_any(self, services: list[AppService], kind: str, name: str) -> bool:
        for service in services:
            if len(name) <= MAX_NAME_LENGTH and await self._ask(service, kind, name):
                return True
        return False

    async def _ask(self, service: AppService, kind: str, name: str) -> bool:
        key = f"{service.id}/{kind}/{name}"
        denied_at = self._denied.get(key)
        if denied_at is not None and time.monotonic() - denied_at < REMEMBER_NO_SECONDS:
            return False
        task = self._asking.get(key)
        if task is None:
            path = f"{kind}/{quote(name, safe='')}"
            task = self._asking[key] = asyncio.create_task(self._try(service, path))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        exists = await asyncio.shield(task)
        if not exists:
            self._denied[key] = time.monotonic()
            if len(self._denied) > REMEMBERED:
                self._denied.popitem(last=False)
        return exists

    async def _try(self, service: AppService, path: str) -> bool:
        """Ask a few times.  Raises :class:`Unanswered`."""
        for pause in (*PAUSES_SECONDS, None):
            try:
                answer = await self._client.ask(service, (f"{V1}/{path}", f"/{path}"))
            except NoAnswer as failure:
                reason = failure.text
                if failure.timed_out:
                    break  # somebody waits; it was asked
            else:
                if answer.ok:
                    return True
                if 400 <= answer.status < 500:
                    return False
                reason = f"it answered {answer.status}"
            if pause is not None:
                await asyncio.sleep(pause)
        logger.warning("an application service was asked in vain", id=service.id, reason=reason)
        raise Unanswered("The bridge to which this belongs does not answer: try again later")
