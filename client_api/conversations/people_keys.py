"""The parts that are about people, by the key under which a handler finds each."""

from __future__ import annotations

from aiohttp import web

from homeserver.services.conversations.consents import Consents
from homeserver.services.conversations.contacts import Contacts
from homeserver.services.conversations.people import People
from homeserver.services.conversations.requests import Requests
from homeserver.services.conversations.sessions import SignIn

CONSENTS = web.AppKey("CONSENTS", Consents)
CONTACTS = web.AppKey("CONTACTS", Contacts)
PEOPLE = web.AppKey("PEOPLE", People)
REQUESTS = web.AppKey("REQUESTS", Requests)
SIGN_IN = web.AppKey("SIGN_IN", SignIn)
