"""How the parts fit together: each is built once, after what it needs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from client_api.web.consent import ConsentLinks
from federation.backfill import Backfill
from federation.client import FederationClient
from federation.connections import Connections
from federation.discovery import Discovery
from federation.edus import Edus
from federation.fetching import Fetching
from federation.gate import Gate
from federation.handshakes import Handshakes
from federation.health import DestinationHealth
from federation.history import History
from federation.ip_ranges import AddressGuard
from federation.joining import Joining
from federation.key_fetching import KeyFetcher
from federation.keyring import Keyring
from federation.media import RemoteMediaClient
from federation.notary import Notary
from federation.notary import Notary
from federation.outbox import Outbox
from federation.own_keys import OwnKeys
from federation.pdus import PduChecker
from federation.remote import RemoteQueries
from federation.remote_keys import RemoteKeysClient
from federation.resolver import Resolver
from federation.server import Authenticator
from federation.server_rules import ServerRules
from federation.well_known import WellKnown
from homeserver.config import Config
from homeserver.protocol.signing import SigningKey
from homeserver.services.account_data import AccountDataService
from homeserver.services.accounts import AccountService
from homeserver.services.activity import Activity
from homeserver.services.arrivals import Arrivals
from homeserver.services.client_events import ClientEvents
from homeserver.services.consent import Consent, Defaults
from homeserver.services.creation import RoomCreation
from homeserver.services.cross_signing import CrossSigningService
from homeserver.services.device_lists import DeviceListService
from homeserver.services.device_sharing import DeviceSharing
from homeserver.services.devices import DeviceService
from homeserver.services.directory import Directory
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.event_store import EventStore
from homeserver.services.filters import FilterService
from homeserver.services.interactive_auth import (
    DUMMY,
    PASSWORD,
    REGISTRATION_TOKEN,
    InteractiveAuth,
    PasswordStage,
    Stage,
    dummy_stage,
)
from homeserver.services.live_room import LiveRooms
from homeserver.services.media import MediaService
from homeserver.services.media_files import MediaFiles
from homeserver.services.membership import Membership
from homeserver.services.notifier import Notifier
from homeserver.services.openid import OpenIdTokens
from homeserver.services.passwords import Passwords
from homeserver.services.policy import Policy, Rule
from homeserver.services.presence import PresenceService
from homeserver.services.profiles import ProfileService
from homeserver.services.push_rules import PushRuleService
from homeserver.services.rate_limits import RateLimits
from homeserver.services.recent_timeline import RecentTimeline
from homeserver.services.receipts import ReceiptService
from homeserver.services.registration import RegistrationService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.services.room_facts import RoomFacts
from homeserver.services.room_import import RoomImport
from homeserver.services.rooms import Rooms
from homeserver.services.send_gate import OutgoingGate
from homeserver.services.sessions import SessionService
from homeserver.services.state import States
from homeserver.services.sync import SyncService
from homeserver.services.sync_extras import SyncExtras
from homeserver.services.sync_key_counts import CachedKeyCounts
from homeserver.services.sync_room import SyncRooms
from homeserver.services.sync_rooms import RoomsOfUsers
from homeserver.services.sync_state import SyncStates
from homeserver.services.sync_summary import RoomSummaries
from homeserver.services.thumbnails import Thumbnails
from homeserver.services.timeline import Timeline
from homeserver.services.timeline_state import TimelineState
from homeserver.services.to_device import ToDeviceService
from homeserver.services.typing import TypingService
from homeserver.services.unread import UnreadCounter, UnreadCounts
from homeserver.services.visibility import Visibility
from homeserver.storage.database import Database
from homeserver.storage.log import Log


def clock_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def random_id() -> str:
    """An unguessable opaque identifier."""
    return secrets.token_urlsafe(18)


class Transport:
    """What speaks to other instances: discovery, signed requests, keys, the outbox."""

    def __init__(
        self,
        config: Config,
        signing_keys: Sequence[SigningKey],
        database: Database,
        log: Log,
        rate_limits: RateLimits,
    ) -> None:
        settings = config.federation
        guard = AddressGuard(allow_private_networks=settings.allow_private_networks)
        self.rules = ServerRules(allow=settings.allow, deny=settings.deny)
        self.resolver = Resolver(private_zones=settings.private_zones, guard=guard)
        self.connections = Connections(
            resolver=self.resolver, guard=guard, extra_ca_file=settings.extra_ca_file
        )
        self.health = DestinationHealth(database=database, clock_ms=clock_ms)
        self.client = FederationClient(
            server_name=config.server_name,
            signing_key=signing_keys[0],
            discovery=Discovery(resolver=self.resolver, well_known=WellKnown(self.connections)),
            connections=self.connections,
            health=self.health,
            rules=self.rules,
            timeout_seconds=settings.timeout_seconds,
            max_bytes=settings.max_response_bytes,
        )
        self.own_keys = OwnKeys(
            server_name=config.server_name,
            signing_keys=signing_keys,
            database=database,
            clock_ms=clock_ms,
        )
        self.keyring = Keyring(
            database=database,
            own_keys=self.own_keys,
            fetcher=KeyFetcher(self.client, clock_ms),
            rules=self.rules,
            notaries=settings.notaries,
            clock_ms=clock_ms,
        )
        self.notary = Notary(
            database=database,
            own_keys=self.own_keys,
            keyring=self.keyring,
            rules=self.rules,
            clock_ms=clock_ms,
        )
        self.notary = Notary(
            own_keys=self.own_keys,
            keyring=self.keyring,
            rules=self.rules,
            database=database,
            clock_ms=clock_ms,
        )
        self.authenticator = Authenticator(
            server_name=config.server_name,
            keyring=self.keyring,
            rules=self.rules,
            health=self.health,
            rate_limits=rate_limits,
            clock_ms=clock_ms,
        )
        self.outbox = Outbox(
            server_name=config.server_name,
            database=database,
            log=log,
            client=self.client,
            health=self.health,
            rules=self.rules,
            clock_ms=clock_ms,
        )


class Wiring:
    """All parts of one server."""

    def __init__(
        self, config: Config, database: Database, signing_keys: Sequence[SigningKey]
    ) -> None:
        self.config = config
        self.database = database
        self.signing_key = signing_keys[0]
        self.log = Log(database)
        self.store = EventStore(database)
        self.log.subscribe(self.store.on_notice)
        self.rate_limits = RateLimits(
            rates=config.rate_limits.rates, enabled=config.rate_limits.enabled
        )
        self.transport = Transport(config, signing_keys, database, self.log, self.rate_limits)
        self._rooms()
        self._people()
        self._federation()
        self._accounts()
        self._devices()
        self._reading()
        self._gate()

    # ------------------------------------------------------------ rooms

    def _rooms(self) -> None:
        config, database = self.config, self.database
        self.push_rules = PushRuleService(database=database, log=self.log)
        self.account_data = AccountDataService(
            database=database, log=self.log, push_rules=self.push_rules
        )
        self.consent_links = ConsentLinks(
            base_url=config.public_base_url, secret=bytes(self.signing_key.seed)
        )
        self.consent = Consent(
            server_name=config.server_name,
            database=database,
            log=self.log,
            defaults=Defaults(
                message=config.consent.message_default,
                cross_instance_opt_in=config.consent.cross_instance == "opt_in",
            ),
            consent_uri=self.consent_links.make,
            account_data=self.account_data.get,
            clock_ms=clock_ms,
        )
        self.log.subscribe(self.consent.on_notice)
        self.policy = Policy(
            server_name=config.server_name,
            database=database,
            rules=[Rule.parse(rule) for rule in config.policy.rules],
            clock_ms=clock_ms,
        )
        self.send_gate = OutgoingGate(
            server_name=config.server_name, policy=self.policy, consent=self.consent
        )
        self.live_rooms = LiveRooms(database, self.store, config.server_name)
        self.states = States(database, self.store)
        self.unread = UnreadCounter(server_name=config.server_name, rulesets=self.push_rules)
        self.rooms = Rooms(
            server_name=config.server_name,
            signing_key=self.signing_key,
            database=database,
            log=self.log,
            live_rooms=self.live_rooms,
            store=self.store,
            gate=self.send_gate,
            unread=self.unread,
            destination_sets=self.transport.outbox,
            clock_ms=clock_ms,
            random_id=random_id,
        )
        self.arrivals = Arrivals(
            database=database,
            rooms=self.rooms,
            live_rooms=self.live_rooms,
            store=self.store,
            states=self.states,
            policy=self.policy,
            unread=self.unread,
            destination_sets=self.transport.outbox,
        )
        self.facts = RoomFacts(database=database, rooms=self.rooms, store=self.store)

    def _people(self) -> None:
        self.queries = RemoteQueries(self.transport.client)
        self.profiles = ProfileService(
            server_name=self.config.server_name,
            database=self.database,
            remote=self.queries,
            members=self.facts,
        )

    def _federation(self) -> None:
        config, database, client = self.config, self.database, self.transport.client
        self.checker = PduChecker(self.transport.keyring)
        self.fetching = Fetching(
            client=client, checker=self.checker, store=self.store, log=self.log
        )
        self.joining = Joining(
            server_name=config.server_name,
            signing_key=self.signing_key,
            database=database,
            log=self.log,
            client=client,
            checker=self.checker,
            fetching=self.fetching,
            store=self.store,
            rooms=self.rooms,
            arrivals=self.arrivals,
            room_import=RoomImport(
                server_name=config.server_name,
                database=database,
                rooms=self.rooms,
                live_rooms=self.live_rooms,
                store=self.store,
            ),
            gate=self.send_gate,
            clock_ms=clock_ms,
            random_id=random_id,
        )
        self.membership = Membership(
            server_name=config.server_name,
            database=database,
            rooms=self.rooms,
            arrivals=self.arrivals,
            store=self.store,
            remote=self.joining,
            gate=self.send_gate,
            profiles=self.profiles,
        )
        self.creation = RoomCreation(
            server_name=config.server_name,
            default_version=config.rooms.default_version,
            database=database,
            rooms=self.rooms,
            live_rooms=self.live_rooms,
            membership=self.membership,
            clock_ms=clock_ms,
            random_id=random_id,
        )
        self.directory = Directory(
            server_name=config.server_name,
            database=database,
            rooms=self.rooms,
            store=self.store,
            remote=self.queries,
        )
        self.backfill = Backfill(
            database=database,
            log=self.log,
            client=client,
            checker=self.checker,
            fetching=self.fetching,
            store=self.store,
            rooms=self.rooms,
        )

    # ------------------------------------------------------------ accounts and devices

    def _accounts(self) -> None:
        config, database = self.config, self.database
        self.passwords = Passwords()
        self.sessions = SessionService(database=database, clock_ms=clock_ms)
        self.device_lists = DeviceListService(
            database=database, log=self.log, edus=self.transport.outbox
        )
        self.devices = DeviceService(
            database=database, sessions=self.sessions, device_lists=self.device_lists
        )
        self.accounts = AccountService(
            server_name=config.server_name,
            database=database,
            passwords=self.passwords,
            sessions=self.sessions,
            devices=self.devices,
            rooms=self.membership,
            clock_ms=clock_ms,
        )
        self.registration = RegistrationService(
            mode=config.registration.mode,
            server_name=config.server_name,
            database=database,
            accounts=self.accounts,
            passwords=self.passwords,
            clock_ms=clock_ms,
        )
        stages: dict[str, Stage] = {
            DUMMY: dummy_stage,
            PASSWORD: PasswordStage(
                server_name=config.server_name,
                accounts=self.accounts,
                rate_limits=self.rate_limits,
            ),
            REGISTRATION_TOKEN: self.registration.token_stage,
        }
        self.interactive_auth = InteractiveAuth(database=database, stages=stages, clock_ms=clock_ms)
        self.filters = FilterService(database=database)
        self.openid = OpenIdTokens(secret=bytes(self.signing_key.seed), clock_ms=clock_ms)

    def _devices(self) -> None:
        config, database, outbox = self.config, self.database, self.transport.outbox
        remote_keys = RemoteKeysClient(self.transport.client)
        self.remote_devices = RemoteDevices(
            database=database, log=self.log, remote=remote_keys, clock_ms=clock_ms
        )
        self.end_to_end_keys = EndToEndKeyService(
            server_name=config.server_name,
            database=database,
            device_lists=self.device_lists,
            remote_devices=self.remote_devices,
            remote=remote_keys,
        )
        self.cross_signing = CrossSigningService(
            database=database, device_lists=self.device_lists, keys=self.end_to_end_keys
        )
        self.to_device = ToDeviceService(
            server_name=config.server_name,
            database=database,
            log=self.log,
            edus=outbox,
            clock_ms=clock_ms,
        )
        self.receipts = ReceiptService(
            server_name=config.server_name,
            database=database,
            log=self.log,
            rooms=self.facts,
            edus=outbox,
            clock_ms=clock_ms,
        )
        self.typing = TypingService(
            server_name=config.server_name, rooms=self.facts, edus=outbox, clock_ms=clock_ms
        )
        self.presence = PresenceService(
            server_name=config.server_name,
            database=database,
            edus=outbox,
            clock_ms=clock_ms,
            enabled=config.presence.enabled,
        )
        self.log.subscribe(
            Activity(
                server_name=config.server_name, typing=self.typing, presence=self.presence
            ).on_notice
        )
        self.device_sharing = DeviceSharing(
            database=database,
            log=self.log,
            device_lists=self.device_lists,
            remote_devices=self.remote_devices,
        )
        self.transport.health.subscribe(self.remote_devices.peer_alive)
        files = MediaFiles(config.data_dir / "media")
        self.thumbnails = Thumbnails(files)
        self.media = MediaService(
            server_name=config.server_name,
            database=database,
            files=files,
            thumbnails=self.thumbnails,
            remote=RemoteMediaClient(self.transport.client, self.transport.connections),
            max_upload_bytes=config.media.max_upload_bytes,
            unauthenticated_downloads=config.media.unauthenticated_downloads,
            clock_ms=clock_ms,
        )

    # ------------------------------------------------------------ reading, and the way in

    def _reading(self) -> None:
        """Sync.  The notifier is the log's last listener: it wakes whom the others have served."""
        database, log = self.database, self.log
        self.recent = RecentTimeline(log)
        visibility = Visibility(database=database, log=log, store=self.store)
        events = ClientEvents(
            database=database, store=self.store, states=self.states, clock_ms=clock_ms
        )
        rooms_of_users = RoomsOfUsers(database=database, log=log)
        states = SyncStates(database=database, recent=self.recent, states=self.states)
        sync_rooms = SyncRooms(
            database=database,
            recent=self.recent,
            store=self.store,
            events=events,
            states=states,
            summaries=RoomSummaries(database=database, log=log),
            visibility=visibility,
            unread=UnreadCounts(
                database=database, log=log, recent=self.recent, rulesets=self.push_rules
            ),
        )
        key_counts = CachedKeyCounts(keys=self.end_to_end_keys, log=log)
        self.end_to_end_keys.on_counts_changed = key_counts.forget
        extras = SyncExtras(
            database=database,
            recent=self.recent,
            account_data=self.account_data,
            push_rules=self.push_rules,
            receipts=self.receipts,
            typing=self.typing,
            presence=self.presence,
            to_device=self.to_device,
            device_lists=self.device_lists,
            key_counts=key_counts,
        )
        self.notifier = Notifier(database=database, log=log, rooms=rooms_of_users)
        self.typing.on_change = self.notifier.room_changed
        self.presence.on_change = self.notifier.presence_changed
        self.sync = SyncService(
            database=database,
            recent=self.recent,
            notifier=self.notifier,
            rooms_of_users=rooms_of_users,
            rooms=sync_rooms,
            extras=extras,
            store=self.store,
            visibility=visibility,
            reader_filter=self.consent,
        )
        self.timeline = Timeline(
            database=database,
            recent=self.recent,
            store=self.store,
            states=states,
            events=events,
            visibility=visibility,
            reader_filter=self.consent,
            backfiller=self.backfill,
        )
        self.timeline_state = TimelineState(
            recent=self.recent,
            store=self.store,
            states=states,
            timeline=self.timeline,
            rooms_of_users=rooms_of_users,
        )

    def _gate(self) -> None:
        config = self.config
        edus = Edus(
            typing=self.typing,
            receipts=self.receipts,
            presence=self.presence,
            to_device=self.to_device,
            remote_devices=self.remote_devices,
            acls=self.facts,
        )
        self.gate = Gate(
            database=self.database,
            rooms=self.rooms,
            store=self.store,
            arrivals=self.arrivals,
            checker=self.checker,
            fetching=self.fetching,
            handle_edu=edus.handle,
            joining=self.joining.in_progress,
            clock_ms=clock_ms,
        )
        self.handshakes = Handshakes(
            server_name=config.server_name,
            signing_key=self.signing_key,
            database=self.database,
            rooms=self.rooms,
            store=self.store,
            states=self.states,
            arrivals=self.arrivals,
            membership=self.membership,
            checker=self.checker,
        )
        self.history = History(
            database=self.database, rooms=self.rooms, store=self.store, states=self.states
        )

    # ------------------------------------------------------------ starting and stopping

    async def start(self) -> None:
        """Start what runs in the background, the log first."""
        await self.log.start()
        self.recent.start()
        await self.transport.own_keys.start()
        await self.transport.health.start()
        await self.push_rules.start()
        await self.sessions.start()
        await self.media.start()
        await self.presence.start()
        await self.remote_devices.start()
        await self.transport.outbox.start()
        await self.gate.start()
        await self.accounts.resume()

    def stop_waiting(self) -> None:
        """Answer the syncs that wait, so that the listeners can close."""
        self.notifier.close()

    async def close(self) -> None:
        """Stop in the opposite order: what comes in, what goes out, the log last."""
        await self.gate.close()
        await self.transport.outbox.close()
        await self.device_sharing.close()
        await self.remote_devices.close()
        await self.presence.close()
        self.typing.close()
        await self.media.close()
        await self.sessions.close()
        self.passwords.close()
        self.transport.keyring.close()
        await self.transport.health.close()
        await self.log.close()
        await self.transport.connections.close()
        await self.transport.resolver.close()
