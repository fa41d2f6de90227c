"""Who people are: profiles as the caller may see them, lists of people, one's own profile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import UNSET

from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId, server_name_of
from homeserver.services.consent import Consent
from homeserver.services.consent.access import ConsentAccess
from homeserver.services.consent.requests import MessageRequests
from homeserver.services.conversations.private_lists import PrivateLists
from homeserver.services.conversations.shapes.media import media_id, media_uri
from homeserver.services.conversations.shapes.people import (
    Me,
    MyChanges,
    Person,
    Profile,
    address,
)
from homeserver.services.people_search import PeopleSearch
from homeserver.services.profiles import AVATAR_URL, DISPLAY_NAME, TIME_ZONE, ProfileService
from homeserver.storage import people_directory as storage
from homeserver.storage.database import Database


class StatusTexts(Protocol):
    """The text beside somebody's presence."""

    async def status_text(self, user_id: str) -> str | None:
        """The text of a local user."""

    async def set_status_text(self, user_id: str, text: str | None) -> None:
        """Set it, and leave the rest of their presence as it is."""


class People:
    """Profiles and lists of people."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        profiles: ProfileService,
        consent: Consent,
        access: ConsentAccess,
        requests: MessageRequests,
        lists: PrivateLists,
        search: PeopleSearch,
        statuses: StatusTexts,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._profiles = profiles
        self._consent = consent
        self._access = access
        self._requests = requests
        self._lists = lists
        self._search = search
        self._statuses = statuses

    # ------------------------------------------------------------ others

    async def get(self, reader: UserId, user_id: UserId) -> Profile:
        """Somebody's profile.

        Raises :class:`~homeserver.errors.NotFound` also for whom the reader may not know.
        """
        if self._is_local(user_id):
            await self._access.check_look_up(user_id, by=reader)
        fields = await self._profiles.get(user_id)
        if await self._requests.is_pending(reader, user_id):
            fields = {key: value for key, value in fields.items() if key == DISPLAY_NAME}
        ignored = await self._consent.spellings.ignored(reader)
        time_zone = fields.get(TIME_ZONE)
        return Profile(
            person=self._person(user_id, fields),
            is_contact=await self._consent.is_contact(reader, user_id),
            is_blocked=user_id in ignored or await self.is_denied(reader, user_id),
            note=(await self._lists.notes(reader)).get(user_id),
            time_zone=time_zone if isinstance(time_zone, str) else None,
        )

    async def is_denied(self, owner: str, user_id: str) -> bool:
        """Whether a user has refused messages of this very person."""
        return await self._consent.state_of(owner, user_id, "message") in ("denied", "revoked")

    async def persons(self, user_ids: Iterable[str]) -> dict[str, Person]:
        """Many people, by what is known here of them: one statement."""
        wanted = list(dict.fromkeys(user_ids))
        known = await storage.get_people(self._database, wanted) if wanted else {}
        return {
            user_id: self._listed(known[user_id])
            if user_id in known
            else Person(address=address(user_id), is_local=self._is_local(user_id))
            for user_id in wanted
        }

    async def find(
        self, reader: str, query: str, *, limit: int, offset: int
    ) -> tuple[list[Person], int | None]:
        """Whom a reader finds, and where the next part begins."""
        found = await self._search.search(reader, query, limit=limit, offset=offset)
        return [self._listed(listed) for listed in found.people], found.next

    # ------------------------------------------------------------ oneself

    async def person(self, user_id: UserId) -> Person:
        """A local user.  Raises :class:`~homeserver.errors.NotFound`."""
        return self._person(user_id, await self._profiles.get_local(user_id))

    async def me(self, user_id: UserId) -> Me:
        """A local user, as they see themselves."""
        fields = await self._profiles.get_local(user_id)
        time_zone = fields.get(TIME_ZONE)
        return Me(
            person=self._person(user_id, fields),
            status_text=await self._statuses.status_text(user_id),
            time_zone=time_zone if isinstance(time_zone, str) else None,
        )

    async def change_me(self, user_id: UserId, changes: MyChanges) -> Me:
        """Change a local user's profile.  Raises :class:`~homeserver.errors.InvalidParam`."""
        avatar = changes.avatar
        if isinstance(avatar, str):
            avatar = media_uri(avatar, "avatar")
        for key, value in (
            (DISPLAY_NAME, changes.name),
            (AVATAR_URL, avatar),
            (TIME_ZONE, changes.time_zone),
        ):
            if value is None or value == "":
                await self._profiles.delete_field(user_id, key)
            elif value is not UNSET:
                await self._profiles.set_field(user_id, key, value)
        if changes.status_text is not UNSET:
            text = changes.status_text if isinstance(changes.status_text, str) else None
            await self._statuses.set_status_text(user_id, text or None)
        return await self.me(user_id)

    # ------------------------------------------------------------ shapes

    def _is_local(self, user_id: str) -> bool:
        return server_name_of(user_id) == self._server_name

    def _person(self, user_id: str, fields: JsonObject) -> Person:
        name = fields.get(DISPLAY_NAME)
        return Person(
            address=address(user_id),
            name=name if isinstance(name, str) and name else None,
            avatar=media_id(fields.get(AVATAR_URL)),
            is_local=self._is_local(user_id),
        )

    def _listed(self, listed: storage.Listed) -> Person:
        return Person(
            address=address(listed.user_id),
            name=listed.name or None,
            avatar=media_id(listed.avatar_url),
            is_local=listed.local,
        )
