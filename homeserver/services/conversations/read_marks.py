"""How far somebody has read; and conversations that they marked as unread."""

from __future__ import annotations

from homeserver.errors import NotFound
from homeserver.services.account_data import AccountDataService
from homeserver.services.conversations.messages import Messages, PageRequest
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.shapes.messages import MarkRead, ReadState
from homeserver.services.receipts import ReceiptService
from homeserver.storage.receipts import READ, READ_PRIVATE

FULLY_READ = "m.fully_read"
MARKED_UNREAD = "m.marked_unread"


class ReadMarks:
    """Marks conversations as read and unread."""

    def __init__(
        self,
        *,
        receipts: ReceiptService,
        account_data: AccountDataService,
        messages: Messages,
        sending: Sending,
    ) -> None:
        self._receipts = receipts
        self._account_data = account_data
        self._messages = messages
        self._sending = sending

    async def mark_read(self, user_id: str, room_id: str, mark: MarkRead) -> ReadState:
        """Somebody has read up to a message, or all there is.

        Raises :class:`NotFound` for messages that are not there, :class:`InvalidParam` for one that
        is not in the thread.
        """
        await self._sending.member_room(user_id, room_id)
        message_id = mark.message_id
        if message_id is None:
            message_id = await self._newest(user_id, room_id, mark.thread)
        if message_id is not None:
            kind = READ_PRIVATE if mark.private else READ
            await self._receipts.send(room_id, user_id, kind, message_id, mark.thread)
            if mark.thread is None:
                await self._receipts.send(room_id, user_id, FULLY_READ, message_id)
        content = await self._account_data.get(user_id, MARKED_UNREAD, room_id=room_id)
        if content is not None and content.get("unread") is True:
            await self._set_unread(user_id, room_id, unread=False)
        return ReadState(message_id=message_id)

    async def mark_unread(self, user_id: str, room_id: str) -> None:
        """Somebody wants to come back to a conversation.  Spec: marking rooms as unread."""
        await self._sending.member_room(user_id, room_id)
        await self._set_unread(user_id, room_id, unread=True)

    async def _set_unread(self, user_id: str, room_id: str, *, unread: bool) -> None:
        await self._account_data.put(user_id, MARKED_UNREAD, {"unread": unread}, room_id=room_id)

    async def _newest(self, user_id: str, room_id: str, thread: str | None) -> str | None:
        request = PageRequest(thread=thread, limit=1)
        page = await self._messages.page(user_id, room_id, request)
        if not page.items and thread is not None:
            raise NotFound("There is no such thread")
        return page.items[0].id if page.items else None
