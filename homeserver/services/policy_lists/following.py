"""Follows policy rooms: joins them, and reads their rules whenever they change.

One task per list: join, read, wait until something happens in the room; after a failure wait a
while.  What was read is compared with the room's state in memory, so that only new rules are
loaded, and a state that was resolved anew is followed like any other change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.events import StateKey
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.policy_rules import KIND_OF_TYPE, PolicyRule, parse_rule
from homeserver.services.event_store import EventStore
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy_lists.entries import Key, Wanted
from homeserver.services.policy_lists.lists import PolicyLists
from homeserver.services.policy_lists.policy_list import PolicyList
from homeserver.services.policy_lists.service_account import ServiceAccount
from homeserver.services.rooms import Rooms
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice

logger = structlog.get_logger(__name__)

MAX_RULES = 50_000
BATCH = 1_000
SETTLING_SECONDS = 0.2  # what comes at once is read at once
FIRST_RETRY_SECONDS = 30.0
LONGEST_RETRY_SECONDS = 3_600.0
NAME: StateKey = ("m.room.name", "")
TOMBSTONE: StateKey = ("m.room.tombstone", "")


class Joins(Protocol):
    """Entering and leaving rooms."""

    async def join(self, user_id: UserId, room_id: str, *, servers: Sequence[str] = ()) -> None:
        """Join a local user to a room, through one of the servers if need be."""

    async def leave(self, user_id: UserId, room_id: str) -> None:
        """Leave a room."""


class Aliases(Protocol):
    """Finding rooms."""

    async def resolve(
        self, room_id_or_alias: str, servers: Sequence[str] = ()
    ) -> tuple[str, list[str]]:
        """A room ID, and instances to ask."""


class Following:
    """Keeps the followed lists as their rooms have them."""

    def __init__(
        self,
        *,
        lists: PolicyLists,
        account: ServiceAccount,
        rooms: Rooms,
        store: EventStore,
        joins: Joins,
        aliases: Aliases,
    ) -> None:
        self._lists = lists
        self._account = account
        self._rooms = rooms
        self._store = store
        self._joins = joins
        self._aliases = aliases
        self._followers: dict[str, _Follower] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._invited = asyncio.Event()

    async def start(self) -> None:
        """Begin to follow the lists that are configured, and leave the others' rooms."""
        followed = [found for found in self._lists.all() if not found.row.imported]
        for policy_list in followed:
            self._tasks.append(
                asyncio.create_task(self._keep(policy_list), name=f"list {policy_list.row.name}")
            )
        if self._lists.unfollowed_rooms:
            still = {found.row.room_id for found in followed}
            rooms = [room for room in self._lists.unfollowed_rooms if room not in still]
            self._tasks.append(asyncio.create_task(self._leave(rooms), name="unfollowed lists"))

    async def close(self) -> None:
        """Stop following; nothing is lost."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def on_notice(self, notice: Notice) -> None:
        """Listens to the log: something happened in a room that is followed, or may be now."""
        if not self._tasks:
            return
        for _, record in notice.records:
            if not isinstance(record, EventRecord):
                continue
            follower = self._followers.get(record.event.room_id)
            if follower is not None:
                follower.notice(record)
            elif record.event.state_key == self._account.user_id:
                waiting, self._invited = self._invited, asyncio.Event()
                waiting.set()

    async def _leave(self, room_ids: Sequence[str]) -> None:
        for room_id in room_ids:
            try:
                await self._joins.leave(self._account.user_id, room_id)
            except MatrixError as error:
                logger.warning("could not leave a list", room_id=room_id, reason=error.text)

    # ------------------------------------------------------------ one list

    async def _keep(self, policy_list: PolicyList) -> None:
        retry = FIRST_RETRY_SECONDS
        while True:
            follower, seconds = None, retry
            try:
                follower = await self._enter(policy_list)
                problem = await follower.read()
                await self._lists.note(policy_list, title=follower.title, problem=problem)
                retry = FIRST_RETRY_SECONDS
                seconds = LONGEST_RETRY_SECONDS
            except MatrixError as error:
                await self._failed(policy_list, error.text)
            except Exception:
                logger.exception("list could not be followed", list=policy_list.row.name)
                await self._failed(policy_list, "Something went wrong; it has been logged")
            if follower is None:
                retry = min(retry * 2, LONGEST_RETRY_SECONDS)
            await self._wait(policy_list.row.room_id, seconds)

    async def _failed(self, policy_list: PolicyList, problem: str) -> None:
        if problem != policy_list.row.problem:
            logger.warning("list is not followed", list=policy_list.row.name, reason=problem)
        try:
            await self._lists.note(policy_list, problem=problem)
        except Exception:
            logger.exception("a list's problem could not be stored")

    async def _wait(self, room_id: str | None, seconds: float) -> None:
        """Until something happens in the room, or for so long."""
        follower = self._followers.get(room_id or "")
        if follower is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._invited.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await follower.moved.wait()
            await asyncio.sleep(SETTLING_SECONDS)
        follower.moved.clear()

    async def _enter(self, policy_list: PolicyList) -> _Follower:
        """The room of a list, joined."""
        user_id = await self._account.ensure()
        room_id = policy_list.row.room_id
        room = await self._rooms.find(room_id) if room_id is not None else None
        if room is None or not room.is_joined(user_id) or TOMBSTONE in room.state:
            room = await self._find(policy_list, user_id)
        follower = self._followers.get(room.room_id)
        if follower is None:
            follower = _Follower(self._lists, policy_list, self._rooms, self._store, room.room_id)
            self._followers = {
                known: other
                for known, other in self._followers.items()
                if other.policy_list is not policy_list
            }
            self._followers[room.room_id] = follower
        await self._lists.note(policy_list, room_id=room.room_id, problem=policy_list.row.problem)
        return follower

    async def _find(self, policy_list: PolicyList, user_id: UserId) -> LiveRoom:
        """Look for the list's room, and join it."""
        settings = policy_list.settings
        room_id, servers = await self._aliases.resolve(settings.room, list(settings.via))
        await self._joins.join(user_id, room_id, servers=servers)
        room = await self._rooms.get(room_id)
        if not room.is_joined(user_id):
            raise MatrixError(f"{user_id} could not join the list's room")
        return room


