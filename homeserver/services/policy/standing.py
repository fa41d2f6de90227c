"""Who is a stranger: a simple answer from consent and from the rooms that people share."""

from __future__ import annotations

from itertools import islice
from typing import Protocol

from homeserver.protocol.identifiers import server_name_of
from homeserver.services.live_room import LiveRoom
from homeserver.services.policy.subject import Subject
from homeserver.storage import shared_rooms
from homeserver.storage.database import Database

ASKED_READERS = 20


class Contacts(Protocol):
    """Consent, as far as standing needs it."""

    async def is_contact(self, owner: str, peer_user: str) -> bool:
        """Whether one of ours has let this very user write to them."""

    async def is_known(self, owner: str, peer_user: str) -> bool:
        """Whether they are a contact, or share a room with one of ours."""


class SharedRoomsStanding:
    """Known is who is a reader's contact, or is in another room together with users of ours.

    Readers are a room's local members, of whom a few are asked; for an invite it is the invited
    user alone.
    """

    def __init__(self, *, server_name: str, database: Database, contacts: Contacts) -> None:
        self._server_name = server_name
        self._database = database
        self._contacts = contacts

    async def is_known(self, subject: Subject) -> bool:
        """Whether the sender is known to those who would read it."""
        if subject.is_invite and subject.state_key is not None:
            return await self._is_known_to(subject.state_key, subject.sender)
        readers = subject.room.joined_local if isinstance(subject.room, LiveRoom) else ()
        for reader in islice(sorted(readers), ASKED_READERS):
            if reader != subject.sender and await self._contacts.is_contact(reader, subject.sender):
                return True
        return await shared_rooms.shares_another_room(
            self._database, subject.sender, subject.room_id
        )

    async def _is_known_to(self, owner: str, sender: str) -> bool:
        if server_name_of(owner) != self._server_name:
            return True  # whether they know each other is for the invited user's server to say
        return await self._contacts.is_known(owner, sender)
