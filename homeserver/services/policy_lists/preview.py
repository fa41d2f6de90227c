"""What a draft would change, before it does: who would be cut off from whom."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec import Struct

from homeserver.protocol.globs import glob_to_regex, is_glob
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.policy_rules import KINDS, SERVER, USER, matches_everything
from homeserver.protocol.server_names import host_of
from homeserver.services.policy_lists.policy_list import PolicyList
from homeserver.storage import policy_impact as storage
from homeserver.storage.database import Database
from homeserver.storage.policy_impact import Impact
from homeserver.storage.policy_lists import EntryRow

MOST_MATCHES = 20_000  # users or rooms looked at, for globs
MOST_SHOWN = 500


class Consequence(Struct, frozen=True):
    """One entry of a draft, and what it touches here."""

    entry: EntryRow
    action: str
    impact: Impact
    warning: str = ""


class Preview(Struct, frozen=True):
    """A draft: what it touches, the most first; ``omitted`` are not shown."""

    draft_id: str
    consequences: Sequence[Consequence]
    omitted: int
    added: int
    removed: int
    total: Impact


class Previews:
    """Works out what drafts would change."""

    def __init__(self, *, server_name: str, account: str, database: Database) -> None:
        """``account``: the one that follows lists, and so shares rooms with whom they name."""
        self._server_name = server_name
        self._account = account
        self._database = database

    async def preview(self, policy_list: PolicyList) -> Preview:
        """What a list's draft touches, entry by entry and in all."""
        draft = policy_list.draft()
        impacts, total = await self._impacts(draft)
        consequences = [
            Consequence(
                entry,
                policy_list.action_of(entry),
                impacts.get(entry.key, Impact()),
                self._warning(entry),
            )
            for entry in draft
        ]
        consequences.sort(key=_weight, reverse=True)
        added = sum(entry.wanted for entry in draft)
        return Preview(
            policy_list.draft_id(),
            consequences[:MOST_SHOWN],
            max(0, len(consequences) - MOST_SHOWN),
            added,
            len(draft) - added,
            total,
        )

    def _warning(self, entry: EntryRow) -> str:
        if entry.kind == SERVER and _matches_server(entry.entity, self._server_name):
            return "it names this server, and will not be applied"
        if matches_everything(entry.entity):
            return "it matches everything"
        if entry.kind == USER and server_name_of(entry.entity) == self._server_name:
            if is_glob(entry.entity):
                return "its wildcards do not reach this server's own users"
            return "it is a user of this server"
        return ""

    async def _impacts(
        self, draft: Iterable[EntryRow]
    ) -> tuple[dict[tuple[str, str], Impact], Impact]:
        """By entry, and in all: what several entries touch counts once there, but for rooms' users
        whom entries of several kinds touch."""
        by_kind: dict[str, list[EntryRow]] = {kind: [] for kind in KINDS}
        for entry in draft:
            by_kind[entry.kind].append(entry)
        found: dict[tuple[str, str], Impact] = {}
        total = Impact()
        for kind, entries in by_kind.items():
            pairs = await self._pairs(kind, entries)
            counted = await storage.get_impacts(self._database, kind, pairs, besides=self._account)
            found.update({entries[number].key: impact for number, impact in counted.items()})
            everyone = [(0, name) for name in {name for _, name in pairs}]
            together = await storage.get_impacts(
                self._database, kind, everyone, besides=self._account
            )
            _add(total, together.get(0, Impact()))
        return found, total

    async def _pairs(self, kind: str, entries: Sequence[EntryRow]) -> list[tuple[int, str]]:
        """An entry's number and each name known here that it matches."""
        globs = [entry.entity for entry in entries if is_glob(entry.entity)]
        patterns = [storage.like_pattern(glob) for glob in globs]
        if kind == SERVER:
            names = await storage.get_known_servers(self._database)
        elif kind == USER:
            names = await storage.get_known_users(self._database, patterns, MOST_MATCHES)
            names = [name for name in names if server_name_of(name) != self._server_name]
        else:
            names = await storage.get_known_rooms(self._database, patterns, MOST_MATCHES)
        # thousands of globs against thousands of names: not in the event loop
        return await asyncio.to_thread(_pairs, [entry.entity for entry in entries], kind, names)


def _pairs(entities: Sequence[str], kind: str, names: Sequence[str]) -> list[tuple[int, str]]:
    by_name: dict[str, list[str]] = {}
    for name in names if kind == SERVER else ():
        for spelling in {name.lower(), host_of(name.lower())}:
            by_name.setdefault(spelling, []).append(name)
    pairs: list[tuple[int, str]] = []
    for number, entity in enumerate(entities):
        if is_glob(entity):
            matches = _matches_server if kind == SERVER else _matches
            pairs += [(number, name) for name in names if matches(entity, name)]
        elif kind == SERVER:
            pairs += [(number, name) for name in by_name.get(entity, ())]
        else:
            pairs.append((number, entity))
    return pairs


def _matches(glob: str, name: str) -> bool:
    return glob_to_regex(glob).match(name) is not None


def _matches_server(glob: str, name: str) -> bool:
    if not is_glob(glob):
        return glob in (name.lower(), host_of(name.lower()))
    pattern = glob_to_regex(glob)
    return bool(pattern.match(name.lower()) or pattern.match(host_of(name.lower())))


def _weight(consequence: Consequence) -> tuple[bool, int, int, int]:
    impact = consequence.impact
    return bool(consequence.warning), impact.users, impact.contacts, impact.requests


def _add(total: Impact, impact: Impact) -> None:
    total.users += impact.users
    total.rooms += impact.rooms
    total.contacts += impact.contacts
    total.requests += impact.requests
