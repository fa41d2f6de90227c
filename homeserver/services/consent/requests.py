"""Message requests: a stranger's invite waits for its recipient's answer.

One pending request for each sender, however often they try: it shows, without pictures, names and
topics of the stranger's choosing, and does not notify.  It expires; it is accepted, declined,
declined and blocked, or declined and reported, by the page or by joining or leaving the room.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import structlog
from msgspec import Struct
from msgspec.structs import replace

from homeserver.config import RateConfig
from homeserver.errors import InviteBlocked, LimitExceeded, MatrixError
from homeserver.protocol.globs import glob_to_regex
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.consent.consent import Consent
from homeserver.services.consent.invite_rates import AbuseQueue, InviteRates
from homeserver.services.consent.scopes import SHARED_ROOM, Answer, Scope
from homeserver.services.consent.spellings import SPELLINGS
from homeserver.storage import message_requests as storage
from homeserver.storage.account_data import AccountDataRecord
from homeserver.storage.consent import ConsentRecord
from homeserver.storage.database import Database
from homeserver.storage.log import Log, Notice, Record
from homeserver.storage.message_requests import MessageRequest, RequestRecord
from homeserver.storage.rooms import MembershipRow, is_direct_invite

logger = structlog.get_logger(__name__)

DAY_MS = 24 * 3_600_000
CACHED_OWNERS = 10_000
MAX_REQUESTS = 1_000
SWEEP_SECONDS = 60.0
EXPIRED_AT_ONCE = 500
FORGOTTEN_AFTER_MS = 90 * DAY_MS
FROM_INVITE = "invite"
ABOUT_INVITES = (Scope.MESSAGE, Scope.GROUP, Scope.FEDERATION)
ACCEPTED, BLOCKED, DECLINED = "accepted", "blocked", "declined"


class RequestLimits(Struct, frozen=True):
    """How many strangers may knock at a user's door, and for how long they wait."""

    expire_after_ms: int = 30 * DAY_MS
    declined_for_ms: int = 30 * DAY_MS
    max_pending: int = 100
    per_sender: RateConfig = RateConfig(per_second=0.01, burst=20)
    per_instance: RateConfig = RateConfig(per_second=0.1, burst=100)


class Invites(Protocol):
    """Invites that somebody has."""

    async def leave(self, user_id: UserId, room_id: str, *, reason: str | None = None) -> None:
        """Reject an invite."""


class BlockedServers(Protocol):
    """The instances that the admin has blocked."""

    def is_blocked(self, server_name: str) -> object | None:
        """Why an instance is blocked, or None."""


