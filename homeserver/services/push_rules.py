"""Push rules: every user's ruleset, and the requests that change it.

Only what users changed is stored, as account data, and all of it is kept in memory, so that an
event is evaluated without asking the database.  Spec: client-server API, push rules.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from typing import Any
from weakref import WeakValueDictionary

import orjson

from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol import push_rules as rules
from homeserver.protocol.events import JsonObject
from homeserver.protocol.push_rules import (
    DEFAULT_RULESET,
    NO_DEVIATIONS,
    CompiledRuleset,
    InvalidRule,
    PushDeviations,
    RelativeRuleNotFound,
    UnknownRule,
)
from homeserver.storage import account_data as storage
from homeserver.storage.account_data import GLOBAL, PUSH_RULES, AccountDataRecord
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice

DEFAULT = "default"
CACHED_RULESETS = 10_000
NOBODY: frozenset[str] = frozenset()

Change = Callable[[PushDeviations], PushDeviations]


class PushRuleService:
    """Knows who deviates from the default rules, and how."""

    def __init__(self, *, database: Database, log: Log) -> None:
        self._database = database
        self._log = log
        self._deviations: dict[str, bytes] = {}  # as JSON, which takes a tenth of the memory
        self._naming: set[str] = set()
        self._compiled: OrderedDict[bytes, CompiledRuleset] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        log.subscribe(self._on_notice)

    async def start(self) -> None:
        """Read who deviates, and how."""
        for user_id, content in await storage.get_all_push_rules(self._database):
            self._remember(user_id, content)

    # ------------------------------------------------------------ for evaluation

    def ruleset_name(self, user_id: str) -> str:
        """``default`` for whoever has not changed a rule, else the user's own ID."""
        return user_id if user_id in self._deviations else DEFAULT

    def deviating(self, user_ids: Set[str]) -> Set[str]:
        """Those who have changed a rule: each must be looked at by themself."""
        if len(user_ids) < len(self._deviations):
            return {user_id for user_id in user_ids if user_id in self._deviations}
        return self._deviations.keys() & user_ids

    def naming(self, user_ids: Set[str]) -> Set[str]:
        """Those whose rules ask for their display name in the room."""
        return self._naming & user_ids if self._naming else NOBODY

    def compiled(self, ruleset_name: str) -> CompiledRuleset:
        """A ruleset by its name.  Users with the same deviations share one."""
        stored = self._deviations.get(ruleset_name)
        if stored is None:
            return DEFAULT_RULESET
        ruleset = self._compiled.get(stored)
        if ruleset is None:
            ruleset = CompiledRuleset(PushDeviations.from_json(orjson.loads(stored)))
            self._compiled[stored] = ruleset
            if len(self._compiled) > CACHED_RULESETS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(stored)
        return ruleset

    # ------------------------------------------------------------ for clients

    def ruleset(self, user_id: str) -> dict[str, list[JsonObject]]:
        """All rules of a user by kind, the most important first: ``global``."""
        return rules.full_ruleset(self._get(user_id), user_id)

    def rule(self, user_id: str, kind: str, rule_id: str) -> JsonObject:
        """One rule.  Raises: :class:`NotFound`."""
        try:
            return rules.find_rule(self._get(user_id), user_id, kind, rule_id)
        except UnknownRule as error:
            raise NotFound("There is no such push rule") from error

    async def put(
        self,
        user_id: str,
        kind: str,
        rule_id: str,
        body: Mapping[str, Any],
        *,
        before: str | None,
        after: str | None,
    ) -> None:
        """Add a rule of the user's own, or change it.  Raises: :class:`InvalidParam`, ..."""
        await self._change(
            user_id,
            lambda old: rules.put_rule(old, kind, rule_id, body, before=before, after=after),
        )

    async def delete(self, user_id: str, kind: str, rule_id: str) -> None:
        """Remove a rule of the user's own.  Raises: :class:`NotFound`."""
        await self._change(user_id, lambda old: rules.delete_rule(old, kind, rule_id))

    async def set_enabled(self, user_id: str, kind: str, rule_id: str, enabled: bool) -> None:
        """Switch a rule on or off.  Raises: :class:`NotFound`."""
        await self._change(user_id, lambda old: rules.set_enabled(old, kind, rule_id, enabled))

    async def set_actions(self, user_id: str, kind: str, rule_id: str, actions: Any) -> None:
        """Change what a rule does.  Raises: :class:`NotFound`, :class:`InvalidParam`."""
        await self._change(user_id, lambda old: rules.set_actions(old, kind, rule_id, actions))

    # ------------------------------------------------------------ inside

    def _get(self, user_id: str) -> PushDeviations:
        stored = self._deviations.get(user_id)
        if stored is None:
            return NO_DEVIATIONS
        return PushDeviations.from_json(orjson.loads(stored))

    async def _change(self, user_id: str, change: Change) -> None:
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        async with lock:  # one change of a user's rules at a time
            old = self._get(user_id)
            try:
                new = change(old)
            except RelativeRuleNotFound as error:
                raise MatrixError(str(error)) from error
            except InvalidRule as error:
                raise InvalidParam(str(error)) from error
            except UnknownRule as error:
                raise NotFound("There is no such push rule") from error
            if new.to_json() != old.to_json():
                record = AccountDataRecord(user_id, GLOBAL, PUSH_RULES, new.to_json())
                await self._log.append(record)

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, AccountDataRecord) and record.type == PUSH_RULES:
                self._remember(record.user_id, record.content)

    def _remember(self, user_id: str, content: JsonObject) -> None:
        if content == NO_DEVIATIONS.to_json():
            self._deviations.pop(user_id, None)
            self._naming.discard(user_id)
            return
        stored = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        self._deviations[user_id] = stored
        if b'"contains_display_name"' in stored:
            self._naming.add(user_id)
        else:
            self._naming.discard(user_id)
