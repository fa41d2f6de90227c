"""Message requests, with the shapes of the Conversations API.

To let somebody in is to join the conversation for which they asked, unless the caller says
otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import structlog

from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.server_names import is_valid_server_name
from homeserver.services.consent import Consent, Scope
from homeserver.services.consent.requests import ACCEPTED, MessageRequests
from homeserver.services.conversations.people import People
from homeserver.services.conversations.shapes.consent import Answered, Request
from homeserver.services.conversations.shapes.pages import Page, make_cursor
from homeserver.services.conversations.shapes.people import Person, address
from homeserver.services.conversations.shapes.times import rfc3339
from homeserver.storage.message_requests import PENDING, MessageRequest

logger = structlog.get_logger(__name__)

HOW = "api"
ACCEPT = "accept"
MOST_JOINED = 200


class Joins(Protocol):
    """The way into a room."""

    async def join(self, user_id: UserId, room_id: str, *, servers: Sequence[str] = ()) -> None:
        """Join a local user to a room."""


class Requests:
    """Lists and answers them."""

    def __init__(
        self,
        *,
        requests: MessageRequests,
        consent: Consent,
        people: People,
        joins: Joins,
    ) -> None:
        self._requests = requests
        self._consent = consent
        self._people = people
        self._joins = joins

    async def in_state(
        self, owner: UserId, state: str, *, offset: int, limit: int
    ) -> Page[Request]:
        """A user's requests in one state, the last changed first."""
        found = await self._requests.list(owner, state)
        end = offset + limit
        return Page(
            items=await self._shown(owner, found[offset:end]),
            next=make_cursor(end) if found[end:] else None,
        )

    async def get(self, owner: UserId, sender: UserId) -> Request:
        """What somebody asked for last.  Raises :class:`NotFound`."""
        for request in await self._requests.list(owner):
            if request.sender == sender:
                return (await self._shown(owner, [request]))[0]
        raise NotFound("This person has asked for nothing")

    async def answer_one(
        self, owner: UserId, sender: UserId, answer: str, *, join: bool = True, reason: str = ""
    ) -> Request:
        """Answer somebody who waits.  Raises :class:`NotFound`, and why a join fails.

        Who was accepted can be accepted again: the join may have failed.
        """
        request = await self._of(owner, sender, PENDING)
        if request is not None:
            await self._requests.answer_all(owner, answer, sender=sender, how=HOW, reason=reason)
        elif answer == ACCEPT:
            request = await self._of(owner, sender, ACCEPTED)
        if request is None:
            raise NotFound("This person does not wait for an answer")
        if answer == ACCEPT and join:
            await self._join(owner, request)
        return await self.get(owner, sender)

    async def _of(self, owner: UserId, sender: UserId, state: str) -> MessageRequest | None:
        found = await self._requests.list(owner, state)
        return next((request for request in found if request.sender == sender), None)

    async def answer_many(
        self,
        owner: UserId,
        answer: str,
        *,
        senders: Sequence[UserId],
        server: str | None,
        everybody: bool,
        join: bool,
        reason: str,
    ) -> Answered:
        """One answer to several who wait.  Raises :class:`InvalidParam`."""
        if [bool(senders), server is not None, everybody].count(True) != 1:
            raise InvalidParam("Name 'people', or an 'instance', or say 'all': true")
        if server is not None and not is_valid_server_name(server):
            raise InvalidParam("'instance' must be the name of an instance")
        waiting = [
            request
            for request in await self._requests.list(owner, PENDING)
            if (not senders or request.sender in senders) and server in (None, request.server)
        ]
        answered = 0
        wanted: Sequence[UserId | None] = senders or [None]
        for sender in wanted:
            answered += await self._requests.answer_all(
                owner, answer, sender=sender, server=server, how=HOW, reason=reason
            )
        joined: list[str] = []
        failed: list[str] = []
        if answer == ACCEPT and join:
            for request in waiting[:MOST_JOINED]:
                try:
                    await self._join(owner, request)
                    joined.append(request.room_id)
                except MatrixError as error:
                    logger.info("request accepted, not joined", reason=error.text)
                    failed.append(request.room_id)
        return Answered(answered=answered, joined=joined, failed=failed)

    async def _join(self, owner: UserId, request: MessageRequest) -> None:
        await self._joins.join(owner, request.room_id, servers=[request.server])

    async def _shown(self, owner: UserId, found: Sequence[MessageRequest]) -> list[Request]:
        people = await self._people.persons(r.sender for r in found if r.state != PENDING)
        tiers = await self._consent.tiers(owner, [asked.sender for asked in found])
        return [
            Request(
                person=people.get(asked.sender)
                or Person(
                    address=address(asked.sender), is_local=asked.server == owner.server_name
                ),
                conversation_id=asked.room_id,
                kind="direct" if asked.scope == Scope.MESSAGE else "group",
                state=cast("Any", asked.state),
                relation=cast("Any", tiers[asked.sender]),
                attempts=asked.attempts,
                created_at=rfc3339(asked.created_at),
                updated_at=rfc3339(asked.updated_at),
                expires_at=rfc3339(asked.expires_at) if asked.expires_at is not None else None,
                reported=asked.reported,
            )
            for asked in found
        ]
