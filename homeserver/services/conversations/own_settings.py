"""A user's own settings of their conversations: muted, pinned, archived.

Muted is a push rule that silences the room, as Matrix clients make it; pinned is the tag
``m.favourite``, archived ``m.lowpriority``.  A mute that ends has a row, too, by which it is
lifted when its time has come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from msgspec import Struct

from homeserver.errors import InvalidParam, NotFound
from homeserver.services.push_rules import PushRuleService
from homeserver.services.room_tags import TAG, RoomTags
from homeserver.storage import conversations as storage
from homeserver.storage import timed_mutes
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice

PINNED = "m.favourite"
ARCHIVED = "m.lowpriority"
OVERRIDE = "override"
CACHED_USERS = 10_000
LIFTED_AT_ONCE = 200
SILENT: tuple[list[str], ...] = ([], ["dont_notify"])
LATEST_MS = 2**53

NO_TAGS: frozenset[str] = frozenset()


class OwnSettings(Struct, frozen=True):
    """What a user has set of a conversation.  ``muted_until``: in ms; None: until further notice,
    or not muted."""

    muted: bool = False
    muted_until: int | None = None
    pinned: bool = False
    archived: bool = False


class Settings:
    """Reads and changes users' settings."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        room_tags: RoomTags,
        push_rules: PushRuleService,
        clock_ms: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        """``wake``: the worker, which is to look when it is needed next."""
        self._wake = wake
        self._database = database
        self._room_tags = room_tags
        self._push_rules = push_rules
        self._clock_ms = clock_ms
        self._tags: OrderedDict[str, Mapping[str, frozenset[str]]] = OrderedDict()
        self._changes = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        log.subscribe(self._on_notice)

    # ------------------------------------------------------------ reading

    async def of(self, user_id: str) -> Callable[[str], OwnSettings]:
        """A user's settings: a function from the room's ID.  Two queries at most."""
        tags = await self._tags_of(user_id)
        muted = self.muted(user_id)
        until = await timed_mutes.get_mutes(self._database, user_id) if muted else {}

        def settings(room_id: str) -> OwnSettings:
            named = tags.get(room_id, NO_TAGS)
            is_muted = room_id in muted
            return OwnSettings(
                is_muted,
                until.get(room_id) if is_muted else None,
                PINNED in named,
                ARCHIVED in named,
            )

        return settings

    def muted(self, user_id: str) -> frozenset[str]:
        """The rooms that a user has silenced."""
        if self._push_rules.ruleset_name(user_id) != user_id:
            return NO_TAGS
        rules = self._push_rules.ruleset(user_id)[OVERRIDE]
        return frozenset(room for rule in rules if (room := _silenced_room(rule)) is not None)

    async def _tags_of(self, user_id: str) -> Mapping[str, frozenset[str]]:
        known = self._tags.get(user_id)
        if known is not None:
            self._tags.move_to_end(user_id)
            return known
        changes = self._changes
        contents = await storage.get_room_data(self._database, user_id, TAG)
        found = {
            room_id: frozenset(tags) & {PINNED, ARCHIVED}
            for room_id, content in contents.items()
            if isinstance(tags := content.get("tags"), dict)
        }
        if changes == self._changes:
            self._tags[user_id] = found
            if len(self._tags) > CACHED_USERS:
                self._tags.popitem(last=False)
        return found

    # ------------------------------------------------------------ changing

    async def set_muted(self, user_id: str, room_id: str, until: bool | int) -> None:
        """Mute a conversation, for good or until a time in ms, or end it.

        Raises :class:`InvalidParam` for a time that is past.
        """
        if type(until) is int and not self._clock_ms() < until < LATEST_MS:
            raise InvalidParam("'muted' must be true, false, or a time that is to come")
        async with self._lock(user_id):
            if type(until) is int:
                await timed_mutes.set_mute(self._database, user_id, room_id, until)
            else:
                await timed_mutes.delete_mute(self._database, user_id, room_id)
            await self._silence(user_id, room_id, silent=until is not False)
        if type(until) is int:
            self._wake()

    async def set_tag(self, user_id: str, room_id: str, tag: str, wanted: bool) -> None:
        """Give a conversation a tag, or take it away."""
        if wanted:
            await self._room_tags.put(user_id, room_id, tag)
        else:
            await self._room_tags.delete(user_id, room_id, tag)

    async def forget(self, user_id: str, room_id: str) -> None:
        """The conversation is gone: nothing is set of it any longer."""
        await self.set_muted(user_id, room_id, False)
        for tag in (PINNED, ARCHIVED):
            await self.set_tag(user_id, room_id, tag, False)

    async def _silence(self, user_id: str, room_id: str, *, silent: bool) -> None:
        if silent == (room_id in self.muted(user_id)):
            return
        if not silent:
            await self._unsilence(user_id, room_id)
            return
        condition = {"kind": "event_match", "key": "room_id", "pattern": room_id}
        body = {"conditions": [condition], "actions": []}
        await self._push_rules.put(user_id, OVERRIDE, room_id, body, before=None, after=None)
        await self._push_rules.set_enabled(user_id, OVERRIDE, room_id, True)

    async def _unsilence(self, user_id: str, room_id: str) -> None:
        """Remove every rule that silences the room, whoever made it."""
        for rule in self._push_rules.ruleset(user_id)[OVERRIDE]:
            if _silenced_room(rule) == room_id:
                with contextlib.suppress(NotFound):  # another device was faster
                    await self._push_rules.delete(user_id, OVERRIDE, rule["rule_id"])

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, AccountDataRecord) and record.type == TAG:
                self._changes += 1
                self._tags.pop(record.user_id, None)

    # ------------------------------------------------------------ mutes that end

    async def step(self) -> bool:
        """End some of the mutes whose time has come; False if there were none."""
        due = await timed_mutes.get_due(self._database, self._clock_ms(), LIFTED_AT_ONCE)
        for user_id, room_id, until in due:
            async with self._lock(user_id):
                if await timed_mutes.delete_mute(self._database, user_id, room_id, until):
                    await self._silence(user_id, room_id, silent=False)
        return bool(due)

    async def next_due(self) -> int | None:
        """When the next mute ends (ms)."""
        return await timed_mutes.get_next(self._database)


def _silenced_room(rule: Mapping[str, Any]) -> str | None:
    """The room that a rule silences as a whole; None if it is about something else.

    Spec: push rules; clients mute a room by an override rule that is about the room alone.
    """
    conditions = rule.get("conditions")
    if not rule.get("enabled") or rule.get("actions") not in SILENT:
        return None
    if not isinstance(conditions, list) or len(conditions) != 1:
        return None
    condition = conditions[0]
    if condition.get("kind") != "event_match" or condition.get("key") != "room_id":
        return None
    pattern = condition.get("pattern")
    return pattern if isinstance(pattern, str) else None
