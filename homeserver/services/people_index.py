"""Keeps the directory of people: who is in a room with ours, by the name they have there.

Accounts of this instance get into it with their profiles.  Others are taken from memberships in
the background, from where it was left; so nothing is missed, and nobody waits.
"""

from __future__ import annotations

import structlog

from homeserver.services.follower import Follower
from homeserver.storage import people_directory as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice
from homeserver.storage.people_directory import Listed, Moved

logger = structlog.get_logger(__name__)

PAGE = 2_000
GATHER_SECONDS = 0.5
START = ("", "")


class PeopleIndex:
    """Fills the directory of people."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self.follower = Follower("people directory", self._fill, gather_seconds=GATHER_SECONDS)

    def on_notice(self, notice: Notice) -> None:
        """Memberships of others may have changed."""
        if any(
            isinstance(record, EventRecord) and any(not c.local for c in record.memberships)
            for _, record in notice.records
        ):
            self.follower.wake()

    async def _fill(self) -> None:
        position, accounts_done = await storage.get_state(self._database)
        if not accounts_done:
            await self._add_accounts()
        after, last = (position + 1, *START), position
        while page := await storage.get_moved(self._database, after, PAGE):
            await self._take(page)
            last = page[-1].position
            after = (last, page[-1].room_id, page[-1].user_id)
            # of the last position there may be more: it counts once it is through
            await storage.set_position(self._database, last - 1)
        if last > position:
            await storage.set_position(self._database, last)

    async def _take(self, page: list[Moved]) -> None:
        joined = {moved.user_id: moved for moved in page if moved.membership == "join"}
        gone = {moved.user_id for moved in page if moved.membership in ("leave", "ban")}
        if joined:
            await storage.put_people(
                self._database,
                [Listed(m.user_id, False, m.name, m.avatar_url) for m in joined.values()],
            )
        if gone:
            await storage.delete_strangers(self._database, gone)

    async def _add_accounts(self) -> None:
        after = ""
        while accounts := await storage.get_accounts(self._database, after, PAGE):
            await storage.put_people(self._database, accounts)
            after = accounts[-1].user_id
        await storage.set_accounts_done(self._database)
