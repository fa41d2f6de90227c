"""GraphQL subscriptions: the feed's updates, as they happen or from a position on."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, Optional

import msgspec
import strawberry
from strawberry.scalars import JSON
from strawberry.types import Info

from client_api.conversations.auth import Caller
from client_api.conversations.graphql.context import Context
from client_api.conversations.graphql.types import Long, Types
from client_api.conversations.keys import FEED, SOCKETS
from homeserver.errors import InvalidParam, UnknownToken
from homeserver.services.conversations.feed.feed import TooMuch
from homeserver.services.conversations.feed.updates import Update, plain
from homeserver.services.conversations.problems import Problem
from homeserver.services.conversations.shapes import updates as shapes
from homeserver.services.conversations.shapes.messages import Message
from homeserver.services.conversations.shapes.updates import AnyUpdate

MOST_WAITING = 1_000
VOID = "token"  # why a subscription ends whose token is no longer good
SCOPE = "messages:read"
MAX_TYPES = 50

Ctx = Info[Context, None]


@strawberry.type(name="Update", description="Something that happened, as the WebSocket tells it.")
class AnyUpdateType:
    """Any update.  ``position``: where to go on after it; null for what is of the moment."""

    type: str
    position: Long | None
    conversation_id: str | None
    data: JSON


class Queue:
    """A sink of the feed that is read by a subscription."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self._waiting: deque[Update] = deque()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._end: str | None = None

    def deliver(self, update: Update) -> None:
        """Take an update."""
        if len(self._waiting) >= MOST_WAITING:
            self.cut_off("slow")
            return
        self._waiting.append(update)
        self._changed.set()

    def cut_off(self, reason: str) -> None:
        """No more comes; what waits is not told to who may not hear it any more."""
        self._end = self._end or reason
        if reason == VOID:
            self._waiting.clear()
        self._changed.set()
        self._taken.set()

    @property
    def is_ended(self) -> bool:
        """Whether it was cut off."""
        return self._end is not None

    async def ready(self) -> None:
        """Wait until half of the room is free."""
        while len(self._waiting) > MOST_WAITING // 2 and self._end is None:
            self._taken.clear()
            await self._taken.wait()

    async def next(self) -> Update:
        """The next update.

        Raises :class:`Problem` ``cut_off``: subscribe anew; :class:`UnknownToken`.
        """
        while not self._waiting:
            if self._end == VOID:
                raise UnknownToken("The access token is no longer good")
            if self._end is not None:
                raise Problem("cut_off", "Subscribe again, from your last position", status=503)
            self._changed.clear()
            await self._changed.wait()
        self._taken.set()
        return self._waiting.popleft()


async def listen(info: Ctx, since: int | None) -> AsyncGenerator[AnyUpdate, None]:
    """All updates for the caller, from a position on, or from now.

    Raises :class:`Problem` ``reset`` if they cannot be told from there.
    """
    caller, app = await info.context.caller(SCOPE), info.context.request.app
    token, user = info.context.credentials()
    queue = Queue(caller.requester.user_id)
    with app[SOCKETS].streaming(queue, token, user, lambda: queue.is_ended, caller.scopes):
        async for update in _told(info, caller, queue, since):
            yield update


async def _told(
    info: Ctx, caller: Caller, queue: Queue, since: int | None
) -> AsyncGenerator[AnyUpdate, None]:
    feed = info.context.request.app[FEED]
    user_id, device_id = caller.requester.user_id, caller.requester.device_id
    opening = asyncio.ensure_future(
        feed.open(user_id, device_id, since, queue, scopes=caller.scopes)
    )
    try:
        while not opening.done():  # what was missed is read while it comes
            reading = asyncio.ensure_future(queue.next())
            await asyncio.wait({opening, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                yield reading.result().shape
            else:
                reading.cancel()
        opening.result()
        while True:
            yield (await queue.next()).shape
    except TooMuch as error:
        raise Problem(
            "reset",
            "What happened since cannot be told: read anew",
            status=409,
            reason=error.reason,
        ) from error
    finally:
        if not opening.done():
            opening.cancel()
        elif not opening.cancelled() and opening.exception() is None:
            feed.shut(opening.result())
        info.context.forget()


def root(types: Types) -> type:
    """The type ``Subscription``."""

    async def message_received(
        info: Ctx,
        conversation_id: Optional[str] = None,  # noqa: UP045
        since: Optional[Long] = None,  # noqa: UP045
    ) -> Any:
        """A message came, in one conversation or any."""
        async for update in listen(info, since):
            if isinstance(update, shapes.MessageCreated | shapes.CallRinging) and _is_of(
                update, conversation_id
            ):
                info.context.forget()
                yield update.message

    async def presence_updated(info: Ctx) -> Any:
        """Somebody came online, went away, or says how they are."""
        async for update in listen(info, None):
            if isinstance(update, shapes.PresenceChanged):
                yield update

    async def typing(info: Ctx, conversation_id: Optional[str] = None) -> Any:  # noqa: UP045
        """Somebody began to type, or stopped."""
        async for update in listen(info, None):
            if isinstance(update, shapes.Typing) and _is_of(update, conversation_id):
                yield update

    async def delivery_changed(info: Ctx, message_id: Optional[str] = None) -> Any:  # noqa: UP045
        """How far one of your messages has come."""
        async for update in listen(info, None):
            if isinstance(update, shapes.MessageStatus) and message_id in (None, update.message_id):
                yield update

    async def updates(
        info: Ctx,
        types: Optional[list[str]] = None,  # noqa: UP045
        since: Optional[Long] = None,  # noqa: UP045
    ) -> Any:
        """Everything that happens, or what is of some types."""
        if types is not None and len(types) > MAX_TYPES:
            raise InvalidParam(f"'types' may name {MAX_TYPES} at most")
        async for update in listen(info, since):
            made = msgspec.to_builtins(update, enc_hook=plain)
            if types is None or made["type"] in types:
                kind, position = made.pop("type"), made.pop("position", None)
                conversation_id = made.pop("conversation_id", None)
                yield AnyUpdateType(
                    type=kind, position=position, conversation_id=conversation_id, data=made
                )

    returns: dict[Callable[..., Any], Any] = {
        message_received: types.output(Message),
        presence_updated: types.output(shapes.PresenceChanged),
        typing: types.output(shapes.Typing),
        delivery_changed: types.output(shapes.MessageStatus),
        updates: AnyUpdateType,
    }
    body: dict[str, Any] = {
        resolver.__name__: _subscription(resolver, kind) for resolver, kind in returns.items()
    }
    return strawberry.type(type("Subscription", (), body), description="What happens.")


def _is_of(update: AnyUpdate, conversation_id: str | None) -> bool:
    return conversation_id in (None, update.conversation_id)


def _subscription(resolver: Callable[..., Any], kind: Any) -> Any:
    signature = inspect.signature(resolver, eval_str=True)
    resolver.__signature__ = signature.replace(  # type: ignore[attr-defined]
        return_annotation=AsyncGenerator[kind, None]
    )
    return strawberry.subscription(resolver=resolver, description=resolver.__doc__)
