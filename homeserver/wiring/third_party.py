"""Invites by e-mail address or telephone number, going out and coming in."""

from __future__ import annotations

from federation.identity_servers import IdentityServerClient
from federation.third_party import ThirdPartyBinding
from homeserver.config import Config
from homeserver.protocol.signing import SigningKey
from homeserver.services.arrivals import Arrivals
from homeserver.services.consent import Consent
from homeserver.services.event_store import EventStore
from homeserver.services.membership import Membership
from homeserver.services.profiles import ProfileService
from homeserver.services.rooms import Rooms
from homeserver.services.send_gate import OutgoingGate
from homeserver.services.third_party_invites import ThirdPartyInvites
from homeserver.storage.database import Database
from homeserver.wiring.transport import Transport


class ThirdPartyParts:
    """Built after membership and before the creation of rooms."""

    def __init__(
        self,
        config: Config,
        database: Database,
        transport: Transport,
        *,
        signing_key: SigningKey,
        rooms: Rooms,
        store: EventStore,
        arrivals: Arrivals,
        membership: Membership,
        profiles: ProfileService,
        consent: Consent,
        gate: OutgoingGate,
    ) -> None:
        self.identity_servers = IdentityServerClient(
            server_name=config.server_name,
            signing_key=signing_key,
            connections=transport.connections,
            rules=transport.rules,
            allowed=config.third_party_invites.identity_servers,
        )
        self.invites = ThirdPartyInvites(
            rooms=rooms,
            store=store,
            membership=membership,
            profiles=profiles,
            consent=consent,
            gate=gate,
            identity_servers=self.identity_servers,
        )
        self.binding = ThirdPartyBinding(
            server_name=config.server_name,
            database=database,
            rooms=rooms,
            store=store,
            arrivals=arrivals,
            membership=membership,
            consent=gate,
            client=transport.client,
            identity_servers=self.identity_servers,
        )
        self.invites.signed = self.binding