class MessageRequests:
    """Keeps the requests of users, and decides which invites they are shown."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        consent: Consent,
        limits: RequestLimits,
        clock_ms: Callable[[], int],
        rates_enabled: bool = True,
    ) -> None:
        self._database = database
        self._log = log
        self._consent = consent
        self._limits = limits
        self._clock_ms = clock_ms
        self._rates = InviteRates(
            consent=consent,
            per_sender=limits.per_sender,
            per_instance=limits.per_instance,
            clock_ms=clock_ms,
            enabled=rates_enabled,
        )
        self.invites: Invites | None = None
        self.blocked_servers: BlockedServers | None = None
        self._owners: OrderedDict[str, dict[str, tuple[MessageRequest, int]]] = OrderedDict()
        # One thing at a time for each owner: what is decided is decided by what is on disk.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._sweeping: dict[str, bool] = {}  # owner -> whether the rules changed meanwhile
        self._tasks: set[asyncio.Task[None]] = set()
        self._expiring: asyncio.Task[None] | None = None

    @property
    def abuse(self) -> AbuseQueue | None:
        """Where moderators see who overdoes it."""
        return self._rates.abuse

    @abuse.setter
    def abuse(self, queue: AbuseQueue) -> None:
        self._rates.abuse = queue

    async def start(self) -> None:
        """Begin to let old requests expire."""
        self._expiring = asyncio.create_task(self._expire(), name="message requests")

    async def close(self) -> None:
        """Stop."""
        tasks = [*self._tasks, *([self._expiring] if self._expiring is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ an invite comes

    async def may_invite(self, owner: UserId, inviter: str, *, is_direct: bool) -> Answer:
        """What would become of an invite.  Raises :class:`InviteBlocked`; leaves no trace."""
        scope = Scope.MESSAGE if is_direct else Scope.GROUP
        answer = await self._consent.invite_answer(owner, inviter, scope)
        if answer is Answer.BLOCK or await self._declines(owner, inviter):
            raise blocked()
        return answer

    async def count(self, owner: UserId, inviter: str, event_id: str | None) -> None:
        """Count an invite, the same event once.  Raises :class:`LimitExceeded`."""
        await self._rates.count(owner, inviter, event_id)

    async def check(
        self,
        owner: UserId,
        inviter: str,
        room_id: str,
        *,
        is_direct: bool,
        event_id: str | None = None,
    ) -> Answer:
        """The answer to an invite, noted if it is a request.

        Raises :class:`InviteBlocked`, :class:`LimitExceeded`.
        """
        is_local = server_name_of(inviter) == owner.server_name
        if not is_local:  # at once: to find the answer may be much work
            await self._rates.count(owner, inviter, event_id)
        async with self._lock(owner):
            return await self._check(owner, inviter, room_id, event_id, is_direct=is_direct)

    async def _check(
        self, owner: UserId, inviter: str, room_id: str, event_id: str | None, *, is_direct: bool
    ) -> Answer:
        scope = Scope.MESSAGE if is_direct else Scope.GROUP
        answer = await self._consent.invite_answer(owner, inviter, scope)
        # Whom a local user may invite is theirs and their rate limit's affair.
        if server_name_of(inviter) == owner.server_name and answer is not Answer.ALLOW:
            await self._rates.count(owner, inviter, event_id)
        if answer is Answer.BLOCK or await self._declines(owner, inviter):
            raise blocked()
        if answer is Answer.ASK:
            await self._ask(owner, inviter, room_id, is_direct=is_direct)
            return answer
        known = (await self._of(owner)).get(inviter)
        if answer is Answer.ALLOW and known is not None and known[0].state != ACCEPTED:
            await self._log.append(self._closed(known[0], ACCEPTED))  # they now know each other
        return answer

    async def _declines(self, owner: UserId, inviter: str) -> bool:
        """Whether the inviter was declined not long ago."""
        known = (await self._of(owner)).get(inviter)
        if known is None or known[0].state != DECLINED:
            return False
        return await self._consent.state_of(owner, inviter, known[0].scope) == "asked"

    async def _ask(self, owner: UserId, inviter: str, room_id: str, *, is_direct: bool) -> None:
        now = self._clock_ms()
        requests = await self._of(owner)
        known = requests.get(inviter)
        if known is not None and known[0].state == storage.PENDING:
            if known[0].room_id == room_id:
                return
            tried = replace(known[0], attempts=known[0].attempts + 1, updated_at=now)
            await self._log.append(RequestRecord(tried))
            return
        pending = sum(request.state == storage.PENDING for request, _ in requests.values())
        if pending >= self._limits.max_pending:
            raise LimitExceeded(self._limits.expire_after_ms // self._limits.max_pending)
        scope = Scope.MESSAGE if is_direct else Scope.GROUP
        expires_at = now + self._limits.expire_after_ms
        request = MessageRequest(
            owner,
            inviter,
            server_name_of(inviter),
            scope,
            room_id,
            storage.PENDING,
            1 if known is None else known[0].attempts + 1,
            now,
            now,
            expires_at,
        )
        asked = ConsentRecord(owner, inviter, scope, "asked", FROM_INVITE, now, expires_at)
        await self._log.append(RequestRecord(request), asked)

    # ------------------------------------------------------------ what its recipient is shown

    async def shown_invites(
        self, user_id: str, rows: Mapping[str, MembershipRow], since: int | None
    ) -> dict[str, tuple[MembershipRow, bool]]:
        """The invites that a sync shows: room ID -> the row, and whether pictures are withheld.

        ``since``: only what is new after that position.
        """
        if not rows:
            return {}
        requests = await self._of(user_id)
        shown: dict[str, tuple[MembershipRow, bool]] = {}
        for room_id, row in rows.items():
            known = requests.get(row.sender)
            if since is not None and max(row.position, known[1] if known else 0) <= since:
                continue
            if known is not None and known[0].state == storage.PENDING:
                if known[0].room_id == room_id and await self._may_show(user_id, row):
                    shown[room_id] = (row, True)
            elif (known is None or known[0].state == ACCEPTED) and await self._may_show(
                user_id, row, asked=False
            ):
                shown[room_id] = (row, False)
        return shown

    async def _may_show(self, user_id: str, row: MembershipRow, *, asked: bool = True) -> bool:
        blocked = self.blocked_servers
        if blocked is not None and blocked.is_blocked(server_name_of(row.sender)) is not None:
            return False
        scope = Scope.MESSAGE if is_direct_invite(row, user_id) else Scope.GROUP
        answer = await self._consent.invite_answer(UserId(user_id), row.sender, scope)
        return answer is Answer.ALLOW or (asked and answer is Answer.ASK)

    def is_asked(self, owner: str, sender: str) -> bool:
        """Whether a stranger waits for an answer, as far as is known without looking it up."""
        known = self._owners.get(owner, {}).get(sender)
        return known is not None and known[0].state == storage.PENDING

    async def is_pending(self, owner: str, sender: str) -> bool:
        """Whether a stranger waits for an answer: until then their pictures are not shown."""
        known = (await self._of(owner)).get(sender)
        return known is not None and known[0].state == storage.PENDING

    # ------------------------------------------------------------ answers

    async def list(self, owner: str, state: str | None = None) -> list[MessageRequest]:
        """A user's requests in one state, or in any, the last changed first."""
        requests = [request for request, _ in (await self._of(owner)).values()]
        found = [request for request in requests if state is None or request.state == state]
        return sorted(found, key=lambda request: request.updated_at, reverse=True)

    async def answer_all(
        self,
        owner: UserId,
        answer: str,
        *,
        sender: str | None = None,
        server: str | None = None,
        how: str,
        reason: str = "",
    ) -> int:
        """Answer the pending requests of a sender, of an instance, or all; how many there were.

        ``answer``: accept, decline, block or report.
        """
        pending = [
            request
            for request in await self.list(owner, storage.PENDING)
            if sender in (None, request.sender) and server in (None, request.server)
        ]
        decided = 0
        for request in pending:
            decided += await self._decide(request, answer, how=how, reason=reason)
        if answer in ("block", "report") and server is not None:
            await self._consent.set(owner, server, Scope.MESSAGE, "denied", how=how)
        return decided

    async def invite_answered(self, owner: UserId, sender: str, *, accepted: bool) -> None:
        """The recipient joined, or left, a room that they were invited to."""
        known = (await self._of(owner)).get(sender)
        if known is not None and known[0].state == storage.PENDING:
            answer, how = ("accept", "accepted invite") if accepted else ("decline", "client")
            await self._decide(known[0], answer, how=how, leave=False)
        if accepted:
            await self._consent.grant_if_new(owner, sender, Scope.MESSAGE, how="accepted invite")

    async def _decide(
        self,
        request: MessageRequest,
        answer: str,
        *,
        how: str,
        reason: str = "",
        leave: bool = True,
    ) -> bool:
        """Answer one request, unless somebody was faster."""
        async with self._lock(request.owner):
            if not await self._is_still(request):
                return False
            tier = await self._consent.tier(request.owner, request.sender)
            await self._log.append(*self._decided(request, answer, how, tier))
        if answer == "report" and self.abuse is not None:
            report = (request.owner, request.sender, request.room_id, reason)
            await self.abuse.report(*report)
            self._run(self.abuse.pass_on(*report))
        if answer == "decline" and leave:
            self._run(self._reject([request]))
        return True

    def _decided(
        self, request: MessageRequest, answer: str, how: str, tier: str
    ) -> Sequence[Record]:
        """A request as it is once it was answered, and the rows of consent that follow."""
        now = self._clock_ms()
        state, row_state, expires_at = BLOCKED, "denied", None
        if answer == "accept":
            state, row_state = ACCEPTED, "granted"
        elif answer == "decline":
            state, expires_at = DECLINED, now + self._limits.declined_for_ms
            if tier == SHARED_ROOM:
                row_state = "asked"  # no block: in the rooms that both are in they are heard
        scopes = dict.fromkeys((Scope.MESSAGE, request.scope))
        decided = replace(
            request, state=state, updated_at=now, reported=request.reported or answer == "report"
        )
        return [
            RequestRecord(decided),
            *(
                ConsentRecord(request.owner, request.sender, s, row_state, how, now, expires_at)
                for s in scopes
            ),
        ]

    async def _reject(self, requests: Iterable[MessageRequest]) -> None:
        """Reject the invites of some senders; a server that does not answer does not matter."""
        if self.invites is None:
            return
        for request in requests:
            owner = UserId(request.owner)
            for room_id in await storage.get_invites_by(self._database, owner, request.sender):
                try:
                    await self.invites.leave(owner, room_id)
                except MatrixError as error:
                    logger.info("invite not rejected", room_id=room_id, reason=error.text)

    # ------------------------------------------------------------ rules change, time passes

    async def server_blocked(self, server: str) -> None:
        """The admin blocked instances, a glob: what their users asked for goes out of sight."""
        pattern = glob_to_regex(server, ignore_case=True)
        names = await storage.get_pending_servers(self._database)
        matching = [name for name in names if pattern.match(name)]
        while requests := await storage.get_pending_of_servers(
            self._database, matching, MAX_REQUESTS
        ):
            await self._close_all(requests, BLOCKED)

    async def sweep(self, owner: UserId) -> None:
        """Apply changed rules to what is pending, and to what was blocked."""
        for request in await self.list(owner):
            if request.state not in (storage.PENDING, BLOCKED):
                continue
            answer = await self._consent.invite_answer(owner, request.sender, request.scope)
            if answer is Answer.ALLOW:
                await self._close_all([request], ACCEPTED)
            elif answer is not Answer.ASK and request.state == storage.PENDING:
                await self._close_all([request], BLOCKED)

    async def _close_all(
        self, requests: Sequence[MessageRequest], state: str
    ) -> Sequence[MessageRequest]:
        """Move requests into another state, but those that were answered meanwhile; which."""
        closed = await asyncio.gather(*(self._close(request, state) for request in requests))
        return [request for request, moved in zip(requests, closed, strict=True) if moved]

    async def _close(self, request: MessageRequest, state: str) -> bool:
        async with self._lock(request.owner):
            if not await self._is_still(request):
                return False
            await self._log.append(self._closed(request, state))
            return True

    def _closed(self, request: MessageRequest, state: str) -> RequestRecord:
        return RequestRecord(replace(request, state=state, updated_at=self._clock_ms()))

    async def _is_still(self, request: MessageRequest) -> bool:
        """Whether a request is as it was when it was looked at; to be asked under the lock."""
        known = (await self._of(request.owner)).get(request.sender)
        return known is None or known[0].state == request.state

    def _lock(self, owner: str) -> asyncio.Lock:
        lock = self._locks.get(owner)
        if lock is None:
            lock = self._locks[owner] = asyncio.Lock()
        return lock

    async def _expire(self) -> None:
        forgotten_at = 0
        while True:
            try:
                while await self.expire_due() == EXPIRED_AT_ONCE:
                    pass
                if self._clock_ms() - forgotten_at > DAY_MS:
                    forgotten_at = self._clock_ms()
                    await self.forget_expired()
            except Exception:
                logger.exception("message requests do not expire")
            await asyncio.sleep(SWEEP_SECONDS)

    async def expire_due(self) -> int:
        """Let requests expire whose time is up, a number of them at once; how many there were."""
        due = await storage.get_due(self._database, self._clock_ms(), EXPIRED_AT_ONCE)
        expired = await self._close_all(due, "expired")
        if expired:
            self._run(self._reject(expired))  # some servers take their time, others' must not wait
        return len(due)

    async def forget_expired(self) -> None:
        """Delete requests that expired long ago, so that strangers do not fill the table."""
        await storage.forget_expired(self._database, self._clock_ms() - FORGOTTEN_AFTER_MS)

    async def account_ended(self, user_id: str) -> None:
        """Nobody waits any longer for an answer of a user whose account has ended, nor they."""
        pending = await storage.get_pending_involving(self._database, user_id)
        closed = await self._close_all(pending, "expired")
        await self._reject(request for request in closed if request.owner != user_id)

    def on_notice(self, notice: Notice) -> None:
        """Follow what was committed; changed rules sweep over what is pending."""
        changed: set[str] = set()
        for position, record in notice.records:
            if isinstance(record, RequestRecord):
                requests = self._owners.get(record.request.owner)
                if requests is not None:
                    requests[record.request.sender] = (record.request, position)
            elif isinstance(record, ConsentRecord):
                if record.how != FROM_INVITE and record.scope in ABOUT_INVITES:
                    changed.add(record.owner)
            elif isinstance(record, AccountDataRecord) and record.type in SPELLINGS:
                changed.add(record.user_id)
        for owner in changed:
            if owner in self._sweeping:
                self._sweeping[owner] = True
            else:
                self._sweeping[owner] = False
                self._run(self._sweep_until_settled(owner))

    async def _sweep_until_settled(self, owner: str) -> None:
        """One sweep at a time, however many rows change at once."""
        try:
            again = True
            while again:
                self._sweeping[owner] = False
                if await self._of(owner):
                    await self.sweep(UserId(owner))
                again = self._sweeping[owner]
        finally:
            del self._sweeping[owner]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("message requests failed", exc_info=task.exception())

    async def _of(self, owner: str) -> dict[str, tuple[MessageRequest, int]]:
        known = self._owners.get(owner)
        if known is None:
            before = self._log.position
            rows = await storage.get_requests(self._database, owner, MAX_REQUESTS)
            known = {request.sender: (request, position) for request, position in rows}
            if self._log.position == before:
                self._owners[owner] = known
                if len(self._owners) > CACHED_OWNERS:
                    self._owners.popitem(last=False)
        return known


def blocked() -> InviteBlocked:
    """The answer to whom the owner does not want to hear from."""
    return InviteBlocked("This user does not take invites from you")
