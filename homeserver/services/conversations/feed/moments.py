"""What is of the moment: who types, and who is here.  It is told once, and not again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from homeserver.services.audience import PRESENCE_SCOPE, TYPING_SCOPE
from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.feed.updates import Routed, Update
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.presence import STATE_OF
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.services.conversations.shapes.updates import PresenceChanged, Typing
from homeserver.services.presence_state import UserPresence
from homeserver.storage.database import Database
from homeserver.storage.shared_rooms import rooms_of

logger = structlog.get_logger(__name__)

PRESENCE_SECONDS = 0.5
CHANGES_AT_ONCE = 1_000
REMEMBERED = 50_000
MOST_WATCHERS = 200  # of a conversation: in larger ones everybody's presence would be all there is


class Typists(Protocol):
    """Who types where."""

    def typing_in(self, room_id: str) -> Sequence[str]:
        """Who is typing in a room."""


class Presences(Protocol):
    """How people are."""

    def peek(self, user_id: str) -> UserPresence | None:
        """How somebody is, as far as memory knows."""


class Moments:
    """Tells the feed's readers what is of the moment."""

    def __init__(
        self, *, feed: Feed, database: Database, typists: Typists, presences: Presences
    ) -> None:
        self._feed = feed
        self._database = database
        self._typists = typists
        self._presences = presences
        self._typing: dict[str, set[str]] = {}  # as last told
        self._changed: dict[str, None] = {}
        self._told: OrderedDict[str, tuple[str, str | None]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ------------------------------------------------------------ typing

    def room_changed(self, room_id: str) -> None:
        """Somebody in a room began to type, or stopped."""
        now, before = set(self._typists.typing_in(room_id)), self._typing.pop(room_id, set())
        if now:
            self._typing[room_id] = now
        for user_id in now ^ before:
            shape = Typing(conversation_id=room_id, person=address(user_id), typing=user_id in now)
            self._feed.send(
                Routed(
                    Update(shape),
                    room_id,
                    but_not=(user_id,),
                    owner=user_id,
                    scope=TYPING_SCOPE,
                    is_simple=False,
                )
            )

    # ------------------------------------------------------------ presence

    def presence_changed(self, user_id: str) -> None:
        """Somebody's presence changed: it is told before long."""
        if not self._feed.online:
            return
        self._changed[user_id] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell_presence(), name="feed presence")

    async def _tell_presence(self) -> None:
        while self._changed:
            await asyncio.sleep(PRESENCE_SECONDS)
            changed = list(self._changed)[:CHANGES_AT_ONCE]
            for user_id in changed:
                del self._changed[user_id]
            try:
                rooms = await rooms_of(self._database, changed)
            except Exception:
                logger.exception("presence could not be told")
                continue
            for user_id in changed:
                self._tell(user_id, rooms.get(user_id, ()))

    def _tell(self, user_id: str, room_ids: Iterable[str]) -> None:
        user = self._presences.peek(user_id)
        if user is None or self._told.get(user_id) == (user.presence, user.status_msg):
            return  # nothing but the time has changed
        watchers: set[str] = set()
        for room_id in room_ids:
            readers = self._feed.readers_in(room_id)
            if len(readers) <= MOST_WATCHERS:
                watchers.update(reader.user_id for reader in readers)
        self._told[user_id] = (user.presence, user.status_msg)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        if not watchers:
            return
        shape = PresenceChanged(
            person=address(user_id),
            state=STATE_OF[user.presence],
            text=user.status_msg,
            last_seen_at=rfc3339(user.last_active_at) if user.last_active_at else None,
        )
        self._feed.send(
            Routed(
                Update(shape), users=watchers, owner=user_id, scope=PRESENCE_SCOPE, is_simple=False
            )
        )
