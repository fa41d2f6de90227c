"""Vouching for other instances' keys, and giving out our own.

Spec: server-server API, retrieving server keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from msgspec import Struct

from federation.errors import FederationFailure
from federation.keyring import Keyring
from federation.own_keys import OwnKeys
from federation.server_rules import ServerRules
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import is_valid_server_name
from homeserver.storage import server_keys as storage
from homeserver.storage.database import Database
from homeserver.storage.server_keys import KeyResponse

logger = structlog.get_logger(__name__)

AT_ONCE = 10  # servers that are asked at the same time for one query


class KeyQuery(Struct, frozen=True):
    """What is asked of one server: key IDs, each with a time (ms) until which it should be valid.

    No key IDs: all keys.  ``least`` is the time for those that come without one; 0 means now.
    """

    keys: Mapping[str, int]
    least: int = 0


class Notary:
    """Answers with the keys of any server, signed by it and by us."""

    def __init__(
        self,
        *,
        database: Database,
        own_keys: OwnKeys,
        keyring: Keyring,
        rules: ServerRules,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._own_keys = own_keys
        self._keyring = keyring
        self._rules = rules
        self._clock_ms = clock_ms

    def own_document(self) -> JsonObject:
        """Our own keys."""
        return self._own_keys.document()

    async def query(self, wanted: Mapping[str, KeyQuery]) -> list[JsonObject]:
        """Signed answers about servers; one that cannot be reached and is not known is left out."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(server_name: str, asked: KeyQuery) -> list[JsonObject]:
            async with turns:
                return await self._query_one(server_name, asked)

        answers = await asyncio.gather(*(one(name, asked) for name, asked in wanted.items()))
        return [answer for found in answers for answer in found]

    async def _query_one(self, server_name: str, asked: KeyQuery) -> list[JsonObject]:
        if server_name == self._own_keys.server_name:
            return [self._own_keys.document()]
        if not is_valid_server_name(server_name) or not self._rules.allows(server_name):
            return []
        found = await storage.get_responses(self._database, server_name, asked.keys)
        if not self._suffices(found, asked):
            try:
                await self._keyring.fetch(server_name)
            except FederationFailure as error:
                logger.info("keys not had for a query", server=server_name, reason=error.reason)
            found = await storage.get_responses(self._database, server_name, asked.keys)
        distinct: list[JsonObject] = []
        for key in found:
            if key.response not in distinct:
                distinct.append(key.response)
        return [self._own_keys.sign(response) for response in distinct]

    def _suffices(self, found: list[KeyResponse], asked: KeyQuery) -> bool:
        """Whether what we have holds all that was asked for, valid for long enough, and not stale.

        Spec: "If not supplied, the notary server MUST use the current time"; "notary servers should
        cache a response for half of its lifetime".
        """
        now = self._clock_ms()
        least = asked.least or now
        by_id = {key.key_id: key for key in found}
        if not asked.keys:
            return any(key.valid_until_ts >= least and _is_fresh(key, now) for key in found)
        return all(
            key_id in by_id
            and (by_id[key_id].expired_ts or by_id[key_id].valid_until_ts) >= (wanted or least)
            and _is_fresh(by_id[key_id], now)
            for key_id, wanted in asked.keys.items()
        )


def _is_fresh(key: KeyResponse, now: int) -> bool:
    """Whether less than half of its answer's lifetime has passed; an old key stays as it is."""
    return key.expired_ts is not None or now <= (key.fetched_at + key.valid_until_ts) // 2
