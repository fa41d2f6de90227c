"""Contacts and blocked people: what a user's consent and account data say of single persons.

A contact is somebody whom the user lets write to them; who is blocked is refused, and ignored.
So they are the same as in any Matrix client, and on the page of consent.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import UnsetType

from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent import Consent, Scope
from homeserver.services.consent.access import ConsentAccess
from homeserver.services.consent.requests import MessageRequests
from homeserver.services.conversations.people import People
from homeserver.services.conversations.private_lists import PrivateLists
from homeserver.services.conversations.shapes.pages import Page, make_cursor
from homeserver.services.conversations.shapes.people import Blocked, Contact
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage import consent as storage
from homeserver.storage.consent import CLEARED
from homeserver.storage.database import Database

HOW = "api"
REFUSED = ("denied", "revoked")


class Accounts(Protocol):
    """Accounts of this instance."""

    async def exists(self, user_id: str) -> bool:
        """Whether there is an account of that ID."""


class Contacts:
    """Keeps them."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        consent: Consent,
        access: ConsentAccess,
        requests: MessageRequests,
        people: People,
        lists: PrivateLists,
        accounts: Accounts,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._consent = consent
        self._access = access
        self._requests = requests
        self._people = people
        self._lists = lists
        self._accounts = accounts

    # ------------------------------------------------------------ contacts

    async def list(self, owner: str, *, after: str, limit: int) -> Page[Contact]:
        """A user's contacts after a user ID, in the order of their IDs."""
        rows = await storage.get_persons(
            self._database,
            owner,
            Scope.MESSAGE,
            ("granted",),
            after,
            limit + 1,
            now=self._consent.now_ms(),
        )
        people = await self._people.persons(row.peer for row in rows[:limit])
        notes = await self._lists.notes(owner)
        items = [
            Contact(
                person=people[row.peer], note=notes.get(row.peer), since=rfc3339(row.created_at)
            )
            for row in rows[:limit]
        ]
        return Page(items=items, next=make_cursor(rows[limit - 1].peer) if rows[limit:] else None)

    async def put(self, owner: UserId, user_id: UserId, note: str | UnsetType | None) -> Contact:
        """Add a contact, or change the note on one; who waits for an answer is let in.

        Raises: :class:`NotFound` for whom the owner may not know of,
        :class:`~homeserver.errors.Forbidden` where the admin decides about messages.
        """
        if user_id == owner:
            raise InvalidParam("You need not be your own contact")
        if user_id.server_name == self._server_name:
            await self._access.check_look_up(user_id, by=owner)
            if not await self._accounts.exists(user_id):
                raise NotFound("There is no such user")
        self._consent.require_change(Scope.MESSAGE)
        if await self._requests.is_pending(owner, user_id):
            await self._requests.answer_all(owner, "accept", sender=user_id, how=HOW)
        if user_id in await self._consent.spellings.ignored(owner):
            await self._lists.set_ignored(owner, user_id, False)
        await self._consent.grant_if_new(owner, user_id, Scope.MESSAGE, how=HOW)
        if not isinstance(note, UnsetType):
            await self._lists.set_note(owner, user_id, note)
        return await self._contact(owner, user_id)

    async def get(self, owner: UserId, user_id: UserId) -> Contact:
        """One contact.  Raises :class:`NotFound`."""
        if await self._consent.state_of(owner, user_id, Scope.MESSAGE) != "granted":
            raise NotFound("This person is not among your contacts")
        return await self._contact(owner, user_id)

    async def _contact(self, owner: UserId, user_id: UserId) -> Contact:
        people = await self._people.persons([user_id])
        notes = await self._lists.notes(owner)
        at = await storage.get_since(self._database, owner, user_id, Scope.MESSAGE)
        return Contact(
            person=people[user_id],
            note=notes.get(user_id),
            since=rfc3339(at) if at is not None else None,
        )

    async def remove(self, owner: UserId, user_id: UserId) -> None:
        """Somebody is no contact any more; the note goes too.  Raises :class:`NotFound`."""
        await self.get(owner, user_id)
        self._consent.require_change(Scope.MESSAGE)
        await self._consent.clear(owner, user_id, Scope.MESSAGE, how=HOW)
        await self._lists.set_note(owner, user_id, None)

    # ------------------------------------------------------------ blocked people

    async def blocked(self, owner: str, *, after: str, limit: int) -> Page[Blocked]:
        """Whom a user has blocked or ignores, after a user ID, in the order of their IDs."""
        rows = await storage.get_persons(
            self._database,
            owner,
            Scope.MESSAGE,
            REFUSED,
            after,
            limit + 1,
            now=self._consent.now_ms(),
        )
        since: dict[str, int | None] = {row.peer: row.created_at for row in rows}
        for user_id in await self._consent.spellings.ignored(owner):
            if user_id > after and user_id.startswith("@") and ":" in user_id:
                since.setdefault(user_id, None)
        shown = sorted(since)[: limit + 1]
        people = await self._people.persons(shown[:limit])
        items = [
            Blocked(person=people[user_id], since=rfc3339(at) if at is not None else None)
            for user_id in shown[:limit]
            for at in (since[user_id],)
        ]
        return Page(items=items, next=make_cursor(shown[limit - 1]) if shown[limit:] else None)

    async def block(self, owner: UserId, user_id: UserId) -> None:
        """Refuse and ignore somebody; a request of theirs is answered so.

        Raises: :class:`~homeserver.errors.Forbidden` where the admin decides about messages.
        """
        if user_id == owner:
            raise InvalidParam("You cannot block yourself")
        self._consent.require_change(Scope.MESSAGE)
        if await self._requests.is_pending(owner, user_id):
            await self._requests.answer_all(owner, "block", sender=user_id, how=HOW)
        if not await self._people.is_denied(owner, user_id):
            await self._consent.set(owner, user_id, Scope.MESSAGE, "denied", how=HOW)
        await self._lists.set_ignored(owner, user_id, True)

    async def unblock(self, owner: UserId, user_id: UserId) -> None:
        """Take that back: what the user answers to people like them counts again."""
        self._consent.require_change(Scope.MESSAGE)
        await self._lists.set_ignored(owner, user_id, False)
        if await self._people.is_denied(owner, user_id):
            await self._consent.set(owner, user_id, Scope.MESSAGE, CLEARED, how=HOW)
