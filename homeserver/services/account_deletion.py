"""What happens to an account's belongings when it ends: they are deleted, all of them.

Each step may be repeated; what a process leaves undone is noted with the account, and done by the
next.  Spec: client-server API, ``POST /account/deactivate``.  See ``docs/accounts.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import structlog

from homeserver.protocol.media_uris import MediaUri
from homeserver.protocol.push_ruleset import NO_DEVIATIONS
from homeserver.services.erased_accounts import ErasedAccounts
from homeserver.storage import account_deletion as storage
from homeserver.storage.account_data import PUSH_RULES, AccountDataRecord
from homeserver.storage.consent import CLEARED, ConsentRecord, get_consent
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Record

logger = structlog.get_logger(__name__)

RECORDS_AT_ONCE = 200
EVENTS_AT_ONCE = 100
UPLOADS_AT_ONCE = 100
REFRESH_SECONDS = 60.0
PAUSE_SECONDS = 0.02

Forget = Callable[[str], Awaitable[None]]


class EventContents(Protocol):
    """Deletion of what events say."""

    async def delete_event_content(
        self, event_ids: Iterable[str], *, why: str = "erasure", tell: bool = True
    ) -> int:
        """Delete it for good; each event keeps its place in the graph."""


class UnusedMedia(Protocol):
    """Deletion of media that nobody needs."""

    async def give_up(self, uris: Iterable[MediaUri], sender: str) -> None:
        """Have media deleted, if nothing needs it, that ``sender`` no longer refers to."""


class AccountDeletion:
    """Deletes what belongs to accounts that have ended."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        erased: ErasedAccounts,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._log = log
        self._erased = erased
        self._clock_ms = clock_ms
        self._forgetters: list[Forget] = []
        self._contents: EventContents | None = None
        self._media: UnusedMedia | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def also(self, forget: Forget) -> None:
        """Have another part forget the user, too; it must bear to be asked twice."""
        self._forgetters.append(forget)

    def erase_with(self, contents: EventContents, media: UnusedMedia) -> None:
        """By whom content and media are deleted when an account is erased."""
        self._contents, self._media = contents, media

    # ------------------------------------------------------------ when

    async def start(self) -> None:
        """Read who is erased, and look from time to time whom other processes erased."""
        await self._erased.refresh()
        self._loop = asyncio.create_task(self._run(), name="erased accounts")

    async def close(self) -> None:
        """Stop; what is left is done after the next start."""
        tasks = [*self._tasks, *([self._loop] if self._loop is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._erased.refresh()
            except Exception:
                logger.exception("could not look for erased accounts")

    async def ended(self, user_id: str) -> None:
        """Delete what belongs to an account that has ended, and whose user has left all rooms.

        Returns when the belongings are gone; what was written and uploaded follows.
        """
        await self._erased.refresh()
        await self._delete_belongings(user_id)
        task = asyncio.create_task(self._finish(user_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks)

    async def _finish(self, user_id: str) -> None:
        try:
            if await storage.is_erased(self._database, user_id):
                await self._erase_own_rooms(user_id)
                await self._erase_uploads(user_id)
            await storage.set_deleted(self._database, user_id)
            logger.info("account deleted", user_id=user_id)
        except Exception:
            logger.exception("could not delete an account yet", user_id=user_id)

    # ------------------------------------------------------------ belongings

    async def _delete_belongings(self, user_id: str) -> None:
        """First through the log, so that what is in memory follows; then the rows themselves."""
        for forget in self._forgetters:
            await forget(user_id)
        await self._append(await self._account_data_records(user_id))
        await self._append(await self._consent_records(user_id))
        erase = await storage.is_erased(self._database, user_id)
        await storage.delete_belongings(self._database, user_id, erase=erase)

    async def _append(self, records: Sequence[Record]) -> None:
        for start in range(0, len(records), RECORDS_AT_ONCE):
            await self._log.append(*records[start : start + RECORDS_AT_ONCE])

    async def _account_data_records(self, user_id: str) -> list[Record]:
        nothing = {PUSH_RULES: NO_DEVIATIONS.to_json()}
        types = await storage.get_account_data_types(self._database, user_id)
        return [
            AccountDataRecord(user_id, room_id, type_, nothing.get(type_, {}))
            for room_id, type_ in types
        ]

    async def _consent_records(self, user_id: str) -> list[Record]:
        now = self._clock_ms()
        rows = await get_consent(self._database, user_id)
        return [
            ConsentRecord(user_id, peer, scope, CLEARED, "deletion", now) for scope, peer in rows
        ]

    # ------------------------------------------------------------ what they wrote and uploaded

    async def _erase_own_rooms(self, user_id: str) -> None:
        """In rooms in which nobody else ever was, nobody has a claim to what was written."""
        assert self._contents is not None
        for room_id in await storage.get_own_rooms(self._database, user_id):
            after = storage.BEFORE_ALL_ORDERS
            while events := await storage.get_own_events(
                self._database, room_id, user_id, after=after, limit=EVENTS_AT_ONCE
            ):
                after = events[-1].timeline_order
                await self._contents.delete_event_content(
                    [event.event_id for event in events], tell=False
                )
                await asyncio.sleep(PAUSE_SECONDS)

    async def _erase_uploads(self, user_id: str) -> None:
        """Files go, unless somebody else's message, or a room, needs them."""
        assert self._media is not None
        after = ""
        while media := await storage.get_uploads(
            self._database, user_id, after=after, limit=UPLOADS_AT_ONCE
        ):
            after = media[-1][1]
            await storage.delete_own_references(self._database, media, user_id)
            await self._media.give_up([MediaUri(*item) for item in media], user_id)
            await asyncio.sleep(PAUSE_SECONDS)
