"""Asking other instances for the event next to a date.

Spec: server-server API, ``GET /timestamp_to_event/{roomId}``.
"""

from __future__ import annotations

import structlog

from federation.client import FederationClient
from federation.errors import FederationFailure
from federation.paths import path_of
from homeserver.protocol.identifiers import EventId, InvalidIdentifier
from homeserver.services.rooms import Rooms
from homeserver.storage.sync import EventTime

logger = structlog.get_logger(__name__)

MOST_ASKED = 3
ANSWER_SECONDS = 5.0
ANSWER_BYTES = 64 * 1024
LARGEST_TS = 2**53 - 1


class RemoteTimes:
    """What the instances in a room know of its history."""

    def __init__(self, client: FederationClient, rooms: Rooms) -> None:
        self._client = client
        self._rooms = rooms

    async def event_near(self, room_id: str, ts: int, *, forwards: bool) -> EventTime | None:
        """The event next to a time (ms), from the first instance that tells.

        Those with the most members go first: they are likely to have been there for long.
        """
        room = await self._rooms.find(room_id)
        servers = sorted(room.destinations, key=lambda s: -room.hosts[s]) if room else []
        for server in servers[:MOST_ASKED]:
            try:
                answer = await self._client.get(
                    server,
                    path_of("v1/timestamp_to_event", room_id),
                    query={"ts": str(ts), "dir": "f" if forwards else "b"},
                    timeout_seconds=ANSWER_SECONDS,
                    max_bytes=ANSWER_BYTES,
                )
                event_id, when = (
                    EventId.parse(answer.get("event_id")),
                    answer.get("origin_server_ts"),
                )
            except (FederationFailure, InvalidIdentifier) as error:
                logger.info("no event by its date", server=server, reason=str(error))
                continue
            when = answer.get("origin_server_ts")
            if isinstance(when, int) and not isinstance(when, bool) and 0 <= when <= LARGEST_TS:
                return EventTime(event_id, when)
        return None
