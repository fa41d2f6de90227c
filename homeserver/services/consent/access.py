"""Consent for what is not an event: files, profiles and device keys."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from homeserver.errors import ConsentNotGiven, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent.consent import Consent
from homeserver.services.consent.owner import OwnerConsent
from homeserver.services.consent.scopes import (
    CONTACT,
    EVERYONE,
    SHARED_ROOM,
    STATES,
    STRANGER,
    Answer,
    Scope,
)
from homeserver.storage import accounts
from homeserver.storage import consent as storage
from homeserver.storage.database import Database

ANYBODY = "@:"  # somebody of whom nothing is known


class ConsentAccess:
    """Who may look a user up, and whose files a user is shown."""

    def __init__(self, *, database: Database, consent: Consent, base_url: str) -> None:
        self._database = database
        self._consent = consent
        self._page = f"{base_url.rstrip('/')}/_comity/me"

    # ------------------------------------------------------------ files

    async def check_download(
        self, reader: str, origin: str, media_id: str, uploader: str | None
    ) -> None:
        """Refuse a file from somebody whose files the reader has not agreed to see.

        Whose it is: of those who sent a message with it that we can read, any will do; else the
        uploader; else (another instance's file in encrypted rooms, or an avatar) whoever is of
        that instance.  Raises :class:`ConsentNotGiven`, which names the way to accept.
        """
        consent = self._consent
        owner = await consent.owner(reader)
        if not consent.limits(owner, Scope.MEDIA):
            return
        senders = await storage.get_media_senders(self._database, origin, media_id)
        if uploader is not None:
            senders = senders or [uploader]
        if reader == uploader or reader in senders:
            return
        for sender in senders:
            if await consent.answer(reader, sender, Scope.MEDIA) is Answer.ALLOW:
                return
        if not senders and await self._server_answer(owner, reader, origin) is Answer.ALLOW:
            return
        peer = senders[0] if senders else origin
        raise ConsentNotGiven(
            f"You have not agreed to see files from {peer}: the page at consent_uri lets you",
            f"{self._page}?scope=media&peer={quote(peer)}",
        )

    async def _server_answer(self, owner: OwnerConsent, reader: str, server: str) -> Answer:
        now = self._consent.now_ms()
        explicit = owner.explicit(Scope.MEDIA, f"@:{server}", now)
        if explicit is not None:
            return explicit
        answers = owner.answers(Scope.MEDIA)
        if owner.has_contact_on(server, now):
            return answers[CONTACT]
        if await storage.knows_server(self._database, reader, server):
            return answers[SHARED_ROOM]
        return answers[STRANGER]

    # ------------------------------------------------------------ profiles and keys

    async def may_look_up(self, owner_id: str, *, by: str) -> bool:
        """Whether a user, or an instance, may see a profile or device keys of one of ours.

        Who shares a room with them may; who is blocked is told what is said of unknown users.
        """
        consent = self._consent
        owner, now = await consent.owner(owner_id), consent.now_ms()
        if by == owner_id or not (
            consent.limits(owner, Scope.MESSAGE) or owner.has_particular(Scope.FEDERATION)
        ):
            return True
        if by.startswith("@"):
            if await consent.is_known(owner_id, by):
                return True
            return await consent.answer(owner_id, by, Scope.MESSAGE) is not Answer.BLOCK
        # What is at hand first: who shares a room with them is looked up in the database.
        return _lets_strangers_look(owner, by, now) or await storage.knows_server(
            self._database, owner_id, by
        )

    async def hidden_from(self, owners: Collection[str], reader: str) -> set[str]:
        """Those of some of our users whom a user may not look up."""
        limited = [
            owner_id
            for owner_id, owner in (await self._consent.owners(owners)).items()
            if owner_id != reader
            and (
                self._consent.limits(owner, Scope.MESSAGE) or owner.has_particular(Scope.FEDERATION)
            )
        ]
        return {o for o in limited if not await self.may_look_up(o, by=reader)}

    async def may_contact(self, owner_id: str, peer: str, scope: str) -> bool:
        """Whether a user of another instance has the consent of one of ours, as it is told them.

        Who does not exist, who would be asked, and who has blocked the peer all look alike.
        """
        account = await accounts.get_account(self._database, owner_id)
        if account is None or account.deactivated_at is not None:
            return False
        if scope in (Scope.MESSAGE, Scope.GROUP):
            return await self._consent.invite_answer(UserId(owner_id), peer, scope) is Answer.ALLOW
        return await self._consent.answer(owner_id, peer, scope) is Answer.ALLOW

    async def check_look_up(self, owner_id: str, *, by: str | None) -> None:
        """Raise :class:`NotFound` as for an unknown user, unless ``by`` may look a user up.

        ``by``: a user ID, a server name, or None for somebody who did not log in.
        """
        if not await self.may_look_up(owner_id, by=by or ANYBODY):
            raise NotFound("There is no such user")


def _lets_strangers_look(owner: OwnerConsent, server: str, now: int) -> bool:
    """Whether users of an instance may look somebody up who share no room with them."""
    states = [
        STATES[state]
        for scope in (Scope.MESSAGE, Scope.FEDERATION)
        if (state := owner.state(scope, server, now)) is not None
    ]
    if states:
        return Answer.BLOCK not in states
    if owner.has_contact_on(server, now):
        return True
    everyone = owner.state(Scope.MESSAGE, EVERYONE, now)
    if everyone is not None:
        return STATES[everyone] is not Answer.BLOCK
    return owner.answers(Scope.MESSAGE)[STRANGER] is not Answer.BLOCK
