"""People of the Conversations API: who they are, how they sign in, whom they know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import people_keys as keys
from homeserver.services.conversations.consents import Consents
from homeserver.services.conversations.contacts import Contacts
from homeserver.services.conversations.device_keys import ApiKeys
from homeserver.services.conversations.device_messages import DeviceMessages
from homeserver.services.conversations.direct_list import DirectList, Invitations
from homeserver.services.conversations.feed.feed import Feed
from homeserver.services.conversations.keys_watch import KeysWatch
from homeserver.services.conversations.people import People
from homeserver.services.conversations.private_lists import PrivateLists
from homeserver.services.conversations.requests import Requests
from homeserver.services.conversations.sessions import SignIn
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class PeopleParts:
    """Built with the other parts of the Conversations API."""

    def __init__(self, wiring: Wiring, direct_list: DirectList) -> None:
        self._wiring = wiring
        config, database = wiring.config, wiring.database
        consent = wiring.consent_parts
        self.sign_in = SignIn(
            server_name=config.server_name,
            database=database,
            sessions=wiring.sessions,
            passwords=wiring.sign_in.passwords,
            jwt_login=wiring.sign_in.jwt_login,
            clock_ms=clock_ms,
        )
        lists = PrivateLists(wiring.account_data)
        self.people = People(
            server_name=config.server_name,
            database=database,
            profiles=wiring.profiles,
            consent=consent.consent,
            access=consent.access,
            requests=consent.requests,
            lists=lists,
            search=wiring.device_parts.people_search,
            statuses=wiring.device_parts.presence,
        )
        self.contacts = Contacts(
            server_name=config.server_name,
            database=database,
            consent=consent.consent,
            access=consent.access,
            requests=consent.requests,
            people=self.people,
            lists=lists,
            accounts=wiring.accounts,
        )

        self.consents = Consents(
            server_name=config.server_name,
            database=database,
            consent=consent.consent,
            access=consent.access,
            peers=consent.peers,
        )
        self.requests = Requests(
            requests=consent.requests,
            consent=consent.consent,
            people=self.people,
            joins=Invitations(
                database=wiring.database,
                membership=wiring.membership,
                direct_list=direct_list,
            ),
        )

        devices = wiring.device_parts
        self.keys = ApiKeys(
            server_name=config.server_name,
            database=database,
            keys=devices.end_to_end_keys,
            access=consent.access,
            consent=consent.consent,
        )
        self.device_messages = DeviceMessages(
            server_name=config.server_name,
            database=database,
            to_device=devices.to_device,
            consent=consent.consent,
            look_ups=consent.access,
        )

    def follow(self, feed: Feed) -> None:
        """Tell what is told over the feed."""
        keys_of_devices = self._wiring.device_parts.end_to_end_keys
        self.keys_watch = KeysWatch(keys=keys_of_devices, listeners=feed)
        self.keys_watch.follow(keys_of_devices.on_counts_changed)

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self.keys_watch.close()

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.SIGN_IN] = self.sign_in
        app[keys.PEOPLE] = self.people
        app[keys.API_KEYS] = self.keys
        app[keys.DEVICE_MESSAGES] = self.device_messages
        app[keys.CONSENTS] = self.consents
        app[keys.REQUESTS] = self.requests
        app[keys.CONTACTS] = self.contacts
