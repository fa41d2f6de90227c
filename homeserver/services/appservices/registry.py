"""Which application services there are, whose names are whose, and who acts as whom.

Spec: application service API, identity assertion, server admin style permissions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import structlog

from homeserver.errors import Forbidden, MatrixError, UserLocked
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.services.accounts import AccountService, UserInUse
from homeserver.services.appservices.registration import AppService, hash_token
from homeserver.services.requester import Requester
from homeserver.storage import accounts as account_storage
from homeserver.storage import devices as device_storage
from homeserver.storage.accounts import Account
from homeserver.storage.database import Database
from homeserver.storage.devices import Sighting

logger = structlog.get_logger(__name__)

RECHECK_AFTER_MS = 60_000
CACHED_USERS = 20_000
USERS, ALIASES = "users", "aliases"


class Exclusive(MatrixError):
    """The name is an application service's alone, or not among those of the one that asks."""

    errcode, status = "M_EXCLUSIVE", 400


class UnknownDevice(MatrixError):
    """The application service's user has no such device."""

    errcode, status = "M_UNKNOWN_DEVICE", 400


class AppServices:
    """The application services of the configuration.  Where there are none, nothing costs."""

    def __init__(
        self,
        services: Sequence[AppService],
        *,
        server_name: str,
        database: Database,
        accounts: AccountService,
        clock_ms: Callable[[], int],
    ) -> None:
        self.all = tuple(services)
        self._by_token = {service.as_token_hash: service for service in services}
        self._by_id = {service.id: service for service in services}
        self._server_name = server_name
        self._database = database
        self._accounts = accounts
        self._clock_ms = clock_ms
        self._known: OrderedDict[str, int] = OrderedDict()  # users with an account: until when
        self._owners: OrderedDict[str, AppService | None] = OrderedDict()

    async def start(self) -> None:
        """Make the accounts of their senders, where there are none yet."""
        for service in self.all:
            account = await account_storage.get_account(self._database, service.sender)
            if account is None:
                try:
                    await self._insert(service.sender)
                except UserInUse:
                    continue  # another process was faster
            elif account.deactivated_at is not None or account.password_hash is not None:
                logger.warning(
                    "the sender of an application service is an account of somebody else's",
                    appservice=service.id,
                    user_id=service.sender,
                )

    # ------------------------------------------------------------ who is who

    def by_token(self, token: str) -> AppService | None:
        """The application service of an ``as_token``."""
        return self._by_token.get(hash_token(token)) if self._by_token else None

    def get(self, appservice_id: str) -> AppService | None:
        """An application service by its ID."""
        return self._by_id.get(appservice_id)

    def owner(self, user_id: str) -> AppService | None:
        """The application service of which a local user is: nobody else may make them."""
        if not self.all:
            return None
        if user_id in self._owners:
            return self._owners[user_id]
        owner = self._exclusively(USERS, user_id)
        if not user_id.endswith(f":{self._server_name}"):
            owner = None
        self._owners[user_id] = owner
        if len(self._owners) > CACHED_USERS:
            self._owners.popitem(last=False)
        return owner

    def _exclusively(self, kind: str, name: str) -> AppService | None:
        return next((service for service in self.all if service.has_alone(kind, name)), None)

    def is_user(self, user_id: str) -> bool:
        """Whether a user is an application service's."""
        return self.owner(user_id) is not None

    def is_exempt_from_rates(self, user_id: str) -> bool:
        """Whether a user's requests are not limited: their application service says so."""
        owner = self.owner(user_id)
        return owner is not None and (not owner.rate_limited or user_id == owner.sender)

    def is_exempt_from_consent(self, user_id: str) -> bool:
        """Whether the admin lets an application service's user write to everybody."""
        owner = self.owner(user_id)
        return owner is not None and owner.exempt_from_consent

    # ------------------------------------------------------------ names

    def check_user(self, user_id: UserId, service: AppService | None = None) -> None:
        """Raise :class:`Exclusive` unless ``service`` may make this user; None: a person."""
        self._check(USERS, user_id, service)

    def check_alias(self, alias: str, service: AppService | None) -> None:
        """Raise :class:`Exclusive` unless ``service`` may make or delete this alias of ours."""
        if self.all:
            self._check(ALIASES, alias, service)

    def _check(self, kind: str, name: str, service: AppService | None) -> None:
        owner = self._exclusively(kind, name)
        if owner is not None and owner is not service:
            raise Exclusive("That name belongs to an application service")
        if service is None:
            return
        asked = (
            service.is_interested_in_user(name)
            if kind == USERS
            else service.is_interested_in_alias(name)
        )
        if not asked:
            raise Exclusive("That name is not in a namespace of this application service")

    # ------------------------------------------------------------ acting

    async def act(
        self, service: AppService, user: str | None, device_id: str | None = None
    ) -> Requester:
        """Who an application service acts as: one of its users, or its sender.

        Raises: :class:`Forbidden`, :class:`UnknownDevice`.
        """
        user_id = self.own_user(service, user)
        await self._check_account(user_id)
        if device_id is not None:
            found = "\0" not in device_id and await device_storage.get_device(
                self._database, user_id, device_id
            )
            if not found:
                raise UnknownDevice("That user has no such device")
        return Requester(user_id, device_id, app_service=service)

    def own_user(self, service: AppService, user: str | None) -> UserId:
        """A user as whom a service may act.  Raises :class:`Forbidden`."""
        if user is None:
            return service.sender
        try:
            user_id = UserId.parse(user)
        except InvalidIdentifier as error:
            raise Forbidden("'user_id' is no user ID") from error
        local = user_id.server_name == self._server_name
        if not local or not service.is_interested_in_user(user_id):
            raise Forbidden("That user is not in a namespace of this application service")
        other = self.owner(user_id)
        if other is not None and other is not service:
            raise Forbidden("That user belongs to another application service")
        return user_id

    async def _check_account(self, user_id: UserId) -> None:
        now = self._clock_ms()
        if self._known.get(user_id, 0) > now:
            return
        account = await account_storage.get_account(self._database, user_id)
        if account is None:
            raise Forbidden("The application service has not registered that user")
        _check_active(account)
        self._remember(user_id, now)

    def _remember(self, user_id: str, now: int) -> None:
        self._known[user_id] = now + RECHECK_AFTER_MS
        self._known.move_to_end(user_id)
        if len(self._known) > CACHED_USERS:
            self._known.popitem(last=False)

    def forget(self, user_id: str) -> None:
        """Look at an account anew: it ended, or its state changed."""
        self._known.pop(user_id, None)

    # ------------------------------------------------------------ making users and devices

    async def register(self, service: AppService, user_id: UserId) -> None:
        """Make one of a service's users.  Raises :class:`Exclusive`, :class:`UserInUse`."""
        self.check_user(user_id, service)
        await self._insert(user_id)

    async def _insert(self, user_id: UserId) -> None:
        async with self._database.transaction() as connection:
            await self._accounts.insert(connection, user_id, None, for_service=True)

    async def check_login(self, service: AppService, user_id: UserId | None) -> UserId:
        """A user as whom a service may log in.  Raises :class:`Exclusive`, :class:`Forbidden`."""
        if user_id is None:
            raise Forbidden("There is no such user on this server")
        self.check_user(user_id, service)
        await self._check_account(user_id)
        return user_id

    async def put_device(self, user_id: str, device_id: str, name: str | None) -> bool:
        """Make a device, as only application services may without logging in; False if it is there.

        Spec: application service API, device management (v1.17).
        """
        if await device_storage.get_device(self._database, user_id, device_id) is not None:
            return False
        if await device_storage.is_cross_signing_key(self._database, user_id, device_id):
            raise Forbidden("That device ID is the ID of one of your cross-signing keys")
        sighting = Sighting(user_id, device_id, self._clock_ms(), None, None)
        await device_storage.put_device(self._database, sighting, name)
        return True


def _check_active(account: Account) -> None:
    if account.locked_at is not None:
        raise UserLocked()
    if account.deactivated_at is not None:
        raise MatrixError("That account was deactivated", errcode="M_USER_DEACTIVATED", status=403)
