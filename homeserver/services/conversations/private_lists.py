"""What users keep in their account data: notes on contacts, and whom they ignore.

Changes of one user's go one after the other.  Spec: client-server API, ignoring users.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from homeserver.errors import InvalidParam
from homeserver.services.account_data import AccountDataService
from homeserver.services.consent.spellings import IGNORED_USER_LIST

CONTACTS = "dev.comity.contacts"
MOST_NOTES = 5_000


class PrivateLists:
    """Reads and changes them."""

    def __init__(self, account_data: AccountDataService) -> None:
        self._account_data = account_data
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # ------------------------------------------------------------ notes

    async def notes(self, owner: str) -> dict[str, str]:
        """User ID -> the owner's note on them."""
        notes = _object(await self._account_data.get(owner, CONTACTS), "notes")
        return {user_id: note for user_id, note in notes.items() if isinstance(note, str)}

    async def set_note(self, owner: str, user_id: str, note: str | None) -> None:
        """Write a note on somebody; None or an empty one takes it away."""

        def change(content: dict[str, Any]) -> dict[str, Any]:
            notes = dict(_object(content, "notes"))
            notes.pop(user_id, None)
            if note:
                notes[user_id] = note
            if len(notes) > MOST_NOTES:
                raise InvalidParam(f"There may be notes on {MOST_NOTES} people")
            return {**content, "notes": notes}

        if (await self.notes(owner)).get(user_id) != (note or None):
            await self._change(owner, CONTACTS, change)

    # ------------------------------------------------------------ whom they ignore

    async def set_ignored(self, owner: str, user_id: str, ignored: bool) -> None:
        """Ignore somebody, or no longer."""

        def change(content: dict[str, Any]) -> dict[str, Any]:
            users = dict(_object(content, "ignored_users"))
            if ignored:
                users.setdefault(user_id, {})
            else:
                users.pop(user_id, None)
            return {**content, "ignored_users": users}

        await self._change(owner, IGNORED_USER_LIST, change)

    async def _change(
        self, owner: str, type_: str, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        lock = self._locks.setdefault(owner, asyncio.Lock())
        async with lock:
            before = await self._account_data.get(owner, type_) or {}
            after = change(dict(before))
            if after != before:
                await self._account_data.put_managed(owner, type_, after)


def _object(content: Any, key: str) -> dict[str, Any]:
    """A part of account data, whatever clients wrote there."""
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, dict) else {}
