"""Policy servers: asking those of rooms, and being one."""

from __future__ import annotations

from federation.client import FederationClient
from federation.policy_server import PolicyServerClient
from homeserver.config import Config
from homeserver.services.event_store import EventStore
from homeserver.services.policy import Policy
from homeserver.services.policy_keys import load_or_make
from homeserver.services.policy_server import PolicyServers
from homeserver.services.policy_signer import PolicySigner


class PolicyServerParts:
    """Built after content policy and before the rooms."""

    def __init__(
        self, config: Config, *, policy: Policy, store: EventStore, client: FederationClient
    ) -> None:
        enabled = config.policy_server.enabled
        self.signer = PolicySigner(
            server_name=config.server_name,
            keys=load_or_make(config.data_dir) if enabled else (),
            policy=policy,
        )
        self.policy_servers = PolicyServers(
            server_name=config.server_name,
            store=store,
            remote=PolicyServerClient(client),
            own=self.signer,
        )
