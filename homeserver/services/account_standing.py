"""Locked and suspended accounts.

A locked user can do nothing but log out; a suspended one reads, leaves, takes back what they
wrote, and ends their account, but neither writes nor comes to rooms.  The few who are either are in
memory, so that nobody else's send or request costs a query.

Spec: client-server API, account moderation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from homeserver.errors import Forbidden, InvalidParam, NotFound, UserLocked, UserSuspended
from homeserver.protocol.identifiers import UserId
from homeserver.services.rooms import Draft
from homeserver.storage import account_standing as storage
from homeserver.storage import accounts as account_storage
from homeserver.storage.account_standing import Restricted
from homeserver.storage.accounts import Account
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

logger = structlog.get_logger(__name__)

RELOAD_SECONDS = 5.0  # for what another process has changed


class Events(Protocol):
    """Where to look up what a redaction takes back."""

    async def get(self, event_id: str) -> StoredEvent | None:
        """An event."""


class AccountStanding:
    """Locks and suspends accounts, and says what that keeps their users from."""

    def __init__(
        self, *, server_name: str, database: Database, store: Events, clock_ms: Callable[[], int]
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._store = store
        self._clock_ms = clock_ms
        self._restricted: dict[str, Restricted] = {}
        self._task: asyncio.Task[None] | None = None
        self.on_changed: list[Callable[[str], None]] = []
        """Told of a user who was locked, suspended, or neither any longer."""

    async def start(self) -> None:
        """Load who is locked or suspended, and keep looking."""
        await self.reload()
        self._task = asyncio.create_task(self._keep_reloading(), name="account standing")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reload(self) -> None:
        """See what the database has now."""
        before = self._restricted
        self._restricted = {
            row.user_id: row for row in await storage.get_restricted(self._database)
        }
        for user_id in before.keys() | self._restricted.keys():
            if before.get(user_id) != self._restricted.get(user_id):
                self._tell(user_id)

    async def _keep_reloading(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                await self.reload()
            except Exception:
                logger.exception("could not look for locked and suspended accounts")

    def _tell(self, user_id: str) -> None:
        for listener in self.on_changed:
            listener(user_id)

    # ------------------------------------------------------------ asking

    def is_locked(self, user_id: str) -> bool:
        """Whether a user is locked out."""
        row = self._restricted.get(user_id)
        return row is not None and row.locked

    def is_suspended(self, user_id: str) -> bool:
        """Whether a user is suspended."""
        row = self._restricted.get(user_id)
        return row is not None and row.suspended

    def require_active(self, user_id: str) -> None:
        """Raise :class:`UserSuspended` or :class:`UserLocked` for somebody who may not act."""
        row = self._restricted.get(user_id)
        if row is not None and row.locked:
            raise UserLocked()
        if row is not None and row.suspended:
            raise UserSuspended()

    async def check_send(self, draft: Draft) -> None:
        """Let the suspended leave and take back their own words, no more.

        Raises what :meth:`require_active` raises.
        """
        if draft.sender not in self._restricted:
            return
        if not await self._is_withdrawal(draft):
            self.require_active(draft.sender)

    async def _is_withdrawal(self, draft: Draft) -> bool:
        if draft.type == "m.room.member":
            own = draft.state_key == draft.sender
            return own and draft.content.get("membership") == "leave"
        if draft.type != "m.room.redaction" or draft.state_key is not None:
            return False
        target = draft.redacts or draft.content.get("redacts")
        stored = await self._store.get(target) if isinstance(target, str) else None
        return stored is not None and stored.event.sender == draft.sender

    # ------------------------------------------------------------ the admin's side

    async def find(self, user_id: UserId) -> Account:
        """An account that an admin asks about.

        Raises: :class:`InvalidParam` for another instance's user, :class:`NotFound`.
        """
        if user_id.server_name != self._server_name:
            raise InvalidParam("That user is not of this server")
        account = await account_storage.get_account(self._database, user_id)
        if account is None or account.deactivated_at is not None:
            raise NotFound("There is no such user")
        return account

    async def look(self, user_id: UserId, *, by: str) -> Account:
        """An account whose standing an admin asks about.

        Raises what :meth:`find` raises; :class:`Forbidden` for other admins.
        """
        account = await self.find(user_id)
        if account.admin and user_id != by:
            raise Forbidden("That user is an admin of this server")
        return account

    async def set_locked(self, user_id: UserId, locked: bool, *, by: str) -> None:
        """Lock an account, or unlock it.  ``by``: whose doing it is.

        Raises what :meth:`find` raises; :class:`Forbidden` for admins and oneself.
        """
        await self._check_target(user_id, by)
        since = self._clock_ms() if locked else None
        await storage.set_locked(self._database, user_id, since)
        await self._changed(user_id, "locked" if locked else "unlocked", by)

    async def set_suspended(self, user_id: UserId, suspended: bool, *, by: str) -> None:
        """Suspend an account, or no longer.  As :meth:`set_locked`."""
        await self._check_target(user_id, by)
        since = self._clock_ms() if suspended else None
        await storage.set_suspended(self._database, user_id, since)
        await self._changed(user_id, "suspended" if suspended else "unsuspended", by)

    async def _check_target(self, user_id: UserId, by: str) -> None:
        account = await self.find(user_id)
        if user_id == by:
            raise Forbidden("You cannot do that to your own account")
        if account.admin:
            raise Forbidden("That user is an admin of this server")

    async def _changed(self, user_id: UserId, what: str, by: str) -> None:
        logger.info("account standing changed", user_id=user_id, change=what, by=by)
        await self.reload()
