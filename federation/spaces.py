"""Asking other instances for rooms and what is below them.

Spec: server-server API, ``GET /hierarchy/{roomId}``: answers should be kept for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from federation.caching import ExpiringCache
from federation.client import FederationClient
from federation.errors import FederationFailure
from federation.paths import path_of
from homeserver.services.shared_tasks import SharedTasks
from homeserver.services.spaces.summary import RemoteSpace, parse_remote_space

logger = structlog.get_logger(__name__)

KEPT_SECONDS = 300.0
REFUSED_SECONDS = 60.0  # that nobody told of a room
KEPT_SPACES = 100
KEPT_REFUSALS = 2_000
ASKED = 3  # instances, one after the other
ANSWER_SECONDS = 5.0
ANSWER_BYTES = 1024 * 1024


class RemoteHierarchies:
    """What other instances tell of rooms, kept for some minutes."""

    def __init__(
        self, client: FederationClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._spaces: ExpiringCache[tuple[str, str], RemoteSpace] = ExpiringCache(
            KEPT_SPACES, clock
        )
        self._refused: ExpiringCache[tuple[str, str], bool] = ExpiringCache(KEPT_REFUSALS, clock)
        self._asking: SharedTasks[tuple[str, str], RemoteSpace | None] = SharedTasks("remote space")

    async def space(self, room_id: str, servers: Sequence[str]) -> RemoteSpace | None:
        """A room and its children, from the first of some instances that tells; None if none does.

        What an instance said is kept by its name: one that lies spoils no other's answer.
        """
        others = [name for name in dict.fromkeys(servers) if name != self._client.server_name]
        for server in others[:ASKED]:
            key = (server, room_id)
            found = self._spaces.get(key)
            if found is None and not self._refused.get(key):
                found = await self._asking.run(key, partial(self._ask, *key))
            if found is not None:
                return found
        return None

    async def _ask(self, server: str, room_id: str) -> RemoteSpace | None:
        key = (server, room_id)
        space = None
        try:
            answer = await self._client.get(
                server,
                path_of("v1/hierarchy", room_id),
                query={"suggested_only": "false"},
                timeout_seconds=ANSWER_SECONDS,
                max_bytes=ANSWER_BYTES,
            )
            space = parse_remote_space(room_id, answer)
        except FederationFailure as error:
            logger.debug("no hierarchy", server=server, room_id=room_id, reason=str(error))
        if space is None:
            self._refused.put(key, True, REFUSED_SECONDS)
        else:
            self._spaces.put(key, space, KEPT_SECONDS)
        return space
