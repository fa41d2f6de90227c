"""How old accounts are: ours as they were made, others since they were first seen here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from homeserver.protocol.identifiers import server_name_of
from homeserver.services.background_batches import BackgroundBatches
from homeserver.storage import accounts as account_storage
from homeserver.storage import first_seen as storage
from homeserver.storage.database import Database

REMEMBERED = 50_000


class _Sighting(Struct, frozen=True):
    user_id: str
    at: int  # ms
    comes: bool  # into a room or with an invite: was not here before


class AccountAges:
    """Notes who is seen for the first time, without making anybody wait, and answers since when.

    The age of an account elsewhere is its server's secret.  What is known is when something of it
    first came here; for those who were in a room before we joined it, the time of their membership
    as their server gave it.
    """

    def __init__(self, *, server_name: str, database: Database) -> None:
        self._server_name = server_name
        self._database = database
        self._noted: OrderedDict[str, None] = OrderedDict()
        self._created_at: OrderedDict[str, int] = OrderedDict()
        self._sightings = BackgroundBatches[_Sighting]("first_seen", self._write)

    def note(self, user_id: str, at: int, *, comes: bool) -> None:
        """A user of another instance sent something."""
        if user_id in self._noted:
            return
        self._noted[user_id] = None
        if len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
        self._sightings.add(_Sighting(user_id, at, comes))

    async def created_at(self, user_id: str) -> int | None:
        """When an account was made, or first seen here, in ms; None if nothing is known."""
        found = self._created_at.get(user_id)
        if found is not None:
            return found
        if server_name_of(user_id) == self._server_name:
            account = await account_storage.get_account(self._database, user_id)
            found = account.created_at if account is not None else None
        else:
            await self._sightings.flush()
            found = await storage.get_seen_at(self._database, user_id)
        if found is not None:
            self._created_at[user_id] = found
            if len(self._created_at) > REMEMBERED:
                self._created_at.popitem(last=False)
        return found

    async def close(self) -> None:
        """Write what is not written yet."""
        await self._sightings.close()

    async def _write(self, sightings: Sequence[_Sighting]) -> None:
        """Those who come first: whoever is then in a room was there before."""
        for comes, insert in ((True, storage.insert_newcomers), (False, storage.insert_seen)):
            rows = {s.user_id: s.at for s in reversed(sightings) if s.comes is comes}
            if rows:
                await insert(self._database, rows)
