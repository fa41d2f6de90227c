"""The newest receipts in memory: a message is followed by a receipt of each of its readers, and
each receipt by a sync of each of the others.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from homeserver.storage.receipts import READ, READ_PRIVATE, ReceiptRecord

RECEIPTS_PER_ROOM = 200
RECEIPTS_IN_ALL = 20_000


class _Room:
    __slots__ = ("complete_after", "receipts")

    def __init__(self, complete_after: int) -> None:
        self.receipts: deque[tuple[int, ReceiptRecord]] = deque()
        self.complete_after = complete_after


class RecentReceipts:
    """The rooms' last receipts."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        self._size = 0
        self.floor = 0
        """From which position on nothing is missing in a room that is not here."""

    def add(self, position: int, receipt: ReceiptRecord) -> None:
        """A receipt moved."""
        if receipt.receipt_type not in (READ, READ_PRIVATE):
            return
        room = self._rooms.get(receipt.room_id)
        if room is None:
            room = self._rooms[receipt.room_id] = _Room(self.floor)
        self._rooms.move_to_end(receipt.room_id)
        room.receipts.append((position, receipt))
        if len(room.receipts) > RECEIPTS_PER_ROOM:
            room.complete_after = room.receipts.popleft()[0]
        else:
            self._size += 1
        while self._size > RECEIPTS_IN_ALL:
            _, coldest = self._rooms.popitem(last=False)
            self._size -= len(coldest.receipts)
            self.floor = max(self.floor, coldest.receipts[-1][0])

    def since(self, room_id: str, since: int, upto: int, reader: str) -> list[ReceiptRecord] | None:
        """The receipts at ``since < position <= upto`` that a reader may see, of each user and
        thread the last; None if some may be missing."""
        room = self._rooms.get(room_id)
        if since < (room.complete_after if room is not None else self.floor):
            return None
        found: dict[tuple[str, str, str, str], ReceiptRecord] = {}
        for position, receipt in reversed(room.receipts) if room is not None else ():
            if position <= since:
                break
            if position <= upto and (receipt.receipt_type == READ or receipt.user_id == reader):
                found.setdefault(receipt.key, receipt)
        return list(found.values())
