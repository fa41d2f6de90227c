"""What only Comity instances ask each other.  See ``docs/consent-between-instances.md``.

A peer that is none answers the question with 404; it is then not asked again for a day, and told
nothing that is not in the Matrix spec.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import structlog

from federation.client import FederationClient
from federation.errors import FederationFailure, PeerError
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent.peers import GRANTED, NOT_GIVEN

logger = structlog.get_logger(__name__)

QUERY_PATH = "/_matrix/federation/unstable/dev.comity/consent/query"
VERSION_PATH = "/_matrix/federation/v1/version"
NAME = "Comity"
DAY_MS = 24 * 3_600_000
RETRY_MS = 600_000
MAX_SERVERS = 50_000
TIMEOUT_SECONDS = 5.0


class ComityPeers:
    """Knows which instances are Comities, and asks them."""

    def __init__(self, *, client: FederationClient, clock_ms: Callable[[], int]) -> None:
        self._client = client
        self._clock_ms = clock_ms
        self._known: OrderedDict[str, tuple[int, bool]] = OrderedDict()  # until, is it one

    def known(self, server_name: str) -> bool | None:
        """Whether an instance is a Comity; None if it is not known, or was long ago."""
        known = self._known.get(server_name)
        return known[1] if known is not None and known[0] > self._clock_ms() else None

    async def is_comity(self, server_name: str) -> bool:
        """Whether an instance says that it is a Comity; one that does not answer is none now."""
        known = self._known.get(server_name)
        if known is not None and known[0] > self._clock_ms():
            return known[1]
        try:
            answer = await self._client.get(
                server_name, VERSION_PATH, timeout_seconds=TIMEOUT_SECONDS
            )
        except FederationFailure as error:
            self._note(server_name, False, RETRY_MS)
            logger.info("version unknown", server=server_name, reason=str(error))
            return False
        server = answer.get("server")
        is_one = isinstance(server, dict) and server.get("name") == NAME
        self._note(server_name, is_one, DAY_MS)
        return is_one

    def heard_from(self, server_name: str) -> None:
        """An instance has used what only Comities know."""
        self._note(server_name, True, DAY_MS)

    def _note(self, server_name: str, is_one: bool, for_ms: int) -> None:
        self._known[server_name] = (self._clock_ms() + for_ms, is_one)
        if len(self._known) > MAX_SERVERS:
            self._known.popitem(last=False)

    async def may_contact(self, sender: UserId, recipient: UserId, scope: str) -> str | None:
        """``granted`` or ``not_given``; None from an instance that is no Comity or is silent."""
        if not await self.is_comity(recipient.server_name):
            return None
        body = {"sender": sender, "recipient": recipient, "scope": scope}
        try:
            answer = await self._client.post(
                recipient.server_name, QUERY_PATH, body=body, timeout_seconds=TIMEOUT_SECONDS
            )
        except PeerError:
            return None
        except FederationFailure as error:
            logger.info("consent not asked", server=recipient.server_name, reason=str(error))
            return None
        found = answer.get("answer")
        return found if found in (GRANTED, NOT_GIVEN) else None
