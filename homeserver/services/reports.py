"""People report messages, rooms and users to the moderators.

Spec: client-server API, reporting content.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from homeserver.errors import MatrixError, NotFound
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.live_room import LiveRoom
from homeserver.services.moderation_queue import REPORT, ModerationQueue
from homeserver.services.visibility import Reader
from homeserver.storage.events import StoredEvent

logger = structlog.get_logger(__name__)


class ReportForwarder(Protocol):
    """Tells the instance of a reported user."""

    async def forward(
        self,
        reporter: str,
        target_user: str,
        room_id: str | None,
        event_id: str | None,
        reason: str | None,
    ) -> None:
        """Pass a report of another instance's user on.  What goes wrong is not the reporter's."""


class Readable(Protocol):
    """What a user may read."""

    async def reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room.  Raises :class:`~homeserver.errors.Forbidden`."""

    async def visible_event(self, reader: Reader, room_id: str, event_id: str) -> StoredEvent:
        """An event that they may see.  Raises :class:`NotFound`."""


class KnownRooms(Protocol):
    """The rooms that this instance has."""

    async def find(self, room_id: str) -> LiveRoom | None:
        """A room, or None."""


class KnownAccounts(Protocol):
    """The accounts of this instance."""

    async def exists(self, user_id: str) -> bool:
        """Whether there is, or was, such an account."""


class Reports:
    """Takes reports into the moderators' queue."""

    def __init__(
        self,
        *,
        server_name: str,
        queue: ModerationQueue,
        rooms: KnownRooms,
        timeline: Readable,
        accounts: KnownAccounts,
        forwarder: ReportForwarder | None = None,
    ) -> None:
        self._server_name = server_name
        self._queue = queue
        self._rooms = rooms
        self._timeline = timeline
        self._accounts = accounts
        self.forwarder = forwarder

    async def report_event(
        self, reporter: UserId, room_id: str, event_id: str, reason: str | None
    ) -> None:
        """Report a message in a room that the reporter is joined to.

        Spec: ``POST /rooms/{roomId}/report/{eventId}``.  Raises :class:`NotFound`.
        """
        room = await self._rooms.find(room_id)
        if room is None or not room.is_joined(reporter):
            raise NotFound("The event was not found or you are not joined to the room")
        reader = await self._timeline.reader(room_id, reporter)
        stored = await self._timeline.visible_event(reader, room_id, event_id)
        sender = stored.event.sender
        await self._queue.add(
            REPORT,
            sender=sender,
            room_id=room_id,
            event_id=event_id,
            note=reason,
            reporter=reporter,
        )
        await self._forward(reporter, sender, room_id, event_id, reason)

    async def report_room(self, reporter: UserId, room_id: str, reason: str) -> None:
        """Report a room, joined or not.

        Spec: ``POST /rooms/{roomId}/report``.  Raises :class:`NotFound`.
        """
        if await self._rooms.find(room_id) is None:
            raise NotFound("The room was not found")
        await self._queue.add(REPORT, room_id=room_id, note=reason, reporter=reporter)

    async def report_user(self, reporter: UserId, target: UserId, reason: str) -> None:
        """Report a user, of this instance or of another.

        Spec: ``POST /users/{userId}/report``.  Raises :class:`NotFound`.
        """
        if target.server_name == self._server_name and not await self._accounts.exists(target):
            raise NotFound("The user was not found")
        await self._queue.add(REPORT, sender=target, note=reason, reporter=reporter)
        await self._forward(reporter, target, None, None, reason)

    async def _forward(
        self,
        reporter: str,
        target: str,
        room_id: str | None,
        event_id: str | None,
        reason: str | None,
    ) -> None:
        if self.forwarder is None or server_name_of(target) == self._server_name:
            return
        try:
            await self.forwarder.forward(reporter, target, room_id, event_id, reason)
        except MatrixError as error:
            logger.info("report not passed on", to=server_name_of(target), reason=error.text)
