"""The parts that are about people, by the key under which a handler finds each."""

from __future__ import annotations

from aiohttp import web

from homeserver.services.conversations.consents import Consents
from homeserver.services.conversations.contacts import Contacts
from homeserver.services.conversations.device_keys import ApiKeys
from homeserver.services.conversations.device_messages import DeviceMessages
from homeserver.services.conversations.people import People
from homeserver.services.conversations.requests import Requests
from homeserver.services.conversations.sessions import SignIn

API_KEYS = web.AppKey("API_KEYS", ApiKeys)
CONSENTS = web.AppKey("CONSENTS", Consents)
CONTACTS = web.AppKey("CONTACTS", Contacts)
DEVICE_MESSAGES = web.AppKey("DEVICE_MESSAGES", DeviceMessages)
PEOPLE = web.AppKey("PEOPLE", People)
REQUESTS = web.AppKey("REQUESTS", Requests)
SIGN_IN = web.AppKey("SIGN_IN", SignIn)
