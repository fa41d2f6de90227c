"""Invitations to this instance, by members: a code in a link.  See ``docs/accounts.md``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from msgspec import Struct

from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.storage import accounts as account_storage
from homeserver.storage import invitations as storage
from homeserver.storage.database import Connection, Database
from homeserver.storage.invitations import Invitation, InvitationUse

DAY_MS = 24 * 3600 * 1000
KEEP_STALE_MS = 30 * DAY_MS
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that is taken for something else
CODE_LENGTH = 20  # 99 bits
MAX_CODE_LENGTH = 64
MAX_USES = 100
MAX_NOTE_LENGTH = 200


class Limits(Struct, frozen=True):
    """``registration.invitations``."""

    enabled: bool
    per_member: int
    max_days: int


class Invitations:
    """Makes codes, lists and revokes them, and uses them up."""

    def __init__(
        self,
        *,
        limits: Limits,
        public_base_url: str,
        database: Database,
        clock_ms: Callable[[], int],
    ) -> None:
        self.limits = limits
        self._base_url = public_base_url.rstrip("/")
        self._database = database
        self._clock_ms = clock_ms

    # ------------------------------------------------------------ for members

    async def create(
        self, inviter: str, *, uses: int = 1, days: int = 7, note: str | None = None
    ) -> Invitation:
        """A new invitation.

        Raises: :class:`Forbidden` where members do not invite, or have too many open invitations;
        :class:`InvalidParam`.
        """
        if not self.limits.enabled:
            raise Forbidden("On this server members do not invite: ask its admin for an account")
        if not 1 <= uses <= MAX_USES:
            raise InvalidParam(f"'uses' must be between 1 and {MAX_USES}")
        if not 1 <= days <= self.limits.max_days:
            raise InvalidParam(f"'expires_in_days' must be between 1 and {self.limits.max_days}")
        if note is not None and (len(note) > MAX_NOTE_LENGTH or "\0" in note):
            raise InvalidParam(f"'note' must have at most {MAX_NOTE_LENGTH} characters")
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        now = self._clock_ms()
        made = Invitation(code, inviter, uses, 0, note, now, now + days * DAY_MS, None)
        async with self._database.transaction() as connection:
            if not await storage.insert_invitation(
                connection,
                made,
                most_open=self.limits.per_member,
                stale_before=now - KEEP_STALE_MS,
            ):
                raise Forbidden(
                    f"You have {self.limits.per_member} open invitations: revoke one first"
                )
        return made

    async def mine(self, inviter: str) -> Sequence[tuple[Invitation, list[InvitationUse]]]:
        """A member's invitations, the newest first, each with who came by it."""
        invitations = await storage.get_invitations(self._database, inviter)
        uses = await storage.get_uses(self._database, [i.code for i in invitations])
        by_code: dict[str, list[InvitationUse]] = {i.code: [] for i in invitations}
        for use in uses:
            by_code[use.code].append(use)
        return [(invitation, by_code[invitation.code]) for invitation in invitations]

    async def get_own(self, inviter: str, code: str) -> Invitation:
        """One of a member's own invitations.  Raises: :class:`NotFound`."""
        invitation = await self._find(code)
        if invitation is None or invitation.inviter != inviter:
            raise NotFound("You have no such invitation")
        return invitation

    async def revoke(self, inviter: str, code: str) -> None:
        """Make an invitation void.  Raises: :class:`NotFound`."""
        invitation = await self.get_own(inviter, code)
        await storage.revoke_invitation(self._database, invitation.code, inviter, self._clock_ms())

    def link(self, code: str) -> str:
        """The address that an invited person opens."""
        return f"{self._base_url}/_comity/join/{code}"

    def state(self, invitation: Invitation) -> str:
        """``open``, ``used``, ``expired`` or ``revoked``."""
        return invitation.state(self._clock_ms())

    # ------------------------------------------------------------ for newcomers

    async def find(self, code: str) -> Invitation | None:
        """An invitation as a newcomer finds it: open or not; None where it can never be used."""
        if not self.limits.enabled:
            return None
        invitation = await self._find(code)
        if invitation is None:
            return None
        inviter = await account_storage.get_account(self._database, invitation.inviter)
        return invitation if inviter is not None and inviter.deactivated_at is None else None

    async def is_valid(self, code: str) -> bool:
        """Whether an account could be made by a code now."""
        invitation = await self.find(code)
        return invitation is not None and self.state(invitation) == "open"

    async def use(self, connection: Connection, code: str, user_id: str) -> bool:
        """Use a code for an account made in the same transaction.  False if it is not valid."""
        if not self.limits.enabled:
            return False
        return await storage.use_invitation(connection, code, user_id, self._clock_ms())

    async def _find(self, code: str) -> Invitation | None:
        if "\0" in code or len(code) > MAX_CODE_LENGTH:
            return None
        return await storage.get_invitation(self._database, code)
