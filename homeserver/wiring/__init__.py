"""How the parts fit together: each is built once, after what it needs."""

from __future__ import annotations

from collections.abc import Sequence

from federation.backfill import Backfill
from federation.edus import Edus
from federation.fetching import Fetching
from federation.gate import Gate
from federation.handshakes import Handshakes
from federation.history import History
from federation.joining import Joining
from federation.pacing import Pacing
from federation.pdus import PduChecker
from federation.policy_signing import PolicySigning
from federation.remote import RemoteQueries
from homeserver.config import Config
from homeserver.protocol.signing import SigningKey
from homeserver.services.account_data import AccountDataService
from homeserver.services.account_deletion import AccountDeletion
from homeserver.services.accounts import AccountService
from homeserver.services.admin_tokens import AdminTokens
from homeserver.services.arrivals import Arrivals
from homeserver.services.creation import RoomCreation
from homeserver.services.device_lists import DeviceListService
from homeserver.services.devices import DeviceService
from homeserver.services.directory import Directory
from homeserver.services.erased_accounts import ErasedAccounts
from homeserver.services.event_store import EventStore
from homeserver.services.filters import FilterService
from homeserver.services.interactive_auth import (
    DUMMY,
    REGISTRATION_TOKEN,
    TERMS,
    InteractiveAuth,
    Stage,
    dummy_stage,
)
from homeserver.services.live_room import LiveRooms
from homeserver.services.membership import Membership
from homeserver.services.openid import OpenIdTokens
from homeserver.services.passwords import Passwords
from homeserver.services.policy_appointments import PolicyAppointments
from homeserver.services.profiles import ProfileService
from homeserver.services.push_rules import PushRuleService
from homeserver.services.rate_limits import RateLimits
from homeserver.services.registration import RegistrationService
from homeserver.services.room_facts import RoomFacts
from homeserver.services.room_import import RoomImport
from homeserver.services.room_tags import RoomTags
from homeserver.services.rooms import Rooms
from homeserver.services.send_gate import OutgoingGate
from homeserver.services.server_blocks import ServerBlocks
from homeserver.services.sessions import SessionService
from homeserver.services.sign_in.proofs import JWT, SSO, sso_stage
from homeserver.services.state import States
from homeserver.services.unread import UnreadCounter
from homeserver.storage.database import Database
from homeserver.storage.log import Log
from homeserver.wiring.account_access import AccountAccess, mailer_and_standing
from homeserver.wiring.accounts import AccountParts, make_exports
from homeserver.wiring.administration import AdministrationParts
from homeserver.wiring.appservices import AppServiceParts
from homeserver.wiring.basics import clock_ms, random_id
from homeserver.wiring.checks import CheckParts
from homeserver.wiring.consent import ConsentParts
from homeserver.wiring.conversations import Conversations
from homeserver.wiring.devices import DeviceParts
from homeserver.wiring.ends import Ends
from homeserver.wiring.lists import ListGates, ListParts
from homeserver.wiring.moderation import ModerationParts, moderation_queue
from homeserver.wiring.oauth import OAuthParts
from homeserver.wiring.policy import PolicyParts
from homeserver.wiring.policy_server import PolicyServerParts
from homeserver.wiring.push import PushParts
from homeserver.wiring.reading import Reading
from homeserver.wiring.scheduling import Scheduling
from homeserver.wiring.server_notices import NoticeParts
from homeserver.wiring.sign_in import SignInParts
from homeserver.wiring.sliding import SlidingParts
from homeserver.wiring.spaces import SpaceParts
from homeserver.wiring.third_party import ThirdPartyParts
from homeserver.wiring.transport import Transport
from homeserver.wiring.upgrades import UpgradeParts


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
        self.erased = ErasedAccounts(database)
        self.mailer, self.standing, self.room_blocks = mailer_and_standing(self)
        self.rate_limits = RateLimits(
            rates=config.rate_limits.rates, enabled=config.rate_limits.enabled
        )
        self.server_blocks = ServerBlocks(
            server_name=config.server_name, database=database, clock_ms=clock_ms
        )
        self.transport = Transport(
            config, signing_keys, database, self.log, self.rate_limits, self.server_blocks
        )
        self.moderation_queue = moderation_queue(config, database)
        self.log.subscribe(self.moderation_queue.on_notice)
        self._rooms()
        self._people()
        self._federation()
        self._ways_in()
        self._accounts()
        self.check_parts = CheckParts(self)
        self.device_parts = DeviceParts(self)
        self.reading: Reading = Reading(self)
        self.space_parts = SpaceParts(self)
        self.upgrade_parts = UpgradeParts(self)
        self.notice_parts = NoticeParts(self)
        self.sliding: SlidingParts = SlidingParts(self)
        self.exports = make_exports(self)
        self.account_deletion.also(self.consent_parts.requests.account_ended)
        self.account_deletion.also(self.exports.forget)
        self.account_deletion.also(self.device_parts.presence.forget)
        self.account_deletion.also(self.device_parts.progress.forget)
        self.account_deletion.also(self.reading.hidden_events.forget)
        self.moderation_parts = ModerationParts(self)
        self.ends: Ends = Ends(self)
        self.moderation_parts.moderation.contents = self.ends.deletion
        self.account_deletion.erase_with(self.ends.deletion, self.ends.media_deletion)
        self.list_parts = ListParts(self)
        self._gate()
        self.scheduling: Scheduling = Scheduling(self)
        self.conversations = Conversations(self)
        self.app_services: AppServiceParts = AppServiceParts(self)
        self.account_access: AccountAccess = AccountAccess(self, self.interactive_auth)
        self.push_parts = PushParts(self)
        self.administration: AdministrationParts = AdministrationParts(self)

    # ------------------------------------------------------------ rooms

    def _rooms(self) -> None:
        config, database = self.config, self.database
        self.push_rules = PushRuleService(database=database, log=self.log)
        self.account_data = AccountDataService(
            database=database, log=self.log, push_rules=self.push_rules
        )
        self.room_tags = RoomTags(self.account_data)
        self.consent_parts = ConsentParts(self)
        self.consent = self.consent_parts.consent
        self.policy_parts = PolicyParts(
            config,
            database,
            consent=self.consent,
            throttle=self.transport.throttle,
            blocks=self.server_blocks,
        )
        self.policy = self.policy_parts.policy
        self.policy_server_parts = PolicyServerParts(
            config, policy=self.policy, store=self.store, client=self.transport.client
        )
        self.list_gates = ListGates(config, database, self.server_blocks, self.policy)
        self.send_gate = OutgoingGate(
            server_name=config.server_name,
            standing=self.standing,
            room_blocks=self.room_blocks,
            policy=self.policy,
            lists=self.list_gates.gate,
            consent=self.consent,
            requests=self.consent_parts.requests,
            peers=self.consent_parts.peers,
        )
        self.live_rooms = LiveRooms(database, self.store, config.server_name)
        self.states = States(database, self.store)
        self.unread = UnreadCounter(
            server_name=config.server_name,
            rulesets=self.push_rules,
            store=self.store,
            is_asked=self.consent_parts.requests.is_asked,
        )
        self.rooms = Rooms(
            server_name=config.server_name,
            signing_key=self.signing_key,
            database=database,
            log=self.log,
            live_rooms=self.live_rooms,
            store=self.store,
            gate=self.send_gate,
            policy_servers=self.policy_server_parts.policy_servers,
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
            policy=self.list_gates.arrivals,
            policy_servers=self.policy_server_parts.policy_servers,
            unread=self.unread,
            destination_sets=self.transport.outbox,
            invited=self.send_gate,
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
            ),
            gate=self.send_gate,
            policy_servers=self.policy_server_parts.policy_servers,
            clock_ms=clock_ms,
            random_id=random_id,
        )
        self.membership = Membership(
            server_name=config.server_name,
            database=database,
            rooms=self.rooms,
            arrivals=self.arrivals,
            remote=self.joining,
            gate=self.send_gate,
            profiles=self.profiles,
        )
        self.consent_parts.requests.invites = self.membership

    def _ways_in(self) -> None:
        """What is built upon membership."""
        config, database, client = self.config, self.database, self.transport.client
        self.third_party = ThirdPartyParts(
            config,
            database,
            self.transport,
            signing_key=self.signing_key,
            rooms=self.rooms,
            store=self.store,
            arrivals=self.arrivals,
            membership=self.membership,
            profiles=self.profiles,
            consent=self.consent,
            gate=self.send_gate,
        )
        self.creation = RoomCreation(
            server_name=config.server_name,
            default_version=config.rooms.default_version,
            database=database,
            rooms=self.rooms,
            live_rooms=self.live_rooms,
            membership=self.membership,
            third_party=self.third_party.invites,
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
            policy=self.list_gates.arrivals,
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
        self.account_deletion = AccountDeletion(
            database=database, log=self.log, erased=self.erased, clock_ms=clock_ms
        )
        self.accounts = AccountService(
            server_name=config.server_name,
            database=database,
            passwords=self.passwords,
            sessions=self.sessions,
            devices=self.devices,
            rooms=self.membership,
            belongings=self.account_deletion,
            clock_ms=clock_ms,
        )
        self.account_parts = AccountParts(self)
        self.sign_in = SignInParts(self)
        self.oauth = OAuthParts(self)
        self.registration: RegistrationService = RegistrationService(
            mode=config.registration.mode,
            server_name=config.server_name,
            database=database,
            accounts=self.accounts,
            passwords=self.passwords,
            terms=self.account_parts.terms,
            invitations=self.account_parts.invitations,
            newcomers=self.account_parts.welcome,
            clock_ms=clock_ms,
        )
        stages: dict[str, Stage] = {
            DUMMY: dummy_stage,
            REGISTRATION_TOKEN: self.registration.token_stage,
            TERMS: self.account_parts.terms.stage,
            SSO: sso_stage,
            JWT: self.sign_in.proofs.jwt_stage,
            **self.oauth.stages,
        }
        self.interactive_auth: InteractiveAuth = InteractiveAuth(
            database=database, stages=stages, clock_ms=clock_ms
        )
        self.filters = FilterService(database=database)
        self.admin_tokens = AdminTokens(bytes(self.signing_key.seed))
        self.openid = OpenIdTokens(secret=bytes(self.signing_key.seed), clock_ms=clock_ms)

    # ------------------------------------------------------------ the way in

    def _gate(self) -> None:
        config = self.config
        edus = Edus(
            typing=self.device_parts.typing,
            receipts=self.device_parts.receipts,
            presence=self.device_parts.presence,
            to_device=self.device_parts.to_device,
            remote_devices=self.device_parts.remote_devices,
            acls=self.facts,
            notices=self.consent_parts.notices,
            deliveries=self.device_parts.delivery_notices,
            hears=self.list_gates.gate.hears,
        )
        self.gate = Gate(
            database=self.database,
            rooms=self.rooms,
            store=self.store,
            arrivals=self.arrivals,
            checker=self.checker,
            fetching=self.fetching,
            handle_edu=edus.handle,
            pacing=Pacing(database=self.database, rate_limits=self.rate_limits),
            elsewhere=self.joining,
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
            erased=self.erased,
        )
        self.policy_appointments = PolicyAppointments(
            signer=self.policy_server_parts.signer,
            rooms=self.rooms,
            policy_servers=self.policy_server_parts.policy_servers,
        )
        self.policy_signing = PolicySigning(
            signer=self.policy_server_parts.signer,
            policy_servers=self.policy_server_parts.policy_servers,
            rooms=self.rooms,
            checker=self.checker,
            rate_limits=self.rate_limits,
        )
        self.history = History(
            database=self.database,
            rooms=self.rooms,
            store=self.store,
            states=self.states,
            erased=self.erased,
            visibility=self.reading.visibility,
        )

    # ------------------------------------------------------------ starting and stopping

    async def start(self) -> None:
        """Start what runs in the background, the log first."""
        await self.log.start()
        await self.reading.start(self.database)
        await self.consent_parts.start()
        await self.transport.own_keys.start()
        await self.transport.health.start()
        await self.server_blocks.start()
        await self.list_gates.lists.start()
        await self.push_rules.start()
        await self.sessions.start()
        await self.account_access.start()
        await self.check_parts.start()
        await self.device_parts.media.start()
        await self.device_parts.presence.start()
        await self.device_parts.people_index.follower.start()
        await self.device_parts.progress.start()
        await self.device_parts.delivery_notices.start()
        await self.device_parts.remote_devices.start()
        await self.moderation_queue.start()
        await self.transport.outbox.start()
        await self.gate.start()
        await self.ends.start()
        await self.list_parts.start()
        await self.account_deletion.start()
        await self.accounts.resume()
        await self.account_parts.start()
        await self.notice_parts.notices.start()
        await self.exports.start()
        await self.scheduling.start()
        await self.conversations.start()
        await self.push_parts.start()
        await self.app_services.start()
        await self.sliding.start()

    def stop_waiting(self) -> None:
        """Answer the syncs that wait, so that the listeners can close."""
        self.reading.notifier.close()
        self.reading.room_watch.close()
        self.conversations.stop_waiting()

    async def close(self) -> None:
        """Stop in the opposite order: what comes in, what goes out, the log last."""
        await self.sliding.close()
        await self.push_parts.close()
        await self.app_services.close()
        await self.scheduling.close()
        await self.conversations.close()
        await self.list_parts.close()
        await self.ends.close()
        await self.gate.close()
        await self.server_blocks.close()
        await self.account_deletion.close()
        await self.exports.close()
        await self.account_parts.close()
        await self.sign_in.close()
        await self.account_access.close()
        await self.moderation_queue.close()
        await self.transport.outbox.close()
        await self.consent_parts.close()
        await self.device_parts.device_sharing.close()
        await self.device_parts.remote_devices.close()
        await self.device_parts.presence.close()
        await self.device_parts.people_index.follower.close()
        await self.device_parts.delivery_notices.close()
        await self.device_parts.progress.close()
        self.device_parts.typing.close()
        await self.device_parts.media.close()
        await self.check_parts.close()
        await self.sessions.close()
        self.passwords.close()
        self.transport.keyring.close()
        await self.transport.health.close()
        await self.policy_parts.close()
        await self.log.close()
        await self.transport.connections.close()
        await self.transport.resolver.close()
