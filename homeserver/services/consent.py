"""Consent: may this peer contact this user, and may this user contact other instances.

The most specific row wins (a user, then their instance, then everyone), then the user's own
default, then the instance's.  See ``docs/architecture.md``, consent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from homeserver.errors import ConsentNotGiven, InviteBlocked
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.visibility import AccountData, IgnoredUsers
from homeserver.storage import consent as storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice

CACHED_OWNERS = 10_000
EVERYONE = "*"


class Scope:
    """What consent is asked for."""

    MESSAGE = "message"
    FEDERATION = "federation"


class InviteAnswer(Enum):
    """What becomes of an invite."""

    DELIVER = "deliver"
    ASK = "ask"  # a message request: it shows, but does not notify
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Defaults:
    """The instance's answers where a user has none of their own."""

    message: str = "everyone"  # everyone, known, ask, nobody
    cross_instance_opt_in: bool = True


@dataclass(slots=True)
class _Owner:
    rows: dict[tuple[str, str], tuple[str, int | None]]
    defaults: dict[str, str]


class Consent:
    """Answers from consent, and changes it."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        log: Log,
        defaults: Defaults,
        consent_uri: Callable[[str], str],
        account_data: AccountData,
        clock_ms: Callable[[], int],
    ) -> None:
        """``consent_uri`` makes the page's address for a user; ``account_data`` has the spec's own
        spellings of consent."""
        self._server_name = server_name
        self._database = database
        self._log = log
        self._defaults = defaults
        self._consent_uri = consent_uri
        self._ignored = IgnoredUsers(account_data)
        self._clock_ms = clock_ms
        self._owners: OrderedDict[str, _Owner] = OrderedDict()

    # ------------------------------------------------------------ asking

    async def state(self, owner: str, peer_user: str, scope: str) -> str | None:
        """The most specific row's state for a peer, or None where there is none."""
        rows = (await self._owner(owner)).rows
        now = self._clock_ms()
        for peer in (peer_user, server_name_of(peer_user), EVERYONE):
            row = rows.get((scope, peer))
            if row is not None and (row[1] is None or row[1] > now):
                return row[0]
        return None

    async def require_federation(self, user_id: UserId, servers: Collection[str]) -> None:
        """Raise :class:`ConsentNotGiven` unless the user may contact these instances."""
        if not self._defaults.cross_instance_opt_in:
            return
        rows = (await self._owner(user_id)).rows
        now = self._clock_ms()
        states = {
            peer: state
            for (scope, peer), (state, expires_at) in rows.items()
            if scope == Scope.FEDERATION and (expires_at is None or expires_at > now)
        }
        everywhere = states.get(EVERYONE)
        if everywhere == "granted" and len(states) == 1:
            return
        if all(states.get(server, everywhere) == "granted" for server in servers):
            return
        raise ConsentNotGiven(
            "Your messages would leave this server. Agree to that once, on the page at "
            "consent_uri, then send again",
            self._consent_uri(user_id),
        )

    async def invite_answer(self, owner: UserId, inviter: str) -> InviteAnswer:
        """What becomes of an invite from this sender."""
        if await self._blocked_in_account_data(owner, inviter):
            return InviteAnswer.BLOCK
        state = await self.state(owner, inviter, Scope.MESSAGE)
        if state in ("denied", "revoked"):
            return InviteAnswer.BLOCK
        if state == "granted":
            return InviteAnswer.DELIVER
        owner_defaults = (await self._owner(owner)).defaults
        default = owner_defaults.get(Scope.MESSAGE, self._defaults.message)
        if default == "everyone":
            return InviteAnswer.DELIVER
        if default == "nobody":
            return InviteAnswer.BLOCK
        if default == "known" and await self._shares_room(owner, inviter):
            return InviteAnswer.DELIVER
        return InviteAnswer.ASK

    async def check_invite(self, owner: UserId, inviter: str) -> InviteAnswer:
        """The answer to an invite, noted if it is a request.  Raises :class:`InviteBlocked`."""
        answer = await self.invite_answer(owner, inviter)
        if answer is InviteAnswer.BLOCK:
            raise InviteBlocked("This user does not take invites from you")
        asked = await self.state(owner, inviter, Scope.MESSAGE) == "asked"
        if answer is InviteAnswer.ASK and not asked:
            await self.set(owner, inviter, Scope.MESSAGE, "asked", how="invite")
        return answer

    async def _blocked_in_account_data(self, owner: UserId, inviter: str) -> bool:
        """The spec's spellings: ``m.invite_permission_config`` and ``m.ignored_user_list``."""
        return await self.blocks_invites(owner) or inviter in await self._ignored.withheld_senders(
            owner
        )

    async def blocks_invites(self, user_id: str) -> bool:
        """Whether a user takes no invites at all.  Spec: invite permission."""
        return await self._ignored.blocks_invites(user_id)

    async def _shares_room(self, owner: UserId, peer: str) -> bool:
        return bool(await room_storage.users_sharing_rooms(self._database, owner, (peer,)))

    async def withheld_senders(self, user_id: str) -> frozenset[str]:
        """Users whose messages this reader does not get: blocked, or ignored."""
        owner = await self._owner(user_id)
        blocked = {
            peer
            for (scope, peer), (state, _) in owner.rows.items()
            if scope == Scope.MESSAGE and state in ("denied", "revoked") and peer[0] == "@"
        }
        ignored = await self._ignored.withheld_senders(user_id)
        return ignored | blocked if blocked else ignored

    # ------------------------------------------------------------ changing

    async def set(
        self,
        owner: str,
        peer: str,
        scope: str,
        state: str,
        *,
        how: str,
        expires_at: int | None = None,
    ) -> None:
        """Add a row to the user's consent; returns when it is on disk."""
        await self._log.append(
            ConsentRecord(owner, peer, scope, state, how, self._clock_ms(), expires_at)
        )

    async def grant_if_new(self, owner: str, peer: str, scope: str, *, how: str) -> None:
        """Grant, unless it is granted already."""
        if await self.state(owner, peer, scope) != "granted":
            await self.set(owner, peer, scope, "granted", how=how)

    async def set_default(self, owner: str, scope: str, answer: str) -> None:
        """Set the user's own default: everyone, known, ask or nobody."""
        await storage.set_default(self._database, owner, scope, answer)
        self._owners.pop(owner, None)

    def on_notice(self, notice: Notice) -> None:
        """Follow what was committed."""
        for _, record in notice.records:
            if isinstance(record, ConsentRecord):
                owner = self._owners.get(record.owner)
                if owner is not None:
                    owner.rows[(record.scope, record.peer)] = (record.state, record.expires_at)

    async def _owner(self, user_id: str) -> _Owner:
        owner = self._owners.get(user_id)
        if owner is None:
            before = self._log.position
            owner = _Owner(
                await storage.get_consent(self._database, user_id),
                await storage.get_defaults(self._database, user_id),
            )
            if self._log.position == before:  # else a change may have passed unseen
                self._owners[user_id] = owner
                if len(self._owners) > CACHED_OWNERS:
                    self._owners.popitem(last=False)
        return owner
