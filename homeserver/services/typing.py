"""Who is typing: in memory, for as long as it lasts.

A room's version is a moment (ms): the one at which its list last changed.  It is the part of a
sync token that is not durable, so it keeps its meaning when the server starts again.

Spec: client-server API, typing notifications; server-server API, ``m.typing``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct, field

from homeserver.errors import Forbidden
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.audience import EVERYBODY, TYPING_SCOPE, Audience
from homeserver.services.outgoing import EduQueue, RoomServers
from homeserver.services.values import is_compliant_user_id

TYPING = "m.typing"
DEFAULT_TIMEOUT_MS = 30_000
LONGEST_TIMEOUT_MS = 120_000
REMOTE_TIMEOUT_MS = 60_000
REPEAT_TO_PEERS_MS = 30_000
MAX_TYPING_PER_ROOM = 200
MAX_ROOMS = 20_000


class _Typist(Struct):
    timer: asyncio.TimerHandle
    announced_at: int  # ms; when other instances were last told


class _Room(Struct):
    version: int = 0
    typists: dict[str, _Typist] = field(default_factory=dict)


class TypingService:
    """Keeps the typists of each room; ``on_change`` is called with the room's ID."""

    def __init__(
        self,
        *,
        rooms: RoomServers,
        edus: EduQueue,
        clock_ms: Callable[[], int],
        on_change: Callable[[str], None] = lambda _: None,
        audience: Audience = EVERYBODY,
    ) -> None:
        self._rooms_known = rooms
        self._edus = edus
        self._clock_ms = clock_ms
        self.on_change = on_change
        self._audience = audience
        self._rooms: dict[str, _Room] = {}
        self.version = clock_ms()
        """The moment of the last change in any room."""

    async def set_typing(
        self, room_id: str, user_id: str, typing: bool, timeout_ms: int | None = None
    ) -> None:
        """A local user starts, goes on, or stops.  Spec: ``PUT /rooms/{roomId}/typing/{userId}``.

        Raises :class:`Forbidden`.
        """
        if not await self._rooms_known.is_joined(room_id, user_id):
            raise Forbidden("You are not in this room")
        servers = await self._audience.servers_that_may_see(
            user_id, await self._rooms_known.joined_servers(room_id), TYPING_SCOPE
        )
        before = self._typist(room_id, user_id)
        if not typing:
            self._stop(room_id, user_id)
            if before is not None:
                self._announce(servers, room_id, user_id, False)
            return
        timeout = DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms
        self._start(room_id, user_id, min(max(timeout, 1), LONGEST_TIMEOUT_MS), servers)
        now = self._clock_ms()
        typist = self._typist(room_id, user_id)
        if typist is not None and now - typist.announced_at >= REPEAT_TO_PEERS_MS:
            typist.announced_at = now
            self._announce(servers, room_id, user_id, True)

    async def receive(self, origin: str, content: JsonObject) -> None:
        """Apply an ``m.typing`` EDU, if its user is in the room and of the sending instance."""
        room_id, user_id = content.get("room_id"), content.get("user_id")
        typing = content.get("typing")
        if not isinstance(room_id, str) or not is_compliant_user_id(user_id):
            return
        if not isinstance(typing, bool) or server_name_of(user_id) != origin:
            return
        if not typing:
            self._stop(room_id, user_id)
        elif await self._rooms_known.is_joined(room_id, user_id):
            self._start(room_id, user_id, REMOTE_TIMEOUT_MS, ())

    def user_left(self, room_id: str, user_id: str) -> None:
        """A user left a room, or sent a message: they are not typing any more."""
        self._stop(room_id, user_id)

    # ------------------------------------------------------------ for sync

    def typing_in(self, room_id: str) -> list[str]:
        """Who is typing in a room."""
        room = self._rooms.get(room_id)
        return list(room.typists) if room is not None else []

    def changed_since(self, version: int, room_ids: Iterable[str]) -> dict[str, list[str]]:
        """The rooms of ``room_ids`` whose typists changed since a version, and who types there."""
        if version >= self.version:
            return {}
        return {
            room_id: list(room.typists)
            for room_id in room_ids
            if (room := self._rooms.get(room_id)) is not None and room.version > version
        }

    # ------------------------------------------------------------ the list

    def _typist(self, room_id: str, user_id: str) -> _Typist | None:
        room = self._rooms.get(room_id)
        return room.typists.get(user_id) if room is not None else None

    def _start(self, room_id: str, user_id: str, timeout_ms: int, servers: Collection[str]) -> None:
        room = self._rooms.setdefault(room_id, _Room())
        typist = room.typists.get(user_id)
        if typist is None and len(room.typists) >= MAX_TYPING_PER_ROOM:
            return
        timer = asyncio.get_running_loop().call_later(
            timeout_ms / 1000, self._expire, room_id, user_id, servers
        )
        if typist is not None:
            typist.timer.cancel()
            typist.timer = timer
            return
        room.typists[user_id] = _Typist(timer, 0)
        self._changed(room_id, room)

    def _stop(self, room_id: str, user_id: str) -> None:
        room = self._rooms.get(room_id)
        typist = room.typists.pop(user_id, None) if room is not None else None
        if room is not None and typist is not None:
            typist.timer.cancel()
            self._changed(room_id, room)

    def _expire(self, room_id: str, user_id: str, servers: Collection[str]) -> None:
        self._stop(room_id, user_id)
        self._announce(servers, room_id, user_id, False)

    def _changed(self, room_id: str, room: _Room) -> None:
        self.version = max(self.version + 1, self._clock_ms())
        room.version = self.version
        if len(self._rooms) > MAX_ROOMS:
            self._rooms = {key: value for key, value in self._rooms.items() if value.typists}
        self.on_change(room_id)

    def _announce(self, servers: Collection[str], room_id: str, user_id: str, typing: bool) -> None:
        if servers:
            content: JsonObject = {"room_id": room_id, "user_id": user_id, "typing": typing}
            self._edus.queue_ephemeral(servers, TYPING, content, f"{room_id} {user_id}")

    def close(self) -> None:
        """Stop all timers."""
        for room in self._rooms.values():
            for typist in room.typists.values():
                typist.timer.cancel()
