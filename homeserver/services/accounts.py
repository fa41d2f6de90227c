"""Accounts of this instance: making them, checking passwords, deactivating them.

Spec: client-server API, account management.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from homeserver.errors import Forbidden, MatrixError, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.devices import DeviceService
from homeserver.services.passwords import Passwords
from homeserver.services.sessions import SessionService
from homeserver.services.usernames import new_user_id
from homeserver.storage import accounts as storage
from homeserver.storage import profiles as profile_storage
from homeserver.storage import tokens as token_storage
from homeserver.storage.accounts import Account
from homeserver.storage.database import Connection, Database

logger = structlog.get_logger(__name__)

Watcher = Callable[[Connection, str], Awaitable[None]]


class UserInUse(MatrixError):
    """The user name is taken, be it by a deactivated account."""

    errcode, status = "M_USER_IN_USE", 400


class LeaveAllRooms(Protocol):
    """What deactivation needs of rooms."""

    async def leave_all(self, user_id: UserId) -> None:
        """Leave every room, and reject every invite."""


class Belongings(Protocol):
    """What deactivation needs of the rest."""

    async def ended(self, user_id: str) -> None:
        """Delete what belongs to an account whose user has left all rooms."""


class AccountService:
    """Makes accounts, knows their passwords, and ends them."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        passwords: Passwords,
        sessions: SessionService,
        devices: DeviceService,
        rooms: LeaveAllRooms,
        belongings: Belongings,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._devices = devices
        self._rooms = rooms
        self._belongings = belongings
        self._clock_ms = clock_ms
        self._task: asyncio.Task[None] | None = None
        self.on_created: list[Watcher] = []
        self.on_ended: list[Watcher] = []
        """Called with a user ID within the transaction that makes, or ends, the account."""
        self.after_ended: list[Callable[[str], None]] = []
        self.unbind_all: Callable[[str], Awaitable[bool]] = _nothing_is_bound
        """Has identity servers forget a user's addresses; False where one did not."""
        self.on_logged_out: list[Callable[[str], Awaitable[None]]] = []
        """Told of a user who changed their password, and logged the other devices out."""
        self.check_name: Callable[[UserId], None] | None = None
        """Raises :class:`MatrixError` for a name that is an application service's."""

    # ------------------------------------------------------------ making and finding

    async def create(
        self, username: str | None, password: str | None, admin: bool = False
    ) -> UserId:
        """Make an account; its display name is the localpart until it is changed.

        Raises: :class:`~homeserver.services.usernames.InvalidUsername`,
        :class:`UserInUse`, :class:`~homeserver.services.passwords.WeakPassword`.
        """
        user_id = new_user_id(username, self._server_name)
        password_hash = await self._passwords.hash(password) if password is not None else None
        async with self._database.transaction() as connection:
            await self.insert(connection, user_id, password_hash, admin=admin)
        return user_id

    async def insert(
        self,
        connection: Connection,
        user_id: UserId,
        password_hash: str | None,
        *,
        admin: bool = False,
        guest: bool = False,
        for_service: bool = False,
    ) -> None:
        """Write a new account's rows inside a transaction.

        ``for_service``: by the application service whose name it is.  Raises: :class:`UserInUse`,
        and ``M_EXCLUSIVE`` for a name that is an application service's.
        """
        if self.check_name is not None and not for_service:
            self.check_name(user_id)
        account = Account(user_id, password_hash, admin, guest, self._clock_ms())
        if not await storage.insert_account(connection, account):
            raise UserInUse("That user name is taken")
        await profile_storage.lock_profile(connection, user_id)
        await profile_storage.set_profile(connection, user_id, {"displayname": user_id.localpart})
        for watcher in self.on_created:
            await watcher(connection, user_id)

    async def get(self, user_id: str) -> Account:
        """An account.  Raises: :class:`NotFound`."""
        account = await storage.get_account(self._database, user_id)
        if account is None:
            raise NotFound("There is no such account on this server")
        return account

    async def exists(self, user_id: str) -> bool:
        """Whether there is an account of that ID which is not deactivated."""
        account = await storage.get_account(self._database, user_id)
        return account is not None and account.deactivated_at is None

    async def list_accounts(self, *, deactivated: bool = False) -> list[Account]:
        """All accounts, in the order of their IDs."""
        accounts: list[Account] = []
        while True:
            after = accounts[-1].user_id if accounts else ""
            page = await storage.get_accounts(self._database, after=after, deactivated=deactivated)
            if not page:
                return accounts
            accounts.extend(page)

    # ------------------------------------------------------------ passwords

    async def check_password(self, user_id: UserId | None, password: str) -> UserId:
        """The user, if that is their password.

        Takes as long for a user who does not exist.  Raises: :class:`Forbidden`.
        """
        account = None
        if user_id is not None:
            account = await storage.get_account(self._database, user_id)
        password_hash = account.password_hash if account is not None else None
        right = await self._passwords.verify(password, password_hash)
        if user_id is None or password_hash is None or not right:
            raise Forbidden("Wrong user name or password")
        if self._passwords.needs_rehash(password_hash):
            rehashed = await self._passwords.hash(password)
            await storage.replace_password_hash(self._database, user_id, password_hash, rehashed)
        return user_id

    async def set_password(
        self, user_id: UserId, password: str, *, keep_device: str | None, logout_devices: bool
    ) -> None:
        """Change a password, and log out the other devices and programs if asked to.

        What was let in with the old one and is not in yet is void in any case.
        Spec: client-server API, ``POST /account/password``.
        """
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as connection:
            await token_storage.delete_granted(connection, user_id)
            if logout_devices:
                await token_storage.delete_api_tokens(connection, user_id)
            if not await storage.set_password_hash(connection, user_id, password_hash):
                raise NotFound("There is no such account on this server")
        if logout_devices:
            self._sessions.forget_programs(user_id)
            await self._devices.remove_all(user_id, keep=keep_device)
            for listener in self.on_logged_out:
                await listener(user_id)

    async def set_admin(self, user_id: str, admin: bool) -> None:
        """Make a user an admin of this instance, or no longer.

        Clients that they let in before by OAuth 2.0 are not an admin's; nor is one that they have
        let in and that is not in yet: it has to ask again.
        """
        async with self._database.transaction() as connection:
            if admin:
                await token_storage.delete_granted(connection, user_id)
            if not await storage.set_admin(connection, user_id, admin):
                raise NotFound("There is no such account on this server")
        self._sessions.forget(user_id)

    # ------------------------------------------------------------ ending

    async def deactivate(self, user_id: UserId, *, erase: bool = False) -> bool:
        """End an account: no login, no devices, no rooms, no belongings; its user ID stays taken.

        Whoever ends it, and by whichever door, it is done here.  ``erase``: what they wrote and
        uploaded as well, as far as nobody else has a claim to it.  False if an identity server has
        not forgotten an address.  Spec: client-server API, ``POST /account/deactivate``.
        """
        async with self._database.transaction() as connection:
            account = await storage.get_account(connection, user_id)
            now = self._clock_ms()
            if not await storage.deactivate_account(connection, user_id, now, erase=erase):
                raise NotFound("There is no such account on this server")
            if account is not None and account.deactivated_at is None:
                for watcher in self.on_ended:
                    await watcher(connection, user_id)
        for forget in self.after_ended:
            forget(user_id)
        return await self._remove_everywhere(user_id)

    async def resume(self) -> None:
        """Begin to finish what the server was about when it stopped.  Called at the start."""
        unfinished = await storage.get_unfinished_deactivations(self._database)
        if unfinished:
            self._task = asyncio.create_task(self._finish(unfinished), name="deactivations")

    async def _finish(self, user_ids: list[str]) -> None:
        for user_id in user_ids:
            logger.info("resuming a deactivation", user_id=user_id)
            try:
                await self._remove_everywhere(UserId(user_id))
            except Exception:
                logger.exception("could not finish a deactivation", user_id=user_id)

    async def _remove_everywhere(self, user_id: UserId) -> bool:
        await self._sessions.revoke(user_id, None)
        unbound = await self._unbind(user_id)
        await self._devices.remove_all(user_id)
        await self._rooms.leave_all(user_id)
        await self._belongings.ended(user_id)
        return unbound

    async def _unbind(self, user_id: UserId) -> bool:
        """Have addresses unbound while it is known where they are bound."""
        try:
            return await self.unbind_all(user_id)
        except Exception:  # whatever an identity server does, the account ends
            logger.exception("could not unbind a user's addresses", user_id=user_id)
            return False


async def _nothing_is_bound(_user_id: str) -> bool:
    return True
