"""Search: messages by what they say, who sent them, of what kind they are and when."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from client_api.conversations.api import Api, Call
from client_api.conversations.keys import SEARCH
from homeserver.app_keys import RATE_LIMITS
from homeserver.services.conversations.search import Asked
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.messages import Kind
from homeserver.services.conversations.shapes.pages import DEFAULT_LIMIT, MOST_PER_PAGE, Page
from homeserver.services.conversations.shapes.people import parse_person
from homeserver.services.conversations.shapes.search import FoundMessage
from homeserver.services.conversations.shapes.times import parse_time

api = Api("Search", "Finding what was said.")


class WhatToFind(Input, frozen=True, kw_only=True):
    """What to find, and which part of the list."""

    query: (
        Annotated[
            str,
            msgspec.Meta(
                description="words that all must occur; of the last one the beginning is enough",
                max_length=500,
            ),
        ]
        | None
    ) = None
    person: Annotated[str, msgspec.Meta(description="only from this person")] | None = None
    conversation_id: (
        Annotated[str, msgspec.Meta(description="only in this conversation")] | None
    ) = None
    kind: (
        Annotated[
            Kind,
            msgspec.Meta(description="only such messages; `system`: names of conversations"),
        ]
        | None
    ) = None
    since: Annotated[str, msgspec.Meta(description="only sent then or later")] | None = None
    until: Annotated[str, msgspec.Meta(description="only sent then or earlier")] | None = None
    order: Literal["newest", "rank"] = "newest"
    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_PER_PAGE)] = DEFAULT_LIMIT


@api.get("/search/messages", scope="messages:read")
async def search_messages(call: Call[None, WhatToFind]) -> Page[FoundMessage]:
    """Search the messages of your conversations, the newest first.

    One of `query`, `person` and `kind` must be there. Case and accents do not matter. Whatever you
    may not read is not found, nor what is deleted, encrypted, or to be viewed once. With
    `order=rank`, what fits best comes first. A message is found some moments after it was sent.
    """
    query = call.query
    call.app[RATE_LIMITS].check("message_search", call.user_id)
    return await call.app[SEARCH].find(
        call.user_id,
        Asked(
            query=query.query or "",
            people=[parse_person(query.person)] if query.person is not None else [],
            conversation_id=query.conversation_id,
            kinds=[query.kind] if query.kind is not None else [],
            since=parse_time(query.since, "since") if query.since is not None else None,
            until=parse_time(query.until, "until") if query.until is not None else None,
            by_rank=query.order == "rank",
            cursor=query.cursor,
            limit=query.limit,
        ),
    )
