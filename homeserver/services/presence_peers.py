"""What other instances are told of our users' presence, and when.

Each instance with which a user shares a room has the user's last state, and soon: after a change,
when the two come to share a room, when it answers again after an outage, and now and then, since
what is not heard of for half an hour counts as gone.  Server-server API, ``m.presence``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from homeserver.services.audience import PRESENCE_SCOPE, Audience
from homeserver.services.outgoing import EduQueue
from homeserver.services.presence_state import OFFLINE, UserPresence
from homeserver.storage.database import Database
from homeserver.storage.presence import get_local_members
from homeserver.storage.rooms import servers_sharing_rooms

PRESENCE = "m.presence"
SERVERS_FRESH_MS = 60_000
REPEAT_AFTER_MS = 25 * 60_000
MOST_CACHED = 50_000  # users
MOST_MET = 1_000  # rooms and instances that came into them, at a time
MOST_INTRODUCED = 1_000  # users of a room, to an instance that came into it


class PresencePeers:
    """Tells them."""

    def __init__(
        self,
        *,
        database: Database,
        edus: EduQueue,
        audience: Audience,
        users: Mapping[str, UserPresence],
        clock_ms: Callable[[], int],
    ) -> None:
        """``users``: those who are in memory."""
        self._database = database
        self._edus = edus
        self._audience = audience
        self._users = users
        self._clock_ms = clock_ms
        self._unsent: set[str] = set()
        self._met: dict[tuple[str, str], None] = {}
        self._back: set[str] = set()
        self._servers: dict[str, tuple[int, frozenset[str]]] = {}

    # ------------------------------------------------------------ what happens

    def changed(self, user_id: str) -> None:
        """A local user's presence changed."""
        self._unsent.add(user_id)

    def forget(self, user_id: str) -> None:
        """A local user is gone."""
        self._unsent.discard(user_id)
        self._servers.pop(user_id, None)

    def moved(self, user_id: str) -> None:
        """A local user came into a room, or left one: others may see them, and others not."""
        self._servers.pop(user_id, None)

    def met(self, room_id: str, server_name: str) -> None:
        """Somebody of another instance came into a room."""
        if len(self._met) < MOST_MET:
            self._met[(room_id, server_name)] = None

    def is_back(self, server_name: str) -> None:
        """An instance answers again: what it was not told meanwhile is lost."""
        self._back.add(server_name)

    def pass_time(self, user: UserPresence, now: int) -> None:
        """Repeat what others have not heard for long.  ``now`` in ms."""
        if user.local and user.told and now - user.told_at >= REPEAT_AFTER_MS:
            self._unsent.add(user.user_id)

    # ------------------------------------------------------------ telling

    async def tell(self) -> None:
        """Queue what is to be told; what fails is tried again the next time."""
        while self._unsent:
            user_id = next(iter(self._unsent))
            user = self._users.get(user_id)
            if user is not None:
                servers = await self._servers_of(user_id)
                user.told, user.told_at = servers, self._clock_ms()
                await self._tell(user, servers)
            self._unsent.discard(user_id)
        while self._met:
            met = next(iter(self._met))
            await self._introduce(*met)
            self._met.pop(met, None)
        while self._back:
            server_name = self._back.pop()
            lost = [u for u in self._users.values() if u.local and server_name in u.told]
            await self._tell_all(lost[-MOST_INTRODUCED:], server_name)

    async def _introduce(self, room_id: str, server_name: str) -> None:
        """Tell an instance of a room's members, unless it has been told."""
        members = await get_local_members(self._database, room_id, MOST_INTRODUCED)
        users = [self._users[user_id] for user_id in members if user_id in self._users]
        new = [
            user
            for user in users
            if server_name not in user.told and (user.presence != OFFLINE or user.status_msg)
        ]
        for user in new:
            self._servers.pop(user.user_id, None)
            user.told |= {server_name}
        await self._tell_all(new, server_name)

    async def _tell_all(self, users: Iterable[UserPresence], server_name: str) -> None:
        for user in users:
            await self._tell(user, frozenset((server_name,)))

    async def _tell(self, user: UserPresence, servers: frozenset[str]) -> None:
        shown = await self._audience.servers_that_may_see(user.user_id, servers, PRESENCE_SCOPE)
        if shown:
            entry = {"user_id": user.user_id, **user.content(self._clock_ms())}
            entry.setdefault("last_active_ago", 0)
            self._edus.queue_ephemeral(shown, PRESENCE, {"push": [entry]}, user.user_id)

    async def _servers_of(self, user_id: str) -> frozenset[str]:
        now = self._clock_ms()
        known = self._servers.get(user_id)
        if known is None or known[0] < now - SERVERS_FRESH_MS:
            if len(self._servers) > MOST_CACHED:
                self._servers.clear()
            servers = frozenset(await servers_sharing_rooms(self._database, user_id))
            known = self._servers[user_id] = (now, servers)
        return known[1]
