"""One list: how the admin wants it, what it says, what of it is in effect."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from msgspec import Struct, field

from homeserver.protocol.policy_rules import KINDS
from homeserver.services.policy_lists.entries import BLOCK, Change, Key
from homeserver.storage.policy_lists import EntryRow, ListRow

FIRST, EVERY, NEVER = "first", "every", "never"


class ListSettings(Struct, frozen=True):
    """How a list is used: ``policy.lists`` of the configuration, or the defaults for an import."""

    room: str = ""  # an alias or a room ID
    via: Sequence[str] = ()
    action: str = BLOCK
    kinds: Collection[str] = KINDS
    approve: str = FIRST
    acl: bool = False

    @classmethod
    def parse(cls, item: dict[str, Any]) -> ListSettings:
        """One of ``policy.lists``, whose schema has checked it."""
        return cls(**{**item, "room": item["room"].strip()})


class PolicyList(Struct):
    """A list in memory; :class:`~homeserver.services.policy_lists.lists.PolicyLists` changes it."""

    row: ListRow
    settings: ListSettings
    entries: dict[Key, EntryRow] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """How a block names it: ``list:<room ID>`` or ``csv:<name>``."""
        if self.row.imported:
            return f"csv:{self.row.name}"
        return f"list:{self.row.room_id or self.row.name}"

    @property
    def shown_name(self) -> str:
        """The room's own name, or what the admin calls it."""
        return self.row.title or self.row.name

    @property
    def at_once(self) -> bool:
        """Whether changes come into effect without the admin's word."""
        approve = self.settings.approve
        first_done = self.row.applied_at is not None
        return approve == NEVER or (approve == FIRST and first_done and not self.row.imported)

    def action_of(self, entry: EntryRow) -> str:
        """What an entry is for: block, flag or allow."""
        return entry.action or self.settings.action

    def draft(self) -> list[EntryRow]:
        """What waits for the admin's word."""
        return [entry for entry in self.entries.values() if entry.in_draft]

    def in_effect(self) -> Iterator[EntryRow]:
        """What is applied."""
        return (entry for entry in self.entries.values() if entry.applied)

    def draft_id(self) -> str:
        """A name for the draft as it is now: another draft has another."""
        lines = sorted(
            f"{entry.kind}\0{entry.entity}\0{entry.action}\0{entry.wanted}"
            for entry in self.draft()
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def take(self, change: Change) -> None:
        """Keep a change that has been stored."""
        self.entries.update({entry.key: entry for entry in change.saved})
        for key in change.gone:
            self.entries.pop(key, None)
