"""Applications: programs of the admin's trust that act for users of their own.

Whose users they are is said by patterns of localparts (``shop_*``), or by the application having
made the account.  There are few applications, and all are in memory.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import UserId, is_new_localpart, localpart_of
from homeserver.services.accounts import AccountService, UserInUse
from homeserver.services.conversations.api_tokens import ApiTokens
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.scopes import SCOPES, parse_scopes
from homeserver.services.rate_limits import RateLimits
from homeserver.services.requester import Requester
from homeserver.services.usernames import new_user_id, parse_user
from homeserver.storage import accounts as account_storage
from homeserver.storage import applications as storage
from homeserver.storage.applications import ApplicationRow, OwnUser
from homeserver.storage.database import Connection, Database

PATTERN = re.compile(r"[a-z0-9._=/+*?-]{1,200}")
MOST_PATTERNS = 20
MAX_NAME_LENGTH = 100
CACHED_USERS = 100_000
RECHECK_AFTER_MS = 60_000


class Profiles(Protocol):
    """What is needed of profiles."""

    async def set_field(self, user_id: UserId, key: str, value: object) -> None:
        """Set a field of a local user's profile."""


class NewApplication(Struct, frozen=True):
    """What an admin says of an application.  ``bot``: the localpart of the account that acts where
    no user is named; it is made if need be."""

    name: str
    user_patterns: Sequence[str] = ()
    scopes: Sequence[str] = tuple(SCOPES)
    may_create_users: bool = False
    bot: str | None = None


class Changes(Struct, frozen=True):
    """What an admin changes of an application; None: as it was."""

    name: str | None = None
    user_patterns: Sequence[str] | None = None
    scopes: Sequence[str] | None = None
    may_create_users: bool | None = None


class Application:
    """An application, and which localparts are its users'."""

    def __init__(self, row: ApplicationRow) -> None:
        self.row = row
        self.application_id = row.application_id
        self._patterns = [glob_to_regex(pattern) for pattern in row.user_patterns]

    def matches(self, localpart: str) -> bool:
        """Whether a localpart belongs to it, whether there is an account or not."""
        return any(pattern.match(localpart) for pattern in self._patterns)

    def like(self, server_name: str) -> list[str]:
        """Its patterns for SQL's LIKE, of whole user IDs."""
        return [f"@{_like(pattern)}:{_like(server_name)}" for pattern in self.row.user_patterns]


