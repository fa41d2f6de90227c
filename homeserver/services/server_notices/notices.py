"""Telling users something in the server's own name.

Spec: client-server API, server notices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog
from msgspec import Struct

from homeserver.errors import MatrixError, NotFound
from homeserver.protocol.events import JsonObject
from homeserver.protocol.identifiers import UserId
from homeserver.services.event_store import EventStore
from homeserver.services.rooms import Draft, Rooms
from homeserver.services.server_notices.rooms import NoticeRooms
from homeserver.storage import accounts
from homeserver.storage.database import Database
from homeserver.storage.event_records import ClientTransaction

logger = structlog.get_logger(__name__)

MSGTYPE = "m.server_notice"
PLAIN = "dev.comity.notice"  # the type of a notice whose sender says no other
PINNED = ("m.room.pinned_events", "")
MOST_PINNED = 20


class Account(Protocol):
    """The account in whose name notices are sent."""

    user_id: UserId

    async def ensure(self) -> UserId:
        """The account's ID.  Raises: :class:`MatrixError` if the account is somebody's."""


class SenderLook(Struct, frozen=True):
    """The sender's profile in the rooms for notices."""

    display_name: str
    avatar_url: str | None

    def fields(self) -> JsonObject:
        """As member events have it."""
        fields: JsonObject = {"displayname": self.display_name}
        return fields | ({"avatar_url": self.avatar_url} if self.avatar_url is not None else {})


class Notice(Struct, frozen=True):
    """What a user is told.  ``txn_id``: the same again is not told twice."""

    content: JsonObject
    pin: bool = False
    txn_id: str | None = None


class SentNotice(Struct, frozen=True):
    """Where a notice stands."""

    room_id: str
    event_id: str


class NoticesOff(MatrixError):
    """The configuration names no account for them."""

    errcode, status = "M_UNRECOGNIZED", 400


class ServerNotices:
    """Sends notices."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        rooms: Rooms,
        notice_rooms: NoticeRooms,
        account: Account | None,
        look: SenderLook,
        clock_ms: Callable[[], int],
    ) -> None:
        """``account`` None: this server sends no notices."""
        self._database = database
        self._store = store
        self._rooms = rooms
        self._notice_rooms = notice_rooms
        self._account = account
        self._look = look
        self._clock_ms = clock_ms

    async def start(self) -> None:
        """Make the account, so that nobody else takes its name."""
        if self._account is not None:
            try:
                await self._account.ensure()
            except MatrixError as error:
                logger.error("server notices cannot be sent", reason=error.text)

    async def users(self, after: str, limit: int) -> tuple[list[UserId], str | None]:
        """Those whom a notice to everybody goes to, by user ID, those after one; no guests.

        And after whom to go on; None: they were the last.
        """
        sender = self._account.user_id if self._account is not None else None
        found = await accounts.get_accounts(self._database, after=after, limit=limit)
        users = [UserId(a.user_id) for a in found if not a.guest and a.user_id != sender]
        return users, found[-1].user_id if found else None

    async def send(self, user_id: UserId, notice: Notice) -> SentNotice:
        """Tell a user something, in their room for notices.

        Raises: :class:`NotFound` for who has no account here, :class:`NoticesOff`, and
        :class:`MatrixError` if the account that should send them is somebody's.
        """
        if self._account is None:
            raise NoticesOff("This server sends no notices: set server_notices.account")
        sender = await self._account.ensure()
        known = await accounts.get_account(self._database, user_id)
        if known is None or known.deactivated_at is not None or user_id == sender:
            raise NotFound(f"{user_id} has no account here")
        room_id = await self._notice_rooms.ensure(sender, user_id, self._look.fields())
        content = {"server_notice_type": PLAIN, **notice.content, "msgtype": MSGTYPE}
        transaction = None
        if notice.txn_id is not None:
            transaction = ClientTransaction(
                sender, "", f"notice/{room_id}", notice.txn_id, self._clock_ms()
            )
        draft = Draft(sender, "m.room.message", content)
        sent = await self._rooms.send(room_id, draft, transaction=transaction, gated=False)
        if notice.pin:
            await self._pin(sender, room_id, sent.event.event_id)
        return SentNotice(room_id, sent.event.event_id)

    async def _pin(self, sender: UserId, room_id: str, event_id: str) -> None:
        """Clients show what is pinned as in force.  Spec: server notices, client behaviour."""
        room = await self._rooms.get(room_id)
        await room.load_events(self._store, (PINNED,))
        named = room.content(PINNED).get("pinned")
        pinned = [p for p in named if p != event_id] if isinstance(named, list) else []
        content: JsonObject = {"pinned": [*pinned, event_id][-MOST_PINNED:]}
        await self._rooms.send(room_id, Draft(sender, PINNED[0], content, ""), gated=False)
