"""How people read: sync and timelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver import app_keys
from homeserver.services.aggregations import Aggregations
from homeserver.services.client_events import ClientEvents
from homeserver.services.event_stream import EventStream
from homeserver.services.hidden_events import HiddenEvents
from homeserver.services.notifier import Notifier
from homeserver.services.old_sync import OldSync
from homeserver.services.recent_timeline import REMEMBERED_CHANGES, RecentTimeline
from homeserver.services.relations import RelationService
from homeserver.services.room_watch import RoomWatch
from homeserver.services.sync import SyncService
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.sync_key_counts import CachedKeyCounts
from homeserver.services.sync_room import SyncRooms
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.services.sync_state import SyncStates
from homeserver.services.sync_summary import RoomSummaries
from homeserver.services.timeline import Timeline
from homeserver.services.timeline_state import TimelineState
from homeserver.services.unread import UnreadCounts
from homeserver.services.visibility import Visibility
from homeserver.storage.database import Database
from homeserver.storage.events import get_released_rooms
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class Reading:
    """Sync and timelines.  The notifier is the log's last listener: it wakes whom others served."""

    hidden_events: HiddenEvents
    visibility: Visibility
    rooms_of_users: RoomsOfUsers
    summaries: RoomSummaries
    unread_counts: UnreadCounts
    sync_states: SyncStates
    sync_rooms: SyncRooms
    extras: SyncExtras
    notifier: Notifier

    def __init__(self, wiring: Wiring) -> None:
        database, log = wiring.database, wiring.log
        self.recent = RecentTimeline(log)
        self.hidden_events = HiddenEvents(
            database=database,
            log=log,
            store=wiring.store,
            others=wiring.consent,
            clock_ms=clock_ms,
        )
        self.visibility = Visibility(
            database=database, log=log, store=wiring.store, erased=wiring.erased.positions
        )
        self.client_events = ClientEvents(
            database=database, store=wiring.store, states=wiring.states, clock_ms=clock_ms
        )
        aggregations = Aggregations(
            database=database, store=wiring.store, events=self.client_events
        )
        self.rooms_of_users = RoomsOfUsers(database=database, log=log)
        self.summaries = RoomSummaries(database=database, log=log)
        self.unread_counts = UnreadCounts(
            database=database,
            log=log,
            recent=self.recent,
            rulesets=wiring.push_rules,
            reader_filter=self.hidden_events,
        )
        self.sync_states = SyncStates(database=database, recent=self.recent, states=wiring.states)
        self.sync_rooms = SyncRooms(
            database=database,
            recent=self.recent,
            store=wiring.store,
            events=self.client_events,
            aggregations=aggregations,
            states=self.sync_states,
            summaries=self.summaries,
            visibility=self.visibility,
            unread=self.unread_counts,
        )
        self._syncing(wiring)
        self._history(wiring, aggregations)

    def _syncing(self, wiring: Wiring) -> None:
        database, log = wiring.database, wiring.log
        key_counts = CachedKeyCounts(keys=wiring.device_parts.end_to_end_keys, log=log)
        wiring.device_parts.end_to_end_keys.on_counts_changed = key_counts.forget
        self.extras = SyncExtras(
            database=database,
            recent=self.recent,
            account_data=wiring.account_data,
            push_rules=wiring.push_rules,
            receipts=wiring.device_parts.receipts,
            typing=wiring.device_parts.typing,
            presence=wiring.device_parts.presence,
            to_device=wiring.device_parts.to_device,
            device_lists=wiring.device_lists,
            key_counts=key_counts,
            audience=wiring.consent,
        )
        self.notifier = Notifier(database=database, log=log, rooms=self.rooms_of_users)
        wiring.device_parts.typing.on_change = self.notifier.room_changed
        wiring.device_parts.presence.on_change = self.notifier.presence_changed
        self.sync = SyncService(
            database=database,
            recent=self.recent,
            notifier=self.notifier,
            rooms_of_users=self.rooms_of_users,
            rooms=self.sync_rooms,
            extras=self.extras,
            store=wiring.store,
            reader_filter=self.hidden_events,
            invites=wiring.consent_parts.requests,
            progress=wiring.device_parts.progress,
        )

    def _history(self, wiring: Wiring, aggregations: Aggregations) -> None:
        database = wiring.database
        self.timeline: Timeline = Timeline(
            database=database,
            recent=self.recent,
            store=wiring.store,
            states=self.sync_states,
            events=self.client_events,
            aggregations=aggregations,
            visibility=self.visibility,
            reader_filter=self.hidden_events,
            backfiller=wiring.backfill,
        )
        self.timeline_state = TimelineState(
            recent=self.recent,
            store=wiring.store,
            states=self.sync_states,
            timeline=self.timeline,
            rooms_of_users=self.rooms_of_users,
        )
        self.relations = RelationService(
            database=database, recent=self.recent, store=wiring.store, timeline=self.timeline
        )
        self.room_watch = RoomWatch(wiring.log)
        self.old_sync = OldSync(
            database=database,
            recent=self.recent,
            store=wiring.store,
            sync=self.sync,
            extras=self.extras,
            timeline=self.timeline,
            timeline_state=self.timeline_state,
            watch=self.room_watch,
            stream=EventStream(
                database=database,
                recent=self.recent,
                store=wiring.store,
                notifier=self.notifier,
                timeline=self.timeline,
                rooms_of_users=self.rooms_of_users,
                invites=wiring.consent_parts.requests,
            ),
        )

    async def start(self, database: Database) -> None:
        """Begin at the log's position, once the log has started."""
        self.recent.start(await get_released_rooms(database, REMEMBERED_CHANGES))
        await self.hidden_events.start()

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.HIDDEN_EVENTS] = self.hidden_events
        app[app_keys.OLD_SYNC] = self.old_sync
        app[app_keys.RELATIONS] = self.relations
        app[app_keys.SYNC] = self.sync
        app[app_keys.TIMELINE] = self.timeline
        app[app_keys.TIMELINE_STATE] = self.timeline_state
