"""Inviting many: some at once, the rest in the background, and each until it is out or refused.

What is wanted is a row before anything is done, so that a process that dies leaves nothing half.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import structlog

from homeserver.errors import MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.conversations.problems import Problem, problem_code
from homeserver.services.rooms import Rooms
from homeserver.storage import accounts as account_storage
from homeserver.storage import pending_invites as storage
from homeserver.storage.database import Database
from homeserver.storage.pending_invites import PendingInvite

logger = structlog.get_logger(__name__)

AT_ONCE = 50  # so many go out before an answer
PER_ROUND = 100
LOCAL_SIDE_BY_SIDE = 8
LEASE_MS = 120_000
FIRST_RETRY_MS = 10_000
LONGEST_RETRY_MS = 3_600_000
MOST_ATTEMPTS = 30
LONGEST_SLEEP_SECONDS = 600.0
AFTER_FAILURE_SECONDS = 10.0
TRIED_AGAIN = (429,)


class Invites(Protocol):
    """What makes an invitation."""

    async def invite(
        self,
        inviter: UserId,
        room_id: str,
        invitee: UserId,
        *,
        content: JsonObject | None = None,
        reason: str | None = None,
    ) -> None:
        """Invite somebody.  Raises what consent, policy and the auth rules raise."""


class Inviting:
    """Sends invitations."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        rooms: Rooms,
        membership: Invites,
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._rooms = rooms
        self._membership = membership
        self._clock_ms = clock_ms
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on with what was left at the last stop."""
        self._task = asyncio.create_task(self._run(), name="inviting")

    async def close(self) -> None:
        """Stop; what is left stays for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ------------------------------------------------------------ asking for it

    async def invite(
        self,
        inviter: UserId,
        room_id: str,
        people: Collection[UserId],
        *,
        is_direct: bool = False,
        reason: str | None = None,
    ) -> None:
        """Invite people: a few before this returns, the others after it.

        Never fails for one of them: :meth:`pending` says what became of whom.
        """
        if not people:
            return
        now = self._clock_ms()
        await storage.insert_invites(
            self._database,
            room_id,
            people,
            inviter=inviter,
            is_direct=is_direct,
            reason=reason,
            now=now,
        )
        taken = await storage.take_invites(
            self._database, now=now, until=now + LEASE_MS, limit=AT_ONCE, room_id=room_id
        )
        await self._work(taken)
        if len(people) > len(taken):
            self._wake.set()

    async def pending(self, room_id: str, people: Collection[str]) -> dict[str, PendingInvite]:
        """Those of some people who are not invited yet, or could not be."""
        return await storage.get_invites(self._database, room_id, people)

    async def forget(self, room_id: str, people: Collection[str]) -> None:
        """Do not invite them any more."""
        await storage.delete_invites(self._database, room_id, people)

    # ------------------------------------------------------------ doing it

    async def work_off(self) -> None:
        """Do all that is due now."""
        while await self._round():
            pass

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                if await self._round():
                    continue
                due = await storage.get_next(self._database)
                seconds = LONGEST_SLEEP_SECONDS
                if due is not None:
                    seconds = min(max((due - self._clock_ms()) / 1000, 0.05), seconds)
            except Exception:
                logger.exception("invitations are stuck")
                seconds = AFTER_FAILURE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _round(self) -> bool:
        now = self._clock_ms()
        taken = await storage.take_invites(
            self._database, now=now, until=now + LEASE_MS, limit=PER_ROUND
        )
        await self._work(taken)
        return bool(taken)

    async def _work(self, invites: Sequence[PendingInvite]) -> None:
        """Invite people: ours side by side; of other instances one after the other in each room,
        for these would fork it."""
        local = [i for i in invites if UserId(i.user_id).server_name == self._server_name]
        by_room: dict[str, list[PendingInvite]] = {}
        for invite in invites:
            if UserId(invite.user_id).server_name != self._server_name:
                by_room.setdefault(invite.room_id, []).append(invite)
        side_by_side = asyncio.Semaphore(LOCAL_SIDE_BY_SIDE)

        async def one(invite: PendingInvite) -> None:
            async with side_by_side:
                await self._invite(invite)

        async def in_turn(queue: Sequence[PendingInvite]) -> None:
            for invite in queue:
                await self._invite(invite)

        await asyncio.gather(*map(one, local), *map(in_turn, by_room.values()))

    async def _invite(self, invite: PendingInvite) -> None:
        inviter, invitee = UserId(invite.inviter), UserId(invite.user_id)
        try:
            room = await self._rooms.find(invite.room_id)
            if room is None or room.membership(invitee) not in ("join", "invite"):
                await check_exists(self._database, invitee, self._server_name)
                await self._membership.invite(
                    inviter,
                    invite.room_id,
                    invitee,
                    content={"is_direct": True} if invite.is_direct else None,
                    reason=invite.reason,
                )
            await storage.delete_invites(self._database, invite.room_id, (invitee,))
        except MatrixError as error:
            await self._failed(invite, error)
        except Exception:
            logger.exception("an invitation failed", room_id=invite.room_id)
            unforeseen = MatrixError("Something went wrong on this server", status=500)
            await self._failed(invite, unforeseen)

    async def _failed(self, invite: PendingInvite, error: MatrixError) -> None:
        next_attempt_at = None
        again = error.status >= 500 or error.status in TRIED_AGAIN
        if again and invite.attempts < MOST_ATTEMPTS:
            wait = min(FIRST_RETRY_MS * 2 ** (invite.attempts - 1), LONGEST_RETRY_MS)
            next_attempt_at = self._clock_ms() + wait
            self._wake.set()
        await storage.set_problem(
            self._database,
            invite,
            problem=problem_code(error),
            detail=error.text,
            next_attempt_at=next_attempt_at,
        )


async def check_exists(database: Database, person: UserId, server_name: str) -> None:
    """Raise :class:`NotFound`, or :class:`Problem` ``account_ended``, for a user ID of ours that
    is nobody's."""
    if person.server_name != server_name:
        return
    account = await account_storage.get_account(database, person)
    if account is None:
        raise NotFound(f"There is nobody called {person.address} here")
    if account.deactivated_at is not None:
        raise Problem("account_ended", "That account has ended", status=410)
