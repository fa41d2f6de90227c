"""Messages that end, retention, and deletion for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.protocol.retention import RETENTION_TYPES, RetentionLimits
from homeserver.services.caretaker import Caretaker
from homeserver.services.daily import DailyPruning
from homeserver.services.deletion import TOLD_FOR_MS, Deletion
from homeserver.services.media_deletion import MediaDeletion
from homeserver.services.message_ends import MessageEnds
from homeserver.services.message_views import MessageViews
from homeserver.services.redacted_contents import RedactedContents, RedactedMedia
from homeserver.services.retention import Retention
from homeserver.storage.erasures import ErasureRecord, delete_old_erasures
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Notice
from homeserver.storage.to_device import delete_overdue
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring

DEVICE_MESSAGES_KEPT_MS = 180 * 24 * 3_600_000  # after the device was last used


class Ends:
    """What falls due by the clock, and the workers that look after it.

    What deletes files, and what admins order, have workers of their own: where files are kept may
    be slow to answer, and messages that are to end must not wait for that.
    """

    def __init__(self, wiring: Wiring) -> None:
        database = wiring.database
        self._client_events = wiring.reading.client_events
        self._live_rooms = wiring.live_rooms
        self.caretaker: Caretaker = Caretaker(clock_ms=clock_ms)
        self.media_caretaker: Caretaker = Caretaker(clock_ms=clock_ms, name="media caretaker")
        self.admin_caretaker: Caretaker = Caretaker(clock_ms=clock_ms, name="admin caretaker")
        self.media_deletion: MediaDeletion = MediaDeletion(
            server_name=wiring.config.server_name,
            database=database,
            strays=wiring.device_parts.media_strays,
            wake=self.media_caretaker.wake,
        )
        self.deletion = Deletion(
            database=database, log=wiring.log, media=self.media_deletion, clock_ms=clock_ms
        )
        self.caretaker.add(
            MessageEnds(
                server_name=wiring.config.server_name,
                database=database,
                store=wiring.store,
                rooms=wiring.rooms,
                deletion=self.deletion,
                clock_ms=clock_ms,
            )
        )
        self._redactions(wiring)
        limits = wiring.config.retention
        self.retention = Retention(
            database=database,
            store=wiring.store,
            states=wiring.states,
            deletion=self.deletion,
            limits=RetentionLimits(limits.default_ms, limits.min_ms, limits.max_ms),
            clock_ms=clock_ms,
        )
        self.views = MessageViews(
            server_name=wiring.config.server_name,
            database=database,
            log=wiring.log,
            wake=self.caretaker.wake,
            clock_ms=clock_ms,
        )
        pruning = DailyPruning(
            delete_old_erasures, kept_ms=TOLD_FOR_MS, database=database, clock_ms=clock_ms
        )
        device_messages = DailyPruning(
            delete_overdue,
            kept_ms=DEVICE_MESSAGES_KEPT_MS,
            database=database,
            clock_ms=clock_ms,
        )
        self.caretaker.add(self.views, self.retention, pruning, device_messages)
        self.media_caretaker.add(self.media_deletion, wiring.device_parts.media_strays)
        self.caretaker.add(wiring.oauth.lapsed_sessions)
        wiring.log.subscribe(self._on_notice)

    def _redactions(self, wiring: Wiring) -> None:
        media_after_ms = wiring.config.media.delete_redacted_after_ms
        content_after_ms = wiring.config.retention.redacted_content_after_ms
        self.media_caretaker.add(
            RedactedMedia(database=wiring.database, after_ms=media_after_ms, clock_ms=clock_ms)
        )
        if content_after_ms is not None:
            self.caretaker.add(
                RedactedContents(
                    database=wiring.database,
                    deletion=self.deletion,
                    after_ms=max(content_after_ms, media_after_ms),
                    clock_ms=clock_ms,
                )
            )

    async def start(self) -> None:
        """Begin with what fell due while the server was down."""
        await self.views.start()
        for worker in self._workers:
            await worker.start()

    async def close(self) -> None:
        """Stop the workers."""
        for worker in self._workers:
            await worker.close()

    async def work_off(self) -> None:
        """Do all that is due now, and what comes of it."""
        for worker in self._workers:
            await worker.work_off()

    @property
    def _workers(self) -> tuple[Caretaker, ...]:
        """What others leave to do comes last."""
        return self.caretaker, self.admin_caretaker, self.media_caretaker

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, EventRecord):
                if record.redacts is not None:
                    self._redact(record.event.room_id, record.redacts)
                    self.media_caretaker.wake()
                if record.ends is not None or record.redacts is not None:
                    self.caretaker.wake()
                elif record.event.type in RETENTION_TYPES:
                    self.retention.policy_changed()
                    self.caretaker.wake()
            elif isinstance(record, ErasureRecord):
                self._forget(record)
                self.caretaker.wake()
                self.media_caretaker.wake()

    def _forget(self, record: ErasureRecord) -> None:
        """Let no copy in memory keep what was deleted."""
        for event in record.events:
            self._client_events.forget(event.event_id)
            self._redact(record.room_id, event.event_id)

    def _redact(self, room_id: str, event_id: str) -> None:
        """Let a room in memory go by what is left of an event."""
        room = self._live_rooms.cached(room_id)
        if room is not None:
            room.redact(event_id)
