"""What speaks to other instances."""

from __future__ import annotations

from collections.abc import Sequence

from federation.client import FederationClient
from federation.connections import Connections
from federation.discovery import Discovery
from federation.health import DestinationHealth
from federation.ip_ranges import AddressGuard
from federation.key_fetching import KeyFetcher
from federation.keyring import Keyring
from federation.notary import Notary
from federation.outbox import Outbox
from federation.own_keys import OwnKeys
from federation.resolver import Resolver
from federation.server import Authenticator
from federation.server_rules import ServerRules
from federation.well_known import WellKnown
from homeserver.config import Config
from homeserver.protocol.signing import SigningKey
from homeserver.services.rate_limits import RateLimits
from homeserver.services.server_blocks import ServerBlocks
from homeserver.services.server_throttle import ServerThrottle
from homeserver.storage.database import Database
from homeserver.storage.log import Log
from homeserver.wiring.basics import clock_ms


class Transport:
    """What speaks to other instances: discovery, signed requests, keys, the outbox."""

    def __init__(
        self,
        config: Config,
        signing_keys: Sequence[SigningKey],
        database: Database,
        log: Log,
        rate_limits: RateLimits,
        blocks: ServerBlocks,
    ) -> None:
        settings = config.federation
        guard = AddressGuard(allow_private_networks=settings.allow_private_networks)
        self.rules = ServerRules(allow=settings.allow, deny=settings.deny, blocks=blocks)
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
        self.throttle = ServerThrottle()
        self.authenticator = Authenticator(
            server_name=config.server_name,
            keyring=self.keyring,
            rules=self.rules,
            health=self.health,
            rate_limits=rate_limits,
            throttle=self.throttle,
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
        blocks.backlog = self.outbox
