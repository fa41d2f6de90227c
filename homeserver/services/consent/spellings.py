"""Other spellings of consent that stock clients write into account data.

``m.ignored_user_list`` and ``m.invite_permission_config`` (spec: ignoring users, invite
permission), and MSC4155's lists of users and instances in the latter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from homeserver.protocol.events import JsonObject
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import server_name_of
from homeserver.services.consent.scopes import Answer

IGNORED_USER_LIST = "m.ignored_user_list"
INVITE_PERMISSION = ("m.invite_permission_config", "org.matrix.msc4155.invite_permission_config")
SPELLINGS = (IGNORED_USER_LIST, *INVITE_PERMISSION)
CACHED_USERS = 10_000
MAX_PATTERNS = 1_000
NOBODY: frozenset[str] = frozenset()  # always the same, so that it is known again


class AccountData(Protocol):
    """A user's own account data."""

    async def get(self, user_id: str, type_: str) -> JsonObject | None:
        """The content of one type, or None if it was never set."""


class _Filter(Struct, frozen=True):
    """One user's lists: the first that names the inviter decides."""

    blocks_all: bool
    lists: Sequence[tuple[Answer, bool, Sequence[str]]]  # answer, is it of servers, patterns

    def answer(self, inviter: str) -> Answer | None:
        server = server_name_of(inviter)
        for answer, of_servers, patterns in self.lists:
            subject = server if of_servers else inviter
            if any(glob_to_regex(pattern).match(subject) for pattern in patterns):
                return answer
        return Answer.BLOCK if self.blocks_all else None


class Spellings:
    """What a user's account data says of others."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data
        self._ignored: OrderedDict[str, tuple[JsonObject, frozenset[str]]] = OrderedDict()
        self._filters: OrderedDict[tuple[str, str], tuple[JsonObject, _Filter]] = OrderedDict()

    async def invite_answer(self, user_id: str, inviter: str) -> Answer | None:
        """What account data says of an invite; None if it says nothing.

        Who is ignored may invite, which is never shown: spec, ignoring users.  ``M_INVITE_BLOCKED``
        is for those whom somebody blocks.
        """
        ignored = inviter in await self.ignored(user_id)
        for kind in INVITE_PERMISSION:
            content = await self._account_data.get(user_id, kind)
            if content:
                answer = self._filter(user_id, kind, content).answer(inviter)
                if answer is not None and (answer is Answer.BLOCK or not ignored):
                    return answer
        return Answer.HIDE if ignored else None

    async def blocks_invites(self, user_id: str) -> bool:
        """Whether a user takes no invites at all.  Spec: invite permission."""
        content = await self._account_data.get(user_id, INVITE_PERMISSION[0])
        return content is not None and content.get("default_action") == "block"

    async def ignored(self, user_id: str) -> frozenset[str]:
        """The users whom a user ignores.  Spec: ignoring users."""
        content = await self._account_data.get(user_id, IGNORED_USER_LIST)
        if not content:
            return NOBODY
        known = self._ignored.get(user_id)
        if known is not None and known[0] is content:
            return known[1]
        listed = content.get("ignored_users")
        senders = frozenset(listed) - {user_id} if isinstance(listed, dict) else NOBODY
        self._ignored[user_id] = (content, senders)
        if len(self._ignored) > CACHED_USERS:
            self._ignored.popitem(last=False)
        return senders

    def _filter(self, user_id: str, kind: str, content: JsonObject) -> _Filter:
        known = self._filters.get((user_id, kind))
        if known is not None and known[0] is content:
            return known[1]
        parsed = _parse(content)
        self._filters[(user_id, kind)] = (content, parsed)
        if len(self._filters) > CACHED_USERS:
            self._filters.popitem(last=False)
        return parsed


def _parse(content: JsonObject) -> _Filter:
    if content.get("enabled") is False:
        return _Filter(False, ())

    def patterns(name: str) -> Sequence[str]:
        value = content.get(name)
        listed = value if isinstance(value, list) else []
        return [entry for entry in listed[:MAX_PATTERNS] if isinstance(entry, str)]

    lists = [
        (answer, kind == "servers", found)
        for kind in ("users", "servers")
        for word, answer in (
            ("allowed", Answer.ALLOW),
            ("ignored", Answer.HIDE),
            ("blocked", Answer.BLOCK),
        )
        if (found := patterns(f"{word}_{kind}"))
    ]
    return _Filter(content.get("default_action") == "block", lists)
