"""What GraphQL has beyond REST: fields that lead from one object to another, and connections.

Each kind of thing is loaded for the whole request at once, so that a query costs a bounded number
of statements, whatever it brings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import strawberry
from msgspec import Struct
from strawberry.types import Info
from strawberry.types.field import StrawberryField

from client_api.conversations.graphql.context import Context
from client_api.conversations.graphql.operations import check_texts
from client_api.conversations.graphql.types import Long, Types
from client_api.conversations.keys import MESSAGES, NEWEST_PAGES, ROOM_PEOPLE
from homeserver.errors import InvalidParam
from homeserver.services.conversations.messages import PageRequest
from homeserver.services.conversations.shapes.messages import Message, MessagePage
from homeserver.services.conversations.shapes.pages import MOST_PER_PAGE
from homeserver.services.conversations.shapes.people import Person, parse_person

USUAL_PAGE = Long(20)
READ_MESSAGES = "messages:read"

NO_MESSAGES = MessagePage(items=[], next=None, previous="")

Ctx = Info[Context, None]


@strawberry.type(description="Where a page of a connection begins and ends.")
class PageInfo:
    """Spec: GraphQL Cursor Connections, PageInfo."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Edge(Struct, frozen=True):
    """An item, and its cursor."""

    node: Any
    cursor: str


class Connection(Struct, frozen=True):
    """A page of messages, the newest first."""

    edges: list[Edge]
    nodes: list[Any]
    page_info: PageInfo


def extend(types: Types) -> Mapping[str, StrawberryField]:
    """Give the types their further fields; the further fields of ``Query``."""
    types.extend("Message", {"sender": _field(_sender, types.output(Person), "Who sent it.")})
    connection = _connection_type(types)
    types.extend(
        "Conversation",
        {
            "messages": _field(
                _messages_of,
                connection,
                "Its messages, the newest first; `after` leads to older ones.",
            )
        },
    )
    return {
        "messages": _field(_messages, connection, "A conversation's messages, the newest first."),
    }


def _connection_type(types: Types) -> Any:
    message: Any = types.output(Message)
    edge: Any = _made("MessageEdge", {"node": message, "cursor": str}, "A message, and its cursor.")
    return _made(
        "MessageConnection",
        {"edges": _list(edge), "nodes": _list(message), "page_info": PageInfo},
        "Messages, the newest first: `endCursor` leads to older ones.",
    )


def _list(kind: Any) -> Any:
    return list[kind]


def _made(name: str, annotations: dict[str, Any], description: str) -> Any:
    return strawberry.type(
        type(name, (), {"__annotations__": annotations}), name=name, description=description
    )


def _field(resolver: Callable[..., Any], returns: Any, description: str) -> StrawberryField:
    """A field whose type is made at run time."""
    signature = inspect.signature(resolver, eval_str=True)
    resolver.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
    made: StrawberryField = strawberry.field(resolver=resolver, description=description)
    return made


# ---------------------------------------------------------------- people


async def _sender(root: Any, info: Ctx) -> Any:
    return await _people(info.context).load(
        (root.conversation_id, parse_person(root.sender, "sender"))
    )


def _people(context: Context) -> Any:
    async def load(pairs: list[tuple[str, str]]) -> Sequence[Person]:
        found = await context.request.app[ROOM_PEOPLE].get(pairs)
        return [found[pair] for pair in pairs]

    return context.loader("people", load)


# ---------------------------------------------------------------- messages


async def _messages_of(
    root: Any,
    info: Ctx,
    first: Long = USUAL_PAGE,
    after: Optional[str] = None,  # noqa: UP045
) -> Any:
    limit = _limit(first)
    if after is not None or root.state != "active":
        return await _page(info, root.id, PageRequest(limit=limit), after)
    caller = await info.context.caller(READ_MESSAGES)
    context, user_id = info.context, caller.requester.user_id

    async def load(room_ids: list[str]) -> Sequence[MessagePage | None]:
        pages = await context.request.app[NEWEST_PAGES].get(user_id, room_ids, limit)
        return [pages.get(room_id) for room_id in room_ids]

    page = await context.loader(f"newest {limit}", load).load(root.id)
    return _connection(page if page is not None else NO_MESSAGES)


async def _messages(
    info: Ctx,
    conversation_id: str,
    first: Long = USUAL_PAGE,
    after: Optional[str] = None,  # noqa: UP045
    before: Optional[str] = None,  # noqa: UP045
    around: Optional[str] = None,  # noqa: UP045
    thread: Optional[str] = None,  # noqa: UP045
) -> Any:
    request = PageRequest(cursor=before, around=around, thread=thread, limit=_limit(first))
    return await _page(info, conversation_id, request, after)


async def _page(info: Ctx, room_id: str, request: PageRequest, after: str | None) -> Connection:
    """``after``: a page's cursor, or a message's ID, as edges have it."""
    check_texts((room_id, request.cursor, request.around, request.thread, after))
    caller = await info.context.caller(READ_MESSAGES)
    messages, user_id = info.context.request.app[MESSAGES], caller.requester.user_id
    cursor = request.cursor
    if after is not None:
        is_message = after.startswith("$")
        cursor = await messages.place(user_id, room_id, after) if is_message else after
    page = await messages.page(
        user_id,
        room_id,
        PageRequest(cursor, request.around, request.thread, request.system, request.limit),
    )
    return _connection(page)


def _connection(page: MessagePage) -> Connection:
    return Connection(
        [Edge(message, message.id) for message in page.items],
        page.items,
        PageInfo(
            has_next_page=page.next is not None,
            has_previous_page=False,
            start_cursor=page.previous,
            end_cursor=page.next,
        ),
    )


def _limit(first: int) -> int:
    if not 1 <= first <= MOST_PER_PAGE:
        raise InvalidParam(f"'first' must be 1 to {MOST_PER_PAGE}")
    return first
