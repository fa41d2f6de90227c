"""Content policy, joined to what it asks of others."""

from __future__ import annotations

from homeserver.config import Config
from homeserver.services.consent import Consent
from homeserver.services.policy import Policy
from homeserver.services.policy.ports import Ports
from homeserver.services.policy.rates import Rates
from homeserver.services.policy.reloading import RuleFile
from homeserver.services.policy.rules import compile_rules
from homeserver.services.policy.standing import SharedRoomsStanding
from homeserver.services.server_blocks import ServerBlocks
from homeserver.services.server_throttle import ServerThrottle
from homeserver.storage.database import Database
from homeserver.wiring.basics import clock_ms


class PolicyParts:
    """The engine and its rules; reads them again when told to."""

    def __init__(
        self,
        config: Config,
        database: Database,
        *,
        consent: Consent,
        throttle: ServerThrottle,
        blocks: ServerBlocks,
    ) -> None:
        """Raises :class:`ConfigError` for rules that cannot be used."""
        rates = Rates()
        self.policy = Policy(
            server_name=config.server_name,
            database=database,
            rules=compile_rules(config.policy.rules, config.base, rates),
            clock_ms=clock_ms,
            ports=Ports(
                standing=SharedRoomsStanding(
                    server_name=config.server_name,
                    database=database,
                    contacts=consent,
                ),
                throttle=throttle,
                blocks=blocks,
            ),
        )

        self.rule_file = RuleFile(config, self.policy, rates)

    async def close(self) -> None:
        """Write what is not written yet."""
        await self.policy.close()
