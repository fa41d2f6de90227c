"""The parts that readers need, wired as in the real server but without what is around them."""

from __future__ import annotations

from collections.abc import Callable

from homeserver.services.account_data import AccountDataService
from homeserver.services.aggregations import Aggregations
from homeserver.services.client_events import ClientEvents
from homeserver.services.device_lists import DeviceListService
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.event_store import EventStore
from homeserver.services.notifier import Notifier
from homeserver.services.presence import PresenceService
from homeserver.services.push_rules import PushRuleService
from homeserver.services.receipts import ReceiptService
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.relations import RelationService
from homeserver.services.state import States
from homeserver.services.sync import SyncService
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.sync_key_counts import CachedKeyCounts
from homeserver.services.sync_room import SyncRooms
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.services.sync_state import SyncStates
from homeserver.services.sync_summary import RoomSummaries
from homeserver.services.timeline import Backfiller, Timeline
from homeserver.services.timeline_dates import TimelineDates
from homeserver.services.timeline_state import TimelineState
from homeserver.services.to_device import ToDeviceService
from homeserver.services.typing import TypingService
from homeserver.services.unread import UnreadCounts
from homeserver.services.visibility import Visibility
from homeserver.storage.database import Database
from homeserver.storage.log import Log
from homeserver.storage.sync import EventTime
from tests.services.open_consent import OpenConsent


class ElsewhereDates:
    """What other instances know of a room's history, and what they were asked."""

    def __init__(self) -> None:
        self.known: EventTime | None = None
        self.asked: list[int] = []

    async def event_near(self, room_id: str, ts: int, *, forwards: bool) -> EventTime | None:
        self.asked.append(ts)
        return self.known


class Reading:
    """Everything between the log and a reader."""

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        store: EventStore,
        states: States,
        account_data: AccountDataService,
        push_rules: PushRuleService,
        receipts: ReceiptService,
        typing: TypingService,
        presence: PresenceService,
        to_device: ToDeviceService,
        device_lists: DeviceListService,
        end_to_end_keys: EndToEndKeyService,
        backfiller: Backfiller,
        clock_ms: Callable[[], int],
    ) -> None:
        self.recent = RecentTimeline(log)
        consent = OpenConsent(
            database, log, clock_ms, account_data=account_data, server_name="one.test"
        )
        self.rooms_of_users = RoomsOfUsers(database=database, log=log)
        self.unread_counts = UnreadCounts(
            database=database,
            log=log,
            recent=self.recent,
            rulesets=push_rules,
            reader_filter=consent.consent,
        )
        self.visibility = Visibility(database=database, log=log, store=store)
        self.client_events = ClientEvents(
            database=database, store=store, states=states, clock_ms=clock_ms
        )
        self.notifier = Notifier(database=database, log=log, rooms=self.rooms_of_users)
        typing.on_change = self.notifier.room_changed
        presence.on_change = self.notifier.presence_changed
        key_counts = CachedKeyCounts(keys=end_to_end_keys, log=log)
        end_to_end_keys.on_counts_changed = key_counts.forget
        sync_states = SyncStates(database=database, recent=self.recent, states=states)
        aggregations = Aggregations(database=database, store=store, events=self.client_events)
        self.summaries = RoomSummaries(database=database, log=log)
        rooms = SyncRooms(
            database=database,
            recent=self.recent,
            store=store,
            events=self.client_events,
            aggregations=aggregations,
            states=sync_states,
            summaries=self.summaries,
            visibility=self.visibility,
            unread=self.unread_counts,
        )
        extras = SyncExtras(
            database=database,
            recent=self.recent,
            account_data=account_data,
            push_rules=push_rules,
            receipts=receipts,
            typing=typing,
            presence=presence,
            to_device=to_device,
            device_lists=device_lists,
            key_counts=key_counts,
        )
        self.sync = SyncService(
            database=database,
            recent=self.recent,
            notifier=self.notifier,
            rooms_of_users=self.rooms_of_users,
            rooms=rooms,
            extras=extras,
            store=store,
            reader_filter=consent.consent,
            invites=consent.requests,
        )

        self.timeline = Timeline(
            database=database,
            recent=self.recent,
            store=store,
            states=sync_states,
            events=self.client_events,
            aggregations=aggregations,
            visibility=self.visibility,
            reader_filter=consent.consent,
            backfiller=backfiller,
        )
        self.relations = RelationService(
            database=database, recent=self.recent, store=store, timeline=self.timeline
        )
        self.elsewhere = ElsewhereDates()
        self.dates = TimelineDates(
            database=database, store=store, timeline=self.timeline, remote=self.elsewhere
        )
        self.timeline_state = TimelineState(
            recent=self.recent,
            store=store,
            states=sync_states,
            timeline=self.timeline,
            rooms_of_users=self.rooms_of_users,
        )

    def start(self) -> None:
        """Begin at the log's position; call it once the log has started."""
        self.recent.start()

    def close(self) -> None:
        """Answer the syncs that wait."""
        self.notifier.close()
