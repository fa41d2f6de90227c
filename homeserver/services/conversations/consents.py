"""Consent, with the shapes of the Conversations API: thin over ``services/consent``."""

from __future__ import annotations

from typing import Any, cast

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import UserId
from homeserver.services.consent import (
    EVERYONE,
    PRESETS,
    TIERS,
    Consent,
    Scope,
    parse_answers,
)
from homeserver.services.consent.access import ConsentAccess
from homeserver.services.consent.consent import ONE_STEP
from homeserver.services.consent.editing import check_expiry, check_row
from homeserver.services.consent.peers import GRANTED, NOT_GIVEN, PeerConsent
from homeserver.services.consent.scopes import TIERED, Answers, parse_tiers, preset_of
from homeserver.services.conversations.shapes.consent import (
    AnswersChange,
    Change,
    ConsentShown,
    Grant,
    OtherInstances,
    PeerAnswer,
    ScopeAnswers,
)
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage import consent as storage
from homeserver.storage.consent import CLEARED
from homeserver.storage.database import Database

HOW = "api"


class Consents:
    """Reads and changes what a user allows."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        consent: Consent,
        access: ConsentAccess,
        peers: PeerConsent,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._consent = consent
        self._access = access
        self._peers = peers

    # ------------------------------------------------------------ answers by tier

    async def shown(self, user_id: str) -> ConsentShown:
        """What a user answers to whom they have said nothing."""
        consent, now = self._consent, self._consent.now_ms()
        owner = await consent.owner(user_id)
        required = consent.defaults.cross_instance_opt_in
        everywhere = owner.state(Scope.FEDERATION, EVERYONE, now)
        scopes: dict[Any, ScopeAnswers] = {}
        for scope in TIERED:
            answers = owner.answers(scope)
            scopes[scope] = ScopeAnswers(
                answers=_by_tier(answers),
                preset=cast("Any", preset_of(answers)),
                may_change=scope in consent.defaults.user_may_change,
            )
        return ConsentShown(
            scopes=scopes,
            other_instances=OtherInstances(
                allowed=everywhere == "granted" or (everywhere is None and not required),
                required=required,
                may_change=Scope.FEDERATION in consent.defaults.user_may_change,
            ),
            presets=cast("Any", {name: _by_tier(answers) for name, answers in PRESETS.items()}),
        )

    async def set_preset(self, user_id: str, preset: str) -> ConsentShown:
        """Choose a preset for messages, groups, media and calls in one step."""
        for scope in ONE_STEP:
            self._consent.require_change(scope)
        await self._consent.set_preset(user_id, preset, how=HOW)
        return await self.shown(user_id)

    async def set_answers(self, user_id: str, scope: str, change: AnswersChange) -> ConsentShown:
        """Set what a user answers in one matter.  Raises :class:`InvalidParam`."""
        if (change.preset is None) == (change.answers is None):
            raise InvalidParam("Give 'preset' or 'answers'")
        self._consent.require_change(scope)
        if change.answers is not None:
            answers = parse_tiers(cast("Any", change.answers))
        else:
            answers = parse_answers(change.preset)
        await self._consent.set_answers(user_id, {scope: answers}, how=HOW)
        return await self.shown(user_id)

    # ------------------------------------------------------------ single peers

    async def grants(
        self,
        user_id: str,
        *,
        scope: str | None,
        peer: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Grant]:
        """What a user said to single people, instances, and everyone."""
        after = parse_cursor(cursor, str, str) if cursor is not None else ("", "")
        rows = await storage.get_row_page(
            self._database,
            user_id,
            scope=scope,
            peer=peer,
            after=(after[0], after[1]),
            limit=limit + 1,
            now=self._consent.now_ms(),
        )
        last = rows[limit - 1] if rows[limit:] else None
        return Page(
            items=[grant_shown(row) for row in rows[:limit]],
            next=make_cursor(last.peer, last.scope) if last is not None else None,
        )

    async def grant(
        self, user_id: UserId, scope: str, peer: str, state: str, expires_at: int | None
    ) -> Grant:
        """Say something to a peer.  Raises :class:`InvalidParam`, :class:`Forbidden`."""
        check_row(user_id, peer, scope)
        check_expiry(expires_at, self._consent.now_ms())
        self._consent.require_change(scope)
        await self._consent.set(user_id, peer, scope, state, how=HOW, expires_at=expires_at)
        page = await self.grants(user_id, scope=scope, peer=peer, cursor=None, limit=1)
        return page.items[0]

    async def take_back(self, user_id: UserId, scope: str, peer: str) -> None:
        """Forget what was said to a peer: what is more general counts again."""
        check_row(user_id, peer, scope)
        self._consent.require_change(scope)
        if await self._consent.state_of(user_id, peer, scope) is not None:
            await self._consent.set(user_id, peer, scope, CLEARED, how=HOW)

    async def history(self, user_id: str, *, cursor: str | None, limit: int) -> Page[Change]:
        """Every change there ever was, the newest first."""
        before = parse_cursor(cursor, int)[0] if cursor is not None else storage.FOREVER
        changes = await storage.get_history(self._database, user_id, limit + 1, before=before)
        return Page(
            items=[_change_shown(change, user_id) for change in changes[:limit]],
            next=make_cursor(changes[limit - 1].position) if changes[limit:] else None,
        )

    async def of_peer(self, user_id: UserId, peer: UserId, scope: str) -> PeerAnswer:
        """Whether somebody lets a user write to them.

        Raises: :class:`~homeserver.errors.ConsentNotGiven` where the user has to allow first that
        another instance hears of them.
        """
        answer: str | None
        if peer.server_name == self._server_name:
            given = await self._access.may_contact(peer, user_id, scope)
            answer = GRANTED if given else NOT_GIVEN
        else:
            await self._consent.require_federation(user_id, (peer.server_name,))
            answer = await self._peers.may_contact(user_id, peer, scope)
        return PeerAnswer(
            address=address(peer), scope=scope, answer=cast("Any", answer or "unknown")
        )


def _by_tier(answers: Answers) -> dict[Any, Any]:
    return {tier: answers[tier].value for tier in TIERS}


def peer_shown(peer: str) -> str:
    """A user ID as an address; other peers as they are."""
    return address(peer) if peer.startswith("@") else peer


def grant_shown(row: storage.ConsentRow) -> Grant:
    """A row as the API has it."""
    return Grant(
        peer=peer_shown(row.peer),
        scope=cast("Any", row.scope),
        state=cast("Any", row.state),
        expires_at=rfc3339(row.expires_at) if row.expires_at is not None else None,
        since=rfc3339(row.created_at),
        how=row.how,
    )


def _change_shown(change: storage.ConsentChange, owner: str) -> Change:
    return Change(
        peer=peer_shown(change.peer),
        scope=cast("Any", change.scope),
        state=cast("Any", change.state),
        at=rfc3339(change.created_at),
        by=peer_shown(change.actor or owner),
        how=change.how,
        expires_at=rfc3339(change.expires_at) if change.expires_at is not None else None,
    )
