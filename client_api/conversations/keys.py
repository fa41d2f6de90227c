"""The parts of the Conversations API, by the key under which a handler finds each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from homeserver.services.conversations.api_tokens import ApiTokens
from homeserver.services.conversations.applications import Applications
from homeserver.services.conversations.calls import Calls
from homeserver.services.conversations.cancelling import Cancelling
from homeserver.services.conversations.conversations import Conversations
from homeserver.services.conversations.delivery import DeliveryStatuses
from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.drafts import Drafts
from homeserver.services.conversations.entering import Entering
from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.forwarding import Forwarding
from homeserver.services.conversations.groups import Groups
from homeserver.services.conversations.idempotency import Idempotency
from homeserver.services.conversations.incoming import IncomingWebhooks
from homeserver.services.conversations.media_links import MediaLinks
from homeserver.services.conversations.members import Members
from homeserver.services.conversations.message_changes import MessageChanges
from homeserver.services.conversations.messages import Messages
from homeserver.services.conversations.newest_pages import NewestPages
from homeserver.services.conversations.own_settings import Settings
from homeserver.services.conversations.read_marks import ReadMarks
from homeserver.services.conversations.room_people import RoomPeople
from homeserver.services.conversations.scheduled import ScheduledMessages
from homeserver.services.conversations.search import Search
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.uploads import Uploads
from homeserver.services.conversations.webhooks.service import Webhooks
from homeserver.services.media_deletion import MediaDeletion

if TYPE_CHECKING:
    from client_api.conversations.ws.hub import Hub

INCOMING_WEBHOOKS = web.AppKey("INCOMING_WEBHOOKS", IncomingWebhooks)
WEBHOOKS = web.AppKey("WEBHOOKS", Webhooks)
API_TOKENS = web.AppKey("API_TOKENS", ApiTokens)
APPLICATIONS = web.AppKey("APPLICATIONS", Applications)
FEED = web.AppKey("FEED", Feed)
CALLS = web.AppKey("CALLS", Calls)
CANCELLING = web.AppKey("CANCELLING", Cancelling)
DELIVERY = web.AppKey("DELIVERY", DeliveryStatuses)
DRAFTS = web.AppKey("DRAFTS", Drafts)
IDEMPOTENCY = web.AppKey("IDEMPOTENCY", Idempotency)
CONVERSATIONS = web.AppKey("CONVERSATIONS", Conversations)
DIRECT = web.AppKey("DIRECT", Direct)
SCHEDULED_MESSAGES = web.AppKey("SCHEDULED_MESSAGES", ScheduledMessages)
SOCKETS: web.AppKey[Hub] = web.AppKey("SOCKETS")
SEARCH = web.AppKey("SEARCH", Search)
SENDING = web.AppKey("SENDING", Sending)
SETTINGS = web.AppKey("SETTINGS", Settings)
MEDIA_DELETION = web.AppKey("MEDIA_DELETION", MediaDeletion)
MEDIA_LINKS = web.AppKey("MEDIA_LINKS", MediaLinks)
MESSAGES = web.AppKey("MESSAGES", Messages)
MESSAGE_CHANGES = web.AppKey("MESSAGE_CHANGES", MessageChanges)
FORWARDING = web.AppKey("FORWARDING", Forwarding)
NEWEST_PAGES = web.AppKey("NEWEST_PAGES", NewestPages)
ROOM_PEOPLE = web.AppKey("ROOM_PEOPLE", RoomPeople)
READ_MARKS = web.AppKey("READ_MARKS", ReadMarks)
GROUPS = web.AppKey("GROUPS", Groups)
MEMBERS = web.AppKey("MEMBERS", Members)
ENTERING = web.AppKey("ENTERING", Entering)
UPLOADS = web.AppKey("UPLOADS", Uploads)
