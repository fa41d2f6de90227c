"""What makes a newcomer and their inviter acquainted: contacts, and a chat that is open.

The work is a row, written with the account.  Each step may be done twice without harm, so a
process that dies in between leaves nothing half: what is left is done at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import structlog

from homeserver.errors import MatrixError
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.room_versions import RoomVersion
from homeserver.services.creation import InitialState, RoomRequest
from homeserver.storage import accounts as account_storage
from homeserver.storage import invitations as storage
from homeserver.storage.database import Database
from homeserver.storage.invitations import InvitationUse

logger = structlog.get_logger(__name__)

M_DIRECT = "m.direct"
MESSAGE = "message"
HOW = "invitation"
AT_ONCE = 2  # each holds a database connection while it works
WAIT_SECONDS = 10.0
RETRY_SECONDS = 300.0
RETRY_AFTER_MS = 60_000


class Contacts(Protocol):
    """What a welcome needs of consent."""

    async def grant_if_new(self, owner: str, peer: str, scope: str, *, how: str) -> None:
        """Grant, unless it is granted already."""


class Chats(Protocol):
    """What a welcome needs of room creation."""

    async def create(self, creator: UserId, request: RoomRequest, profile: JsonObject) -> str:
        """Make a room; its ID."""


class Joins(Protocol):
    """What a welcome needs of membership."""

    async def join(self, user_id: UserId, room_id: str) -> None:
        """Join a room, if not joined already."""


class MemberProfiles(Protocol):
    """What goes into member events."""

    async def member_fields(self, user_id: UserId) -> JsonObject:
        """``displayname`` and ``avatar_url``, those that are set."""


class DirectChats(Protocol):
    """Account data."""

    async def get(self, user_id: str, type_: str) -> JsonObject | None:
        """The content of one type, or None if it was never set."""

    async def put_managed(self, user_id: str, type_: str, content: JsonObject) -> None:
        """Set it."""


class Welcome:
    """Welcomes newcomers, at once or after a restart."""

    def __init__(
        self,
        *,
        database: Database,
        room_version: RoomVersion,
        contacts: Contacts,
        chats: Chats,
        joins: Joins,
        profiles: MemberProfiles,
        account_data: DirectChats,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._room_version = room_version
        self._contacts = contacts
        self._chats = chats
        self._joins = joins
        self._profiles = profiles
        self._account_data = account_data
        self._clock_ms = clock_ms
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ when

    async def start(self) -> None:
        """Do what was left at the last stop, and from time to time what failed."""
        self._loop = asyncio.create_task(self._run(), name="welcome")

    async def close(self) -> None:
        """Stop; what is left stays for the next start."""
        tasks = [*self._tasks, *([self._loop] if self._loop is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def newcomer(self, user_id: str) -> None:
        """Welcome somebody who has just come; waits for it, but not long, and never fails."""
        task = asyncio.create_task(self._try(user_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await asyncio.shield(task)

    async def _run(self) -> None:
        before = self._clock_ms()
        while True:
            for user_id in await self._pending(before):
                await self._try(user_id)
            await asyncio.sleep(RETRY_SECONDS)
            before = self._clock_ms() - RETRY_AFTER_MS

    async def _pending(self, before: int) -> list[str]:
        try:
            return await storage.get_pending(self._database, before)
        except Exception:
            logger.exception("could not look for newcomers")
            return []

    async def _try(self, user_id: str) -> None:
        try:
            async with self._limit, self._database.transaction() as connection:
                use = await storage.take_pending(connection, user_id)
                if use is not None:
                    room_id = await self._welcome(use)
                    await storage.set_welcomed(connection, user_id, room_id, self._clock_ms())
        except Exception:
            logger.exception("could not welcome a newcomer yet", user_id=user_id)

    # ------------------------------------------------------------ what

    async def _welcome(self, use: InvitationUse) -> str | None:
        """The chat of the two; None where there cannot be one."""
        for user_id in (use.inviter, use.user_id):
            account = await account_storage.get_account(self._database, user_id)
            if account is None or account.deactivated_at is not None:
                return None
        await self._contacts.grant_if_new(use.inviter, use.user_id, MESSAGE, how=HOW)
        await self._contacts.grant_if_new(use.user_id, use.inviter, MESSAGE, how=HOW)
        inviter, newcomer = UserId(use.inviter), UserId(use.user_id)
        try:
            room_id = await self._existing(use) or await self._create(inviter, newcomer)
            await self._joins.join(newcomer, room_id)
        except MatrixError as error:
            if error.status >= 500 or error.status == 429:
                raise
            logger.warning("no chat for a newcomer", user_id=newcomer, reason=error.text)
            return None
        await self._mark_direct(inviter, newcomer, room_id)
        await self._mark_direct(newcomer, inviter, room_id)
        return room_id

    async def _existing(self, use: InvitationUse) -> str | None:
        """The chat, if it was made before the process stopped."""
        return await storage.get_direct_chat(self._database, use.user_id, use.inviter)

    async def _create(self, inviter: UserId, newcomer: UserId) -> str:
        """A direct chat that both govern, the invite among its first events: in one commit."""
        invite = {
            **await self._profiles.member_fields(newcomer),
            "membership": "invite",
            "is_direct": True,
        }
        privileged = self._room_version.privileged_creators
        both = {inviter: 100, newcomer: 100}
        request = RoomRequest(
            preset="trusted_private_chat",
            is_direct=True,
            creation_content={"additional_creators": [newcomer]} if privileged else {},
            initial_state=[InitialState("m.room.member", newcomer, invite)],
            power_levels={} if privileged else {"users": both},
        )
        return await self._chats.create(
            inviter, request, await self._profiles.member_fields(inviter)
        )

    async def _mark_direct(self, owner: UserId, peer: UserId, room_id: str) -> None:
        """Name the room in ``m.direct``.  Spec: client-server API, direct messaging."""
        content = await self._account_data.get(owner, M_DIRECT) or {}
        rooms = content.get(peer)
        rooms = rooms if isinstance(rooms, list) else []
        if room_id not in rooms:
            changed = {**content, peer: [*rooms, room_id]}
            await self._account_data.put_managed(owner, M_DIRECT, changed)
