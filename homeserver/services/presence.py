"""Presence: who is online, idle or away.  The live state is in memory, the last one on disk.

A version is a moment (ms), as for typing: the part of a sync token that is not durable.  Changes
go to disk and to other instances at most once a second, whatever happens in between.  Those who
come to share a room are told of each other.

Spec: client-server API, presence; server-server API, ``m.presence``.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from homeserver.errors import BadJson, Forbidden
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.audience import EVERYBODY, PRESENCE_SCOPE, Audience, hidden_from
from homeserver.services.outgoing import EduQueue
from homeserver.services.presence_peers import PRESENCE, PresencePeers
from homeserver.services.presence_state import (
    BUSY,
    BUSY_SPELLING,
    OFFLINE,
    ONLINE,
    STATES,
    UNAVAILABLE,
    UserPresence,
)
from homeserver.services.presence_strangers import Strangers
from homeserver.services.values import is_compliant_user_id, is_integer
from homeserver.storage import presence as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord, MembershipChange
from homeserver.storage.log import Notice
from homeserver.storage.shared_rooms import sharing_rooms, sharing_with_us

logger = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
MAX_STATUS = 1_000
MAX_PUSH = 1_000
MAX_USERS = 50_000
MAX_PER_SYNC = 5_000
MOST_ENTERED = 10_000  # users who came into rooms, and are told of those in there
ROOMS_ENTERED = 50  # of each, the last
COUNT_EVERY_MS = 1_000


class PresenceService:
    """Keeps everybody's presence; ``on_change`` is called with the user's ID."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        edus: EduQueue,
        clock_ms: Callable[[], int],
        enabled: bool = True,
        on_change: Callable[[str], None] = lambda _: None,
        audience: Audience = EVERYBODY,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._clock_ms = clock_ms
        self.enabled = enabled
        self.on_change = on_change
        self._audience = audience
        self._users: OrderedDict[str, UserPresence] = OrderedDict()  # the last changed last
        self._watched: set[str] = set()  # who may change by the passing of time
        self._unstored: set[str] = set()
        self._strangers = Strangers()
        self._entered: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()
        """Who came into which rooms, at which version."""
        self.peers = PresencePeers(
            database=database, edus=edus, audience=audience, users=self._users, clock_ms=clock_ms
        )
        self._counted: tuple[int, Counter[str]] = (-COUNT_EVERY_MS, Counter())
        self._task: asyncio.Task[None] | None = None
        self.version = clock_ms()
        """The moment of the last change of anybody's presence."""

    async def start(self) -> None:
        """Begin to watch for idleness."""
        if self.enabled:
            self._task = asyncio.create_task(self._run(), name="presence")

    async def close(self) -> None:
        """Stop, and store what is not stored yet."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            await self._store()

    # ------------------------------------------------------------ our users

    async def set_status(self, user_id: str, presence: str, status_msg: str | None) -> None:
        """A user says how they are.  Spec: ``PUT /presence/{userId}/status``.

        Raises :class:`BadJson`.
        """
        presence = BUSY if presence == BUSY_SPELLING else presence
        if presence not in STATES:
            raise BadJson(f"'presence' must be one of {', '.join(STATES)}")
        _check_text(status_msg)
        if self.enabled:
            user = await self._load(user_id)
            user.seen_at = self._clock_ms()
            self._update(user, user.set(presence, status_msg, self._clock_ms()))

    async def status_text(self, user_id: str) -> str | None:
        """The text beside a user's presence."""
        return (await self._load(user_id)).status_msg if self.enabled else None

    async def set_status_text(self, user_id: str, status_msg: str | None) -> None:
        """Change the text alone.  Raises :class:`BadJson`."""
        _check_text(status_msg)
        if self.enabled:
            user = await self._load(user_id)
            self._update(user, user.set_text(status_msg))

    @contextmanager
    def syncing(self, user_id: str, set_presence: str = ONLINE) -> Iterator[None]:
        """A sync of the user's is under way.  Spec: ``set_presence`` of ``GET /sync``."""
        if not self.enabled or set_presence == OFFLINE:
            yield
            return
        user = self.connect(user_id, set_presence)
        try:
            yield
        finally:
            self.disconnect(user)

    def connect(self, user_id: str, set_presence: str = ONLINE) -> UserPresence:
        """A device of the user's is here until :meth:`disconnect`."""
        user = self._users.get(user_id) or self._new(user_id)
        user.syncs += 1
        self._update(user, user.sync_began(set_presence, self._clock_ms()))
        return user

    def disconnect(self, user: UserPresence) -> None:
        """The device that :meth:`connect` was called for is gone."""
        user.syncs -= 1
        user.seen_at = self._clock_ms()

    def active(self, user_id: str) -> None:
        """The user did something, such as sending a message."""
        user = self._users.get(user_id)
        if self.enabled and user is not None:
            self._update(user, user.act(self._clock_ms()))

    def profile_changed(self, user_id: str, profile: JsonObject) -> None:
        """A user of ours has another name or avatar; who is offline has nobody told by this.

        Spec: client-server API, events on change of profile information.
        """
        user = self._users.get(user_id)
        if self.enabled and user is not None and user.presence != OFFLINE:
            user.profile = profile
            self._update(user, True)

    async def forget(self, user_id: str) -> None:
        """Keep nothing of a user whose account has ended; what is stored is deleted elsewhere."""
        self._users.pop(user_id, None)
        for users in (self._watched, self._unstored):
            users.discard(user_id)
        self._entered.pop(user_id, None)
        self.peers.forget(user_id)

    # ------------------------------------------------------------ rooms

    def on_notice(self, notice: Notice) -> None:
        """See who came into a room."""
        if not self.enabled:
            return
        for _, record in notice.records:
            if isinstance(record, EventRecord):
                for change in record.memberships:
                    self._moved(change)

    def _moved(self, change: MembershipChange) -> None:
        user_id, came = change.user_id, change.membership == "join"
        if came:
            self._strangers.somebody_came()
        if not change.local:
            if came:
                self.peers.met(change.room_id, server_name_of(user_id))
            return
        self.peers.moved(user_id)
        if not came:
            return
        user = self._users.get(user_id)
        if user is not None and (user.presence != OFFLINE or user.status_msg):
            self._update(user, True)  # there may be others who do not know
        self.version = max(self.version + 1, self._clock_ms())
        rooms = self._entered.setdefault(user_id, OrderedDict())
        rooms.pop(change.room_id, None)
        rooms[change.room_id] = self.version
        self._entered.move_to_end(user_id)
        if len(rooms) > ROOMS_ENTERED:
            rooms.popitem(last=False)
        if len(self._entered) > MOST_ENTERED:
            self._entered.popitem(last=False)

    # ------------------------------------------------------------ other instances

    async def receive(self, origin: str, content: JsonObject) -> None:
        """Apply an ``m.presence`` EDU, as far as its users share a room with ours."""
        push = content.get("push")
        if not self.enabled or not isinstance(push, list):
            return
        entries = {
            entry["user_id"]: entry
            for entry in push[:MAX_PUSH]
            if _is_push_entry(entry) and server_name_of(entry["user_id"]) == origin
        }
        strangers = [user_id for user_id in entries if user_id not in self._users]
        known = await sharing_with_us(self._database, strangers) if strangers else set()
        for user_id, entry in entries.items():
            if user_id in known or user_id in self._users:
                self._hear(user_id, entry)
            else:
                self._strangers.put(user_id, entry, self._clock_ms())

    def _hear(self, user_id: str, entry: JsonObject) -> None:
        user = self._users.get(user_id) or self._new(user_id)
        self._update(user, user.hear(entry, self._clock_ms()))

    async def _meet_strangers(self) -> None:
        """Take in what was said of users before they shared a room with ours."""
        asked = self._strangers.to_look_at(self._clock_ms())
        known = await sharing_with_us(self._database, asked) if asked else set()
        for user_id in known:
            entry = self._strangers.take(user_id)
            if entry is not None:
                self._hear(user_id, entry)

    # ------------------------------------------------------------ reading

    def peek(self, user_id: str) -> UserPresence | None:
        """How somebody is, as far as memory knows, for whoever may see it."""
        return self._users.get(user_id)

    def event(self, user_id: str) -> JsonObject | None:
        """A user's ``m.presence`` event, as far as memory knows, for whoever may see it."""
        user = self._users.get(user_id)
        if user is None or not self.enabled:
            return None
        content = user.event_content(self._clock_ms())
        return {"type": PRESENCE, "sender": user_id, "content": content}

    async def get(self, reader: str, user_id: str) -> JsonObject:
        """A user's presence.  Spec: ``GET /presence/{userId}/status``.

        Raises :class:`Forbidden` for who shares no room with the reader.
        """
        if reader != user_id and not await sharing_rooms(self._database, reader, [user_id]):
            raise Forbidden("You share no room with this user, so you may not see their presence")
        if not self.enabled or not await self._audience.may_see(user_id, reader, PRESENCE_SCOPE):
            return {"presence": OFFLINE}
        user = await self._load(user_id)
        return user.content(self._clock_ms())

    async def presence_since(self, reader: str, version: int) -> list[JsonObject]:
        """``m.presence`` events of who shares a room with the reader, newer than a version.

        For a version of 0, an initial sync, those who are offline are left out.
        """
        if not self.enabled or version >= self.version:
            return []
        changed: dict[str, UserPresence] = {}
        for user_id in reversed(self._users):
            user = self._users[user_id]
            if user.version <= version or len(changed) >= MAX_PER_SYNC:
                break
            if version > 0 or user.presence != OFFLINE:
                changed[user_id] = user
        if version > 0 and reader in self._entered:
            changed.update(await self._met_since(reader, version))
        others = [user_id for user_id in changed if user_id != reader]
        shown = await sharing_rooms(self._database, reader, others) if others else set()
        if self._audience.any_restricts(PRESENCE_SCOPE):
            shown -= await hidden_from(self._audience, reader, shown, PRESENCE_SCOPE)
        now = self._clock_ms()
        return [
            {"type": PRESENCE, "sender": user_id, "content": user.event_content(now)}
            for user_id, user in changed.items()
            if user_id in shown or user_id == reader
        ]

    async def _met_since(self, reader: str, version: int) -> dict[str, UserPresence]:
        """Who is in the rooms that a reader came into since a version, and not offline."""
        rooms = [room_id for room_id, at in self._entered[reader].items() if at > version]
        if not rooms:
            return {}
        members = await storage.get_members(self._database, rooms, MAX_PER_SYNC)
        users = [self._users[user_id] for user_id in members if user_id in self._users]
        return {user.user_id: user for user in users if user.presence != OFFLINE}

    async def states(self, reader: str, user_ids: Sequence[str]) -> dict[str, UserPresence]:
        """How those of some users are whom a reader may see: one statement for all of them.

        Beside those who share a room with the reader these are local users whose contact the
        reader is; to whom they show themselves is theirs to say.
        """
        if not self.enabled:
            return {}
        rows = await storage.get_seen_by(self._database, reader, user_ids)
        near = [u for u in user_ids if u == reader or (u in rows and rows[u].near)]
        hidden = await hidden_from(self._audience, reader, near, PRESENCE_SCOPE)
        found: dict[str, UserPresence] = {}
        for user_id in near:
            if user_id not in hidden:
                user = self._users.get(user_id) or self._new(user_id)
                if not user.recalled:
                    user.recall(rows[user_id].last if user_id in rows else None)
                found[user_id] = user
        return found

    def count(self) -> Counter[str]:
        """How many local users are in each state but offline; who hides is not counted."""
        now = self._clock_ms()
        if now - self._counted[0] >= COUNT_EVERY_MS:
            counts = Counter(
                user.presence
                for user_id, user in self._users.items()
                if user.local
                and user.presence != OFFLINE
                and not self._audience.restricts(PRESENCE_SCOPE, user_id)
            )
            self._counted = (now, counts)
        return self._counted[1]

    # ------------------------------------------------------------ state

    def _new(self, user_id: str) -> UserPresence:
        local = server_name_of(user_id) == self._server_name
        user = self._users[user_id] = UserPresence(user_id, local)
        self._users.move_to_end(user_id, last=False)
        while len(self._users) > MAX_USERS:
            oldest = next((u for u in self._users.values() if u.idle), None)
            if oldest is None or oldest is user:
                break
            del self._users[oldest.user_id]
        return user

    async def _load(self, user_id: str) -> UserPresence:
        user = self._users.get(user_id)
        if user is not None:
            if not user.recalled:
                await self._recall([user])
            return user
        user = self._new(user_id)
        await self._recall([user])
        return user

    async def _recall(self, users: list[UserPresence]) -> None:
        """Take in what is on disk of users who said nothing since the server started."""
        rows = await storage.get_presence(self._database, [user.user_id for user in users])
        for user in users:
            if not user.recalled:
                user.recall(rows.get(user.user_id))

    def _update(self, user: UserPresence, changed: bool) -> None:
        if user.presence != OFFLINE:
            self._watched.add(user.user_id)
        if not changed:
            return
        self.version = max(self.version + 1, self._clock_ms())
        user.version = self.version
        self._users[user.user_id] = user
        self._users.move_to_end(user.user_id)
        self._unstored.add(user.user_id)
        if user.local:
            self.peers.changed(user.user_id)
        self.on_change(user.user_id)

    # ------------------------------------------------------------ as time passes

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self.sweep()
                await self._meet_strangers()
                await self._send()
                await self._store()
            except Exception:
                logger.exception("presence sweep failed")

    def sweep(self) -> None:
        """Let time do its work: idle users become unavailable, absent ones offline."""
        now = self._clock_ms()
        for user_id in list(self._watched):
            user = self._users.get(user_id)
            if user is not None:
                self._update(user, user.pass_time(now))
                self.peers.pass_time(user, now)
            if user is None or user.presence == OFFLINE:
                self._watched.discard(user_id)

    async def _send(self) -> None:
        changed = [self._users[user_id] for user_id in self._unstored if user_id in self._users]
        if strangers := [user for user in changed if not user.recalled]:
            await self._recall(strangers)
        await self.peers.tell()

    async def _store(self) -> None:
        unstored, self._unstored = self._unstored, set()
        users = [self._users[user_id] for user_id in sorted(unstored) if user_id in self._users]
        if users:
            rows = [
                storage.PresenceRow(u.user_id, u.presence, u.status_msg, u.last_active_at)
                for u in users
            ]
            await storage.put_presence(self._database, rows)


def _check_text(status_msg: str | None) -> None:
    if status_msg is not None and (len(status_msg) > MAX_STATUS or "\0" in status_msg):
        raise BadJson(f"A status may have at most {MAX_STATUS} characters")


def _is_push_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not is_compliant_user_id(entry.get("user_id")):
        return False
    status_msg = entry.get("status_msg")
    if status_msg is not None and not isinstance(status_msg, str):
        return False
    return entry.get("presence") in (ONLINE, UNAVAILABLE, OFFLINE) and is_integer(
        entry.get("last_active_ago", 0)
    )