def _like(glob: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", glob)
    return escaped.replace("*", "%").replace("?", "_")


class Applications:
    """Which applications there are, and for whom each may act."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        accounts: AccountService,
        profiles: Profiles,
        tokens: ApiTokens,
        rate_limits: RateLimits,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._accounts = accounts
        self._profiles = profiles
        self._tokens = tokens
        self._rate_limits = rate_limits
        self._clock_ms = clock_ms
        self._applications: dict[str, Application] = {}
        self._read_at: int | None = None
        self._acting: OrderedDict[tuple[str, str], tuple[Requester, int]] = OrderedDict()
        self.changed: list[Callable[[], None]] = []
        """Called after applications were made, changed or deleted here."""
        self.on_made: list[Callable[[Connection, str, str], Awaitable[None]]] = []
        """Called with a user's and an application's ID, in the transaction that makes an account
        whose name says not whose it is."""

    async def start(self) -> None:
        """Read which applications there are."""
        await self._read()

    async def _read(self) -> None:
        rows = await storage.get_all(self._database)
        self._applications = {row.application_id: Application(row) for row in rows}
        self._read_at = self._clock_ms()

    async def _fresh(self) -> dict[str, Application]:
        """All of them; changes by another process are seen within a minute."""
        if self._read_at is None or self._clock_ms() - self._read_at >= RECHECK_AFTER_MS:
            await self._read()
        return self._applications

    # ------------------------------------------------------------ administration

    async def create(self, new: NewApplication, *, actor: str) -> Application:
        """Make an application, and its bot's account.

        Raises :class:`InvalidParam`, and what :meth:`AccountService.create` raises.
        """
        row = ApplicationRow(
            application_id=f"app_{secrets.token_hex(8)}",
            name=_checked_name(new.name),
            user_patterns=_checked_patterns(new.user_patterns),
            scopes=parse_scopes(new.scopes),
            may_create_users=new.may_create_users,
            bot_user_id=None,
            created_at=self._clock_ms(),
            created_by=actor,
        )
        async with self._database.transaction() as connection:
            if new.bot is not None:
                bot = new_user_id(new.bot, self._server_name)
                await self._accounts.insert(connection, bot, None)
                row = replace(row, bot_user_id=bot)
            await storage.insert(connection, row)
            if row.bot_user_id is not None:
                await storage.insert_user(
                    connection, row.bot_user_id, row.application_id, row.created_at
                )
        await self._changed()
        return await self.get(row.application_id)

    async def list_all(self) -> list[Application]:
        """All applications, the oldest first."""
        return list((await self._fresh()).values())

    def known(self) -> Sequence[Application]:
        """All applications, as they were last read."""
        return list(self._applications.values())

    async def get(self, application_id: str) -> Application:
        """An application.  Raises :class:`NotFound`."""
        application = (await self._fresh()).get(application_id)
        if application is None:
            raise NotFound("There is no such application")
        return application

    async def change(self, application_id: str, changes: Changes) -> Application:
        """Change an application; a scope that it loses is lost to its tokens at once.

        Raises :class:`NotFound`, :class:`InvalidParam`.
        """
        row = (await self.get(application_id)).row
        if changes.name is not None:
            row = replace(row, name=_checked_name(changes.name))
        if changes.user_patterns is not None:
            row = replace(row, user_patterns=_checked_patterns(changes.user_patterns))
        if changes.scopes is not None:
            row = replace(row, scopes=parse_scopes(changes.scopes))
        if changes.may_create_users is not None:
            row = replace(row, may_create_users=changes.may_create_users)
        await storage.update(self._database, row)
        await self._changed()
        return await self.get(application_id)

    async def delete(self, application_id: str) -> None:
        """Delete an application, its tokens and webhooks; its users' accounts stay.

        Raises :class:`NotFound`.
        """
        if not await storage.delete(self._database, application_id):
            raise NotFound("There is no such application")
        self._tokens.forget(application_id=application_id)
        await self._changed()

    async def _changed(self) -> None:
        self._acting.clear()
        await self._read()
        for listener in self.changed:
            listener()

    # ------------------------------------------------------------ its users

    async def act_for(self, application: Application, text: str) -> Requester:
        """The user, by address, user ID or localpart, for whom an application acts.

        An account that its patterns name is made on first sight, if the application may.  Raises
        :class:`Problem` ``not_your_user`` or ``account_ended``.
        """
        user_id = parse_user(text, self._server_name)
        if user_id is None or user_id.server_name != self._server_name:
            raise _not_your_user(text)
        key, now = (application.application_id, str(user_id)), self._clock_ms()
        known = self._acting.get(key)
        if known is not None and now - known[1] < RECHECK_AFTER_MS:
            return known[0]
        await self._check_acting(application, user_id)
        requester = Requester(user_id, None)
        self._acting[key] = (requester, now)
        self._acting.move_to_end(key)
        if len(self._acting) > CACHED_USERS:
            self._acting.popitem(last=False)
        return requester

    async def _check_acting(self, application: Application, user_id: UserId) -> None:
        account = await account_storage.get_account(self._database, user_id)
        if account is None:
            if not (application.row.may_create_users and application.matches(user_id.localpart)):
                raise _not_your_user(user_id.address)
            await self._make(application, user_id)
            return
        if account.admin or account.guest or not await self.owns(application, user_id):
            raise _not_your_user(user_id.address)
        if account.deactivated_at is not None:
            raise Problem("account_ended", f"The account {user_id.address} has ended", status=403)

    async def owns(self, application: Application, user_id: UserId) -> bool:
        """Whether a local account is an application's."""
        if application.matches(user_id.localpart):
            return True
        return await storage.made_by(self._database, user_id) == application.application_id

    async def own_users(self, application_id: str, user_ids: Iterable[str]) -> list[str]:
        """Those of some local users who are an application's."""
        application = self._applications.get(application_id)
        if application is None:
            return []
        own: list[str] = []
        others: list[str] = []
        for user_id in user_ids:
            mine = application.matches(localpart_of(user_id))
            (own if mine else others).append(user_id)
        if others:
            own += await storage.made_among(self._database, application_id, others)
        return own

    async def owners_of(self, connection: Connection, user_id: str) -> list[str]:
        """The applications whose user somebody is."""
        localpart = localpart_of(user_id)
        owners = {each.application_id for each in self.known() if each.matches(localpart)}
        maker = await storage.made_by(connection, user_id)
        return sorted(owners | {maker} if maker is not None else owners)

    async def bot(self, application: Application) -> Requester | None:
        """Who acts where no user is named."""
        bot = application.row.bot_user_id
        return await self.act_for(application, bot) if bot is not None else None

    async def make_user(
        self, application: Application, localpart: str, name: str | None = None
    ) -> UserId:
        """Make an account without a password, which is the application's.

        Raises :class:`Forbidden`, :class:`UserInUse`, :class:`~homeserver.errors.LimitExceeded`,
        :class:`~homeserver.services.usernames.InvalidUsername`.
        """
        if not application.row.may_create_users:
            raise Forbidden("This application may not make accounts")
        user_id = new_user_id(localpart, self._server_name)
        patterns = application.row.user_patterns
        if patterns and not application.matches(user_id.localpart):
            raise Forbidden(f"This application's users match {' or '.join(patterns)}")
        if any(other.matches(user_id.localpart) for other in self._others(application)):
            raise UserInUse("That user name is another application's")
        await self._insert(application, user_id)
        if name is not None:
            await self._profiles.set_field(user_id, "displayname", name)
        return user_id

    def _others(self, application: Application) -> list[Application]:
        return [other for other in self._applications.values() if other is not application]

    async def _make(self, application: Application, user_id: UserId) -> None:
        if not is_new_localpart(user_id.localpart):
            raise _not_your_user(user_id.address)
        try:
            await self._insert(application, user_id)
        except UserInUse:  # another request was faster
            await self._check_acting(application, user_id)

    async def _insert(self, application: Application, user_id: UserId) -> None:
        self._rate_limits.check("application_user", application.application_id)
        async with self._database.transaction() as connection:
            await self._accounts.insert(connection, user_id, None)
            await storage.insert_user(
                connection, user_id, application.application_id, self._clock_ms()
            )
            if not application.matches(user_id.localpart):  # else it is told as of any account
                for watcher in self.on_made:
                    await watcher(connection, user_id, application.application_id)

    async def users(self, application: Application, *, after: str, limit: int) -> list[OwnUser]:
        """An application's users in the order of their IDs, beginning after one."""
        return await storage.get_users(
            self._database,
            application.application_id,
            application.like(self._server_name),
            after=after,
            limit=limit,
        )

    async def created_at(self, user_id: UserId) -> int:
        """When an account was made (ms)."""
        return (await self._accounts.get(user_id)).created_at

    async def end_user(self, application: Application, text: str, *, erase: bool) -> None:
        """End the account of one of an application's users.  Raises as :meth:`act_for`."""
        user_id = parse_user(text, self._server_name)
        if user_id is None or await account_storage.get_account(self._database, user_id) is None:
            raise _not_your_user(text)  # nobody is made in order to be ended
        await self._check_acting(application, user_id)
        await self._accounts.deactivate(user_id, erase=erase)

    # ------------------------------------------------------------ newcomers

    async def refuse_reserved(self, user_id: UserId) -> None:
        """Raise :class:`UserInUse` for a name that only an application may take."""
        for application in (await self._fresh()).values():
            if application.matches(user_id.localpart):
                raise UserInUse("That user name belongs to an application")

    def forget_user(self, user_id: str) -> None:
        """Nobody acts for an account that has ended."""
        for key in [key for key in self._acting if key[1] == user_id]:
            del self._acting[key]


def _not_your_user(text: str) -> Problem:
    return Problem("not_your_user", f"'{text[:255]}' is no user of this application's", status=403)


def _checked_name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidParam(f"'name' must be 1 to {MAX_NAME_LENGTH} printable characters")
    return name


def _checked_patterns(patterns: Sequence[str]) -> list[str]:
    if len(patterns) > MOST_PATTERNS:
        raise InvalidParam(f"'user_patterns' must be at most {MOST_PATTERNS}")
    for pattern in patterns:
        if PATTERN.fullmatch(pattern) is None:
            raise InvalidParam(
                f"'{pattern[:200]}' is no pattern of user names: the letters a to z, digits,"
                " . _ = - / + and the wildcards * and ?"
            )
    return list(dict.fromkeys(patterns))
