"""Answers from consent, and changes it.

The most specific row wins (a user, then their instance, then everyone), then the user's own
answer for who the peer is to them, then the instance's.  See ``docs/consent-and-policy.md``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Protocol

from msgspec import Struct

from homeserver.errors import ConsentNotGiven, Forbidden
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.consent.owner import OwnerConsent
from homeserver.services.consent.scopes import (
    CONTACT,
    CONTACT_OF_CONTACT,
    EVERYONE,
    KNOWN_SERVER,
    OUTGOING,
    PRESETS,
    SHARED_ROOM,
    STATE_OF_ANSWER,
    STRANGER,
    TIER_PREFIX,
    Answer,
    Answers,
    Defaults,
    Scope,
)
from homeserver.services.consent.spellings import AccountData, Spellings
from homeserver.services.visibility import Withheld
from homeserver.storage import consent as storage
from homeserver.storage.consent import CLEARED, ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice
from homeserver.storage.shared_rooms import sharing_rooms

CACHED_OWNERS = 10_000
ONE_STEP = (Scope.MESSAGE, Scope.GROUP, Scope.MEDIA, Scope.CALL)
BLOCKING = (Scope.MESSAGE, Scope.FEDERATION)  # who is denied these is denied all else


class Change(Struct, frozen=True):
    """A row as somebody wants it."""

    scope: str
    peer: str
    state: str
    expires_at: int | None = None


class Programs(Protocol):
    """Which users are application services'."""

    def owner(self, user_id: str) -> object | None:
        """The application service of which a user is; None: a person."""

    def is_exempt_from_consent(self, user_id: str) -> bool:
        """Whether the admin lets a user of one write to everybody."""


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
        self.defaults = defaults
        self._consent_uri = consent_uri
        self.spellings = Spellings(account_data)
        self._clock_ms = clock_ms
        self.programs: Programs | None = None
        self._owners: OrderedDict[str, OwnerConsent] = OrderedDict()
        self._restricting: dict[str, set[str]] = {scope: set() for scope in OUTGOING}
        self._blocking: set[str] = set()
        self._open = {
            scope: all(answer is Answer.ALLOW for answer in answers.values())
            for scope, answers in defaults.answers.items()
        }

    async def start(self) -> None:
        """Read who restricts what most people leave open."""
        for scope, owner in await storage.get_restricting(self._database):
            self._restricting[scope].add(owner)
        self._blocking = await storage.get_blocking(self._database)

    # ------------------------------------------------------------ asking

    async def state(self, owner: str, peer_user: str, scope: str) -> str | None:
        """The most specific row's state for a peer, or None where there is none."""
        return (await self.owner(owner)).most_specific(scope, peer_user, self._clock_ms())

    async def state_of(self, owner: str, peer: str, scope: str) -> str | None:
        """The state of the row for this very peer, or None."""
        return (await self.owner(owner)).state(scope, peer, self._clock_ms())

    async def answer(self, owner: str, peer_user: str, scope: str) -> Answer:
        """What becomes of what a user wants of one of ours."""
        rows, now = await self.owner(owner), self._clock_ms()
        explicit = rows.explicit(scope, peer_user, now)
        if explicit is not None:
            return explicit
        if self.programs is not None and (
            self.programs.owner(owner) or self.programs.is_exempt_from_consent(peer_user)
        ):
            return Answer.ALLOW  # a program cannot be asked
        answers = rows.answers(scope)
        first = answers[CONTACT]
        if all(answer is first for answer in answers.values()):
            return first
        return answers[await self.tier(owner, peer_user)]

    async def tier(self, owner: str, peer_user: str) -> str:
        """Who a user is to one of ours."""
        if (await self.owner(owner)).is_contact(peer_user, self._clock_ms()):
            return CONTACT
        if await sharing_rooms(self._database, owner, [peer_user]):
            return SHARED_ROOM
        if await storage.is_contact_of_contact(self._database, owner, peer_user):
            return CONTACT_OF_CONTACT
        server = server_name_of(peer_user)
        if server == self._server_name or await storage.knows_server(self._database, owner, server):
            return KNOWN_SERVER
        return STRANGER

    async def tiers(self, owner: str, peer_users: Collection[str]) -> dict[str, str]:
        """Who each of several users is to one of ours, in three statements for them all."""
        rows, now = await self.owner(owner), self._clock_ms()
        others = [peer for peer in peer_users if not rows.is_contact(peer, now)]
        found = dict.fromkeys(peer_users, CONTACT)
        if not others:
            return found
        servers = sorted({server_name_of(peer) for peer in others})
        known = await storage.known_servers(self._database, owner, servers) | {self._server_name}
        shared = await sharing_rooms(self._database, owner, others)
        second = await storage.contacts_of_contacts(self._database, owner, others)
        for peer in others:
            if peer in shared:
                found[peer] = SHARED_ROOM
            elif peer in second:
                found[peer] = CONTACT_OF_CONTACT
            else:
                found[peer] = KNOWN_SERVER if server_name_of(peer) in known else STRANGER
        return found

    async def is_contact(self, owner: str, peer_user: str) -> bool:
        """Whether one of ours has let this very user write to them."""
        return (await self.owner(owner)).is_contact(peer_user, self._clock_ms())

    async def is_known(self, owner: str, peer_user: str) -> bool:
        """Whether a user is a contact, or in a room with one of ours."""
        if await self.is_contact(owner, peer_user):
            return True
        return bool(await sharing_rooms(self._database, owner, [peer_user]))

    async def invite_answer(self, owner: UserId, inviter: str, scope: str) -> Answer:
        """What becomes of an invite from this sender."""
        spelled = await self.spellings.invite_answer(owner, inviter)
        if spelled in (Answer.ALLOW, Answer.HIDE):
            explicit = (await self.owner(owner)).explicit(scope, inviter, self._clock_ms())
            return Answer.BLOCK if explicit is Answer.BLOCK else spelled
        return spelled if spelled is not None else await self.answer(owner, inviter, scope)

    async def require_federation(self, user_id: UserId, servers: Collection[str]) -> None:
        """Raise :class:`ConsentNotGiven` unless the user may contact these instances."""
        if self.programs is not None and self.programs.is_exempt_from_consent(user_id):
            return
        owner, now = await self.owner(user_id), self._clock_ms()
        everywhere = owner.state(Scope.FEDERATION, EVERYONE, now)
        if everywhere is None and not self.defaults.cross_instance_opt_in:
            everywhere = "granted"
        if owner.has_particular(Scope.FEDERATION):
            agreed = all(
                (owner.state(Scope.FEDERATION, server, now) or everywhere) == "granted"
                for server in servers
            )
        else:
            agreed = everywhere == "granted"
        if not agreed:
            raise ConsentNotGiven(
                "Your messages would leave this server. Agree to that once, on the page at "
                "consent_uri, then send again",
                self._consent_uri(user_id),
            )

    async def withheld(self, user_id: str) -> Withheld:
        """What this reader does not get: of whom they have blocked or ignore, and calls."""
        ignored = await self.spellings.ignored(user_id)
        owner = await self.owner(user_id)
        return owner.withheld(ignored, self._clock_ms(), self._withheld_calls)

    def _withheld_calls(self, owner: OwnerConsent) -> Callable[[str], bool] | None:
        """Whose calls are withheld; None if everybody may call."""
        if self._open[Scope.CALL] and not owner.has_rows(Scope.CALL):
            return None
        return partial(self._may_not_call, owner)

    def _may_not_call(self, owner: OwnerConsent, sender: str) -> bool:
        """Whether a call is withheld.  Its sender is in a room with the reader, or a contact."""
        now = self._clock_ms()
        explicit = owner.explicit(Scope.CALL, sender, now)
        if explicit is None:
            tier = CONTACT if owner.is_contact(sender, now) else SHARED_ROOM
            explicit = owner.answers(Scope.CALL)[tier]
        return explicit is not Answer.ALLOW

    def now_ms(self) -> int:
        """The time, by which rows expire."""
        return self._clock_ms()

    def limits(self, owner: OwnerConsent, scope: str) -> bool:
        """Whether a scope is not simply open to everybody."""
        return (
            not self._open[scope]
            or owner.has_rows(scope)
            or owner.has_rows(Scope.MESSAGE)
            or owner.has_particular(Scope.FEDERATION)
        )

    def restricts(self, scope: str, owner: str) -> bool:
        """Whether a user's presence, typing or receipts are not simply everybody's to see."""
        if owner in self._restricting[scope] or owner in self._blocking:
            return True
        # For users of other instances, their own decide what is sent here.
        return not self._open[scope] and server_name_of(owner) == self._server_name

    def any_restricts(self, scope: str) -> bool:
        """Whether there is anybody whose presence, typing or receipts not everybody may see."""
        return not self._open[scope] or bool(self._restricting[scope] or self._blocking)

    async def prepare(self, owners: Iterable[str]) -> None:
        """Have these users' rows at hand."""
        await self.owners(list(owners))

    async def may_see(self, owner: str, reader: str, scope: str) -> bool:
        """Whether a reader, in a room with a user, may see their presence, typing or receipts."""
        if owner == reader or not self.restricts(scope, owner):
            return True
        rows, now = await self.owner(owner), self._clock_ms()
        explicit = rows.explicit(scope, reader, now)
        if explicit is None:
            tier = CONTACT if rows.is_contact(reader, now) else SHARED_ROOM
            explicit = rows.answers(scope)[tier]
        return explicit is Answer.ALLOW

    async def servers_that_may_see(
        self, owner: str, servers: Iterable[str], scope: str
    ) -> frozenset[str]:
        """The instances that are told of a user's presence, typing or receipts.

        What an instance is told, all its users may see.  So one whose user was refused is not
        told, though it be granted to others there.
        """
        if not self.restricts(scope, owner):
            return frozenset(servers)
        rows, now = await self.owner(owner), self._clock_ms()
        refused, granted = set(), set()
        for (row_scope, peer), _ in rows.rows.items():
            if row_scope in (scope, Scope.MESSAGE) and peer[0] == "@":
                answer = rows.explicit(scope, peer, now)
                if answer is Answer.ALLOW and row_scope == scope:
                    granted.add(server_name_of(peer))
                elif answer is not None and answer is not Answer.ALLOW:
                    refused.add(server_name_of(peer))
        at_large = rows.answers(scope)[SHARED_ROOM] is Answer.ALLOW
        told = set()
        for server in servers:
            answer = rows.explicit(scope, f"@:{server}", now)
            allowed = answer is Answer.ALLOW if answer is not None else at_large
            if server not in refused and (allowed or server in granted):
                told.add(server)
        return frozenset(told)

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
        actor: str | None = None,
    ) -> None:
        """Add a row to the user's consent; returns when it is on disk."""
        await self.change(owner, [Change(scope, peer, state, expires_at)], how=how, actor=actor)

    async def change(
        self, owner: str, changes: Collection[Change], *, how: str, actor: str | None = None
    ) -> None:
        """Add rows to the user's consent, together; returns when they are on disk."""
        now = self._clock_ms()
        records = [
            ConsentRecord(owner, c.peer, c.scope, c.state, how, now, c.expires_at, actor)
            for c in changes
        ]
        if records:
            await self._log.append(*records)

    async def set_answers(
        self, owner: str, answers: Mapping[str, Answers], *, how: str, actor: str | None = None
    ) -> None:
        """Set the user's answers by scope and tier; what is as it was leaves no row."""
        rows = await self.owner(owner)
        changes = [
            Change(scope, TIER_PREFIX + tier, STATE_OF_ANSWER[answer])
            for scope, by_tier in answers.items()
            for tier, answer in by_tier.items()
            if rows.answers(scope)[tier] is not answer
        ]
        await self.change(owner, changes, how=how, actor=actor)

    async def set_preset(self, owner: str, preset: str, *, how: str) -> None:
        """Choose one of the defaults for messages, groups, media and calls in one step."""
        await self.set_answers(owner, dict.fromkeys(ONE_STEP, PRESETS[preset]), how=how)

    async def clear(self, owner: str, peer: str, scope: str, *, how: str) -> None:
        """Take a row back: what is more general counts again."""
        await self.set(owner, peer, scope, CLEARED, how=how)

    async def grant_if_new(self, owner: str, peer: str, scope: str, *, how: str) -> None:
        """Grant, unless it is granted already."""
        if (await self.owner(owner)).state(scope, peer, self._clock_ms()) != "granted":
            await self.set(owner, peer, scope, "granted", how=how)

    def require_change(self, scope: str) -> None:
        """Raise :class:`Forbidden` if the admin keeps this scope to themselves."""
        if scope not in self.defaults.user_may_change:
            raise Forbidden(f"The admin of this server decides about '{scope}'")

    # ------------------------------------------------------------ memory

    def on_notice(self, notice: Notice) -> None:
        """Follow what was committed."""
        for _, record in notice.records:
            if not isinstance(record, ConsentRecord):
                continue
            if record.scope in self._restricting:
                self._restricting[record.scope].add(record.owner)
            elif record.scope in BLOCKING and record.state in ("denied", "revoked"):
                self._blocking.add(record.owner)
            owner = self._owners.get(record.owner)
            if owner is not None:
                owner.change(record.scope, record.peer, record.state, record.expires_at)

    async def owner(self, user_id: str) -> OwnerConsent:
        """A user's rows."""
        owner = self._owners.get(user_id)
        if owner is not None:
            self._owners.move_to_end(user_id)
            return owner
        before = self._log.position
        rows = await storage.get_consent(self._database, user_id)
        return self._remember(user_id, rows, before)

    async def owners(self, user_ids: Collection[str]) -> dict[str, OwnerConsent]:
        """The rows of several users, of whom the unknown ones cost one statement."""
        found = {user_id: self._owners[user_id] for user_id in user_ids if user_id in self._owners}
        unknown = [user_id for user_id in user_ids if user_id not in found]
        if unknown:
            before = self._log.position
            by_owner = await storage.get_consent_of(self._database, unknown)
            for user_id, rows in by_owner.items():
                found[user_id] = self._remember(user_id, rows, before)
        return found

    def _remember(
        self, user_id: str, rows: dict[tuple[str, str], tuple[str, int | None]], position: int
    ) -> OwnerConsent:
        """Rows as read while the log stood at ``position``."""
        owner = OwnerConsent(rows, self.defaults.answers, self._server_name)
        if self._log.position == position:  # else a change may have passed unseen
            self._owners[user_id] = owner
            if len(self._owners) > CACHED_OWNERS:
                self._owners.popitem(last=False)
        return owner
