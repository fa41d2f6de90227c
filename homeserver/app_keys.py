"""The application's parts, by the key under which a handler finds each: ``request.app[ROOMS]``.

``homeserver/app.py`` fills them in.
"""

from __future__ import annotations

from aiohttp import web

from homeserver.config import Config
from homeserver.services.account_data import AccountDataService
from homeserver.services.accounts import AccountService
from homeserver.services.admin_tokens import AdminTokens
from homeserver.services.consent import Consent
from homeserver.services.consent.access import ConsentAccess
from homeserver.services.consent.peers import PeerConsent
from homeserver.services.consent.requests import MessageRequests
from homeserver.services.creation import RoomCreation
from homeserver.services.cross_signing import CrossSigningService
from homeserver.services.device_lists import DeviceListService
from homeserver.services.devices import DeviceService
from homeserver.services.directory import Directory
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.exports.jobs import Exports
from homeserver.services.external_checks.links import CheckLinks
from homeserver.services.filters import FilterService
from homeserver.services.hidden_events import HiddenEvents
from homeserver.services.interactive_auth import InteractiveAuth
from homeserver.services.invitations import Invitations
from homeserver.services.media import MediaService
from homeserver.services.media_gate import MediaGate
from homeserver.services.membership import Membership
from homeserver.services.message_views import MessageViews
from homeserver.services.moderation import Moderation
from homeserver.services.moderation_queue import ModerationQueue
from homeserver.services.openid import OpenIdTokens
from homeserver.services.policy import Policy
from homeserver.services.policy.reloading import RuleFile
from homeserver.services.policy_appointments import PolicyAppointments
from homeserver.services.policy_lists.gate import ListGate
from homeserver.services.policy_lists.lists import PolicyLists
from homeserver.services.policy_lists.preview import Previews
from homeserver.services.policy_signer import PolicySigner
from homeserver.services.presence import PresenceService
from homeserver.services.profiles import ProfileService
from homeserver.services.push_rules import PushRuleService
from homeserver.services.rate_limits import RateLimits
from homeserver.services.receipts import ReceiptService
from homeserver.services.registration import RegistrationService
from homeserver.services.relations import RelationService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.services.reports import Reports
from homeserver.services.retention import Retention
from homeserver.services.room_acls import RoomAcls
from homeserver.services.rooms import Rooms
from homeserver.services.server_blocks import ServerAdmission, ServerBlocks
from homeserver.services.sessions import SessionService
from homeserver.services.sync import SyncService
from homeserver.services.terms import Terms
from homeserver.services.third_party_invites import ThirdPartyInvites
from homeserver.services.timeline import Timeline
from homeserver.services.timeline_state import TimelineState
from homeserver.services.to_device import ToDeviceService
from homeserver.services.typing import TypingService
from homeserver.storage.database import Database

CONFIG = web.AppKey("CONFIG", Config)
DATABASE = web.AppKey("DATABASE", Database)

ACCOUNT_DATA = web.AppKey("ACCOUNT_DATA", AccountDataService)
ACCOUNTS = web.AppKey("ACCOUNTS", AccountService)
ADMIN_TOKENS = web.AppKey("ADMIN_TOKENS", AdminTokens)
DEVICES = web.AppKey("DEVICES", DeviceService)
EXPORTS = web.AppKey("EXPORTS", Exports)
FILTERS = web.AppKey("FILTERS", FilterService)
INTERACTIVE_AUTH = web.AppKey("INTERACTIVE_AUTH", InteractiveAuth)
INVITATIONS = web.AppKey("INVITATIONS", Invitations)
OPENID = web.AppKey("OPENID", OpenIdTokens)
PROFILES = web.AppKey("PROFILES", ProfileService)
PUSH_RULES = web.AppKey("PUSH_RULES", PushRuleService)
RATE_LIMITS = web.AppKey("RATE_LIMITS", RateLimits)
REGISTRATION = web.AppKey("REGISTRATION", RegistrationService)
LIST_GATE = web.AppKey("LIST_GATE", ListGate)
POLICY_LISTS = web.AppKey("POLICY_LISTS", PolicyLists)
POLICY_PREVIEWS = web.AppKey("POLICY_PREVIEWS", Previews)
POLICY = web.AppKey("POLICY", Policy)
RULE_FILE = web.AppKey("RULE_FILE", RuleFile)
SERVER_ADMISSION = web.AppKey("SERVER_ADMISSION", ServerAdmission)
SERVER_BLOCKS = web.AppKey("SERVER_BLOCKS", ServerBlocks)
SESSIONS = web.AppKey("SESSIONS", SessionService)
TERMS = web.AppKey("TERMS", Terms)

CROSS_SIGNING = web.AppKey("CROSS_SIGNING", CrossSigningService)
DEVICE_LISTS = web.AppKey("DEVICE_LISTS", DeviceListService)
END_TO_END_KEYS = web.AppKey("END_TO_END_KEYS", EndToEndKeyService)
MEDIA = web.AppKey("MEDIA", MediaService)
MEDIA_GATE = web.AppKey("MEDIA_GATE", MediaGate)
CHECK_LINKS = web.AppKey("CHECK_LINKS", CheckLinks)
PRESENCE = web.AppKey("PRESENCE", PresenceService)
RECEIPTS = web.AppKey("RECEIPTS", ReceiptService)
REMOTE_DEVICES = web.AppKey("REMOTE_DEVICES", RemoteDevices)
TO_DEVICE = web.AppKey("TO_DEVICE", ToDeviceService)
TYPING = web.AppKey("TYPING", TypingService)

CONSENT = web.AppKey("CONSENT", Consent)
CONSENT_ACCESS = web.AppKey("CONSENT_ACCESS", ConsentAccess)
MESSAGE_REQUESTS = web.AppKey("MESSAGE_REQUESTS", MessageRequests)
PEER_CONSENT = web.AppKey("PEER_CONSENT", PeerConsent)
DIRECTORY = web.AppKey("DIRECTORY", Directory)
MESSAGE_VIEWS = web.AppKey("MESSAGE_VIEWS", MessageViews)
MEMBERSHIP = web.AppKey("MEMBERSHIP", Membership)
POLICY_APPOINTMENTS = web.AppKey("POLICY_APPOINTMENTS", PolicyAppointments)
POLICY_SIGNER = web.AppKey("POLICY_SIGNER", PolicySigner)
MODERATION = web.AppKey("MODERATION", Moderation)
MODERATION_QUEUE = web.AppKey("MODERATION_QUEUE", ModerationQueue)
REPORTS = web.AppKey("REPORTS", Reports)
ROOM_ACLS = web.AppKey("ROOM_ACLS", RoomAcls)
ROOM_CREATION = web.AppKey("ROOM_CREATION", RoomCreation)
ROOMS = web.AppKey("ROOMS", Rooms)

SYNC = web.AppKey("SYNC", SyncService)
HIDDEN_EVENTS = web.AppKey("HIDDEN_EVENTS", HiddenEvents)
THIRD_PARTY_INVITES = web.AppKey("THIRD_PARTY_INVITES", ThirdPartyInvites)
TIMELINE = web.AppKey("TIMELINE", Timeline)
TIMELINE_STATE = web.AppKey("TIMELINE_STATE", TimelineState)
RELATIONS = web.AppKey("RELATIONS", RelationService)
RETENTION = web.AppKey("RETENTION", Retention)
