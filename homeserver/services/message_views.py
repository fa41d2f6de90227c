"""Messages that end once they are read: timers that start with the first reader, and messages that
each recipient gets to see once.  See ``docs/retention.md``.

Receipts are followed through the log; what they mean is worked out behind them, by the caretaker.
A room without such messages costs a look into a set per receipt, media a look into a dict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.media_uris import MediaUri, media_uris
from homeserver.services.requester import Requester
from homeserver.storage import message_views as storage
from homeserver.storage.database import Database
from homeserver.storage.erasures import ErasureRecord
from homeserver.storage.event_records import EventRecord
from homeserver.storage.hidden_events import ViewedRecord
from homeserver.storage.log import Log, Notice, Record
from homeserver.storage.message_views import OnceMedia, ReadMessage
from homeserver.storage.receipts import READ, READ_PRIVATE, ReceiptRecord

AT_ONCE = 200
# So long may the device that sees a message fetch its media, thumbnails and ranges of it.
GRACE_MS = 5 * 60_000


class MessageViews:
    """A job of the caretaker: draws the consequences of reading."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        log: Log,
        wake: Callable[[], None],
        clock_ms: Callable[[], int],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._log = log
        self._wake = wake
        self._clock_ms = clock_ms
        self._rooms: set[str] = set()  # with messages that wait for readers
        self._readers: dict[tuple[str, str | None], None] = {}  # whom to look at; None: all
        self._seen: set[str] = set()  # rooms in which somebody has seen something, or left
        self._media: dict[MediaUri, dict[str, OnceMedia]] = {}  # by event ID
        log.subscribe(self._on_notice)

    async def start(self) -> None:
        """Read what waits, and look at what receipts say that came before the server stopped."""
        self._rooms |= await storage.get_waiting_rooms(self._database)
        for media in await storage.get_once_media(self._database):
            self._take_media(media)
        self._readers.update(((room_id, None), None) for room_id in self._rooms)
        self._seen |= self._rooms

    # ------------------------------------------------------------ following the log

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, EventRecord):
                self._take_event(record)
            elif isinstance(record, ReceiptRecord):
                if record.room_id in self._rooms:
                    self._take_receipt(record)
            else:
                self._take_other(record)

    def _take_event(self, record: EventRecord) -> None:
        event, end = record.event, record.ends
        if end is not None and (end.from_read or end.view_once):
            self._rooms.add(event.room_id)
            self._readers[(event.room_id, None)] = None  # its receipts may have come before it
            if end.view_once:
                for uri in media_uris(event.content):
                    self._take_media(OnceMedia(uri, event.event_id, event.room_id, event.sender))
            self._wake()
        if record.memberships and event.room_id in self._rooms:
            self._seen.add(event.room_id)
            self._wake()

    def _take_media(self, media: OnceMedia) -> None:
        if media.uri.origin == server_name_of(media.sender):  # else it is not theirs
            self._media.setdefault(media.uri, {})[media.event_id] = media

    def _take_receipt(self, record: ReceiptRecord) -> None:
        if record.moved and record.receipt_type in (READ, READ_PRIVATE):
            self._readers[(record.room_id, record.user_id)] = None
            self._wake()

    def _take_other(self, record: Record) -> None:
        if isinstance(record, ErasureRecord) and self._media:
            gone = {event.event_id for event in record.events}
            for uri in [uri for uri, events in self._media.items() if not gone.isdisjoint(events)]:
                self._media[uri] = {e: s for e, s in self._media[uri].items() if e not in gone}
                if not self._media[uri]:
                    del self._media[uri]

    # ------------------------------------------------------------ reading

    async def next_due(self) -> int | None:
        """Now, if receipts wait to be looked at (ms)."""
        return 0 if self._readers or self._seen else None

    async def step(self) -> bool:
        """Look at some receipts, or at whether everybody has seen what may be viewed once."""
        if self._readers:
            reader = next(iter(self._readers))
            del self._readers[reader]
            await self._look_at(*reader)
        elif self._seen:
            await self._end_seen(self._seen.pop())
        else:
            return False
        return True

    async def _look_at(self, room_id: str, user_id: str | None) -> None:
        try:
            read = await storage.get_read(self._database, room_id, user_id, AT_ONCE)
            if read:
                await self._take_read(read)
                self._seen.add(room_id)
        except BaseException:
            self._readers[(room_id, user_id)] = None
            raise
        if len(read) == AT_ONCE:
            self._readers[(room_id, user_id)] = None

    async def _end_seen(self, room_id: str) -> None:
        self._rooms.discard(room_id)  # before the look: a message may come during it
        try:
            now = self._clock_ms()
            await storage.end_seen(self._database, room_id, self._server_name, now, GRACE_MS)
            waiting = await storage.is_waiting(self._database, room_id)
        except BaseException:
            self._rooms.add(room_id)
            self._seen.add(room_id)
            raise
        if waiting:
            self._rooms.add(room_id)

    async def _take_read(self, read: list[ReadMessage]) -> None:
        now = self._clock_ms()
        due: dict[str, int] = {}
        viewed: dict[str, list[str]] = defaultdict(list)
        for message in read:
            if message.from_read and message.after_ms is not None:
                ends_at = self._read_at(message, now) + message.after_ms
                due[message.event_id] = min(ends_at, due.get(message.event_id, ends_at))
            if message.view_once:
                viewed[message.user_id].append(message.event_id)
        if viewed:
            await self._log.append(
                *(ViewedRecord(user_id, seen, None, now) for user_id, seen in viewed.items())
            )
        if due:
            await storage.start_timers(self._database, due)

    def _read_at(self, message: ReadMessage, now: int) -> int:
        """When it was read: our own readers' receipts bear our time, others' are as of now."""
        ours = server_name_of(message.user_id) == self._server_name
        return min(message.ts, now) if ours else now

    # ------------------------------------------------------------ media

    def is_once(self, uri: MediaUri) -> bool:
        """Whether a file belongs to a message that may be viewed once: nobody may keep a copy."""
        return uri in self._media

    async def check_download(self, requester: Requester | None, uri: MediaUri) -> None:
        """Whether a reader may have a file.

        Who has seen the message may go on for a while, on the device on which they began.
        Raises :class:`NotFound`.
        """
        events = self._media.get(uri)
        if not events:
            return
        if requester is None:
            raise NotFound("There is no such media here")
        if await self._is_free(requester, uri, events):
            return
        now = self._clock_ms()
        for view in await storage.get_views(self._database, requester.user_id, events):
            if view.device_id not in (None, requester.device_id) or now - view.seen_at >= GRACE_MS:
                raise NotFound("You have seen this")

    async def downloaded(self, requester: Requester | None, uri: MediaUri) -> None:
        """A reader gets a whole file: they have seen the messages to which it belongs."""
        events = self._media.get(uri)
        if not events or requester is None or await self._is_free(requester, uri, events):
            return
        viewed = ViewedRecord(
            requester.user_id, list(events), requester.device_id, self._clock_ms()
        )
        await self._log.append(viewed)
        self._seen.update(media.room_id for media in events.values())
        self._wake()

    async def _is_free(
        self, requester: Requester, uri: MediaUri, events: Mapping[str, OnceMedia]
    ) -> bool:
        """Whether a file is the reader's own, or is not of these messages alone."""
        senders = {media.sender for media in events.values()}
        return requester.user_id in senders or await storage.is_ordinary(
            self._database, uri, events, senders
        )
