"""Account data.  Spec: client-server API, client config."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from homeserver.errors import InvalidParam, MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.storage import account_data as storage
from homeserver.storage.account_data import (
    GLOBAL,
    PUSH_RULES,
    AccountDataRecord,
    AccountDataRow,
)
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice

MANAGED_BY_SERVER = frozenset({"m.fully_read", PUSH_RULES, "dev.comity.hidden"})
MAX_TYPE_BYTES = 255
CACHED_CONTENTS = 10_000

Key = tuple[str, str, str]


class ManagedByServer(MatrixError):
    """This type of account data is set by other means."""

    errcode, status = "M_BAD_JSON", 405


class Rulesets(Protocol):
    """Whole push rules, of which only deviations are stored."""

    def ruleset(self, user_id: str) -> dict[str, list[JsonObject]]:
        """All rules of a user by kind."""


class AccountDataService:
    """Keeps account data.  What the server itself asks for often is kept in memory."""

    def __init__(self, *, database: Database, log: Log, push_rules: Rulesets) -> None:
        self._database = database
        self._log = log
        self._push_rules = push_rules
        self._cache: OrderedDict[Key, JsonObject | None] = OrderedDict()
        self._changes = 0
        log.subscribe(self._on_notice)

    async def get(self, user_id: str, type_: str, *, room_id: str = GLOBAL) -> JsonObject | None:
        """The content of one type, or None if it was never set."""
        if type_ == PUSH_RULES and room_id == GLOBAL:
            return self._whole_push_rules(user_id)
        key = (user_id, room_id, type_)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        changes = self._changes
        content = await storage.get_account_data(self._database, user_id, room_id, type_)
        if changes == self._changes:
            self._cache[key] = content
            if len(self._cache) > CACHED_CONTENTS:
                self._cache.popitem(last=False)
        return content

    async def put(
        self, user_id: str, type_: str, content: JsonObject, *, room_id: str = GLOBAL
    ) -> None:
        """Set what a client may set.  Raises: :class:`ManagedByServer`."""
        if type_ in MANAGED_BY_SERVER:
            raise ManagedByServer(f"{type_} cannot be set through this endpoint", status=405)
        if not type_ or "\0" in type_ or len(type_.encode()) > MAX_TYPE_BYTES:
            raise InvalidParam(f"A type has between 1 and {MAX_TYPE_BYTES} bytes")
        await self.put_managed(user_id, type_, content, room_id=room_id)

    async def put_managed(
        self, user_id: str, type_: str, content: JsonObject, *, room_id: str = GLOBAL
    ) -> None:
        """Set any type."""
        await self._log.append(AccountDataRecord(user_id, room_id, type_, content))

    async def changes(self, user_id: str, since: int, upto: int) -> Sequence[AccountDataRow]:
        """What a sync has to report: set at ``since < position <= upto``.

        The first sync (``since`` 0) has the push rules in any case: everybody has some.
        """
        rows = await storage.get_changes(self._database, user_id, since, upto)
        changed = {row.type for row in rows if row.room_id == GLOBAL}
        if since > 0 and PUSH_RULES not in changed:
            return rows
        push_rules = self._whole_push_rules(user_id)
        others = [row for row in rows if row.room_id != GLOBAL or row.type != PUSH_RULES]
        return [AccountDataRow(GLOBAL, PUSH_RULES, push_rules, since), *others]

    def _whole_push_rules(self, user_id: str) -> JsonObject:
        return {"global": self._push_rules.ruleset(user_id)}

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, AccountDataRecord):
                self._changes += 1
                self._cache.pop((record.user_id, record.room_id, record.type), None)
