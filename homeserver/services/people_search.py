"""Finding people by name or address: of this instance, and those in a room with the reader.

Who takes no messages from the reader is not found.  Spec: client-server API, user directory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct

from homeserver.protocol.people_words import query_words
from homeserver.storage import people_directory as storage
from homeserver.storage.database import Database
from homeserver.storage.people_directory import Listed

MOST_PAGES = 4  # are read on behalf of one request, when many are hidden from the reader
MOST_FOUND = 1_000


class LookUps(Protocol):
    """Who may look somebody up."""

    async def hidden_from(self, owners: Collection[str], reader: str) -> set[str]:
        """Those of some local users whom a reader may not look up."""


class Found(Struct, frozen=True):
    """A part of what was found; ``next``: where the part after it begins, None at the end."""

    people: Sequence[Listed]
    next: int | None


class PeopleSearch:
    """Finds people."""

    def __init__(self, *, database: Database, look_ups: LookUps) -> None:
        self._database = database
        self._look_ups = look_ups

    async def search(self, reader: str, query: str, *, limit: int, offset: int = 0) -> Found:
        """Whom a reader finds, whole words first."""
        words = query_words(query)
        people: list[Listed] = []
        for _ in range(MOST_PAGES if words else 0):
            wanted = min(limit - len(people), MOST_FOUND - offset)
            if wanted <= 0:
                break
            page = await storage.search(
                self._database, reader, words, limit=wanted + 1, offset=offset
            )
            seen = page[:wanted]
            people += await self._shown(reader, seen)
            offset += len(seen)
            if len(page) <= wanted:
                return Found(people, None)
        return Found(people, offset if words and offset < MOST_FOUND else None)

    async def _shown(self, reader: str, people: Sequence[Listed]) -> list[Listed]:
        owners = [person.user_id for person in people if person.local]
        hidden = await self._look_ups.hidden_from(owners, reader)
        return [person for person in people if person.user_id not in hidden]