class _Follower:
    """What has been read of one list's room."""

    def __init__(
        self,
        lists: PolicyLists,
        policy_list: PolicyList,
        rooms: Rooms,
        store: EventStore,
        room_id: str,
    ) -> None:
        self.policy_list = policy_list
        self.moved = asyncio.Event()
        self.title = policy_list.row.title
        self._lists = lists
        self._rooms = rooms
        self._store = store
        self._room_id = room_id
        self._rules: dict[StateKey, tuple[str, PolicyRule | None]] = {}
        self._redacted: set[str] = set()

    def notice(self, record: EventRecord) -> None:
        """Something was committed in the room."""
        if record.redacts is not None:
            self._redacted.add(record.redacts)
        self.moved.set()

    async def read(self) -> str | None:
        """Read what is new; what the admin ought to know, if anything is wrong."""
        room = await self._rooms.get(self._room_id)
        await self._read_rules(room)
        await room.load_events(self._store, (NAME, TOMBSTONE))
        name = room.content(NAME).get("name")
        self.title = name[:255].replace("\0", "") if isinstance(name, str) else ""
        rules = sorted((key, rule) for key, (_, rule) in self._rules.items() if rule is not None)
        wanted: dict[Key, Wanted] = {}
        for _, rule in rules:
            if rule.kind in self.policy_list.settings.kinds and len(wanted) < MAX_RULES:
                wanted.setdefault(rule.key, Wanted(rule))
        await self._lists.follow(self.policy_list, wanted)
        return self._problem(room, len(rules))

    async def _read_rules(self, room: LiveRoom) -> None:
        """Load the rules whose events are not those that we know."""
        redacted, self._redacted = self._redacted, set()
        state = {key: event_id for key, event_id in room.state.items() if key[0] in KIND_OF_TYPE}
        self._rules = {
            key: known
            for key, known in self._rules.items()
            if state.get(key) == known[0] and known[0] not in redacted
        }
        new = [key for key in state if key not in self._rules]
        for start in range(0, len(new), BATCH):
            keys = new[start : start + BATCH]
            found = await self._store.get_many([state[key] for key in keys])
            for key in keys:
                stored = found.get(state[key])
                if stored is None:
                    continue
                rule = None
                if stored.redacted_by is None:
                    rule = parse_rule(stored.event.type, stored.event.content)
                self._rules[key] = (state[key], rule)

    def _problem(self, room: LiveRoom, count: int) -> str | None:
        if TOMBSTONE in room.state:
            other = room.content(TOMBSTONE).get("replacement_room")
            return f"The room was replaced by {str(other)[:255]}: follow that one instead"
        if count > MAX_RULES:
            return f"It has {count} rules, of which the first {MAX_RULES} are used"
        return None
