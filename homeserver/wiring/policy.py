"""Content policy, joined to what it asks of others."""

from __future__ import annotations

import asyncio

import structlog

from homeserver.config import Config, ConfigError, load_config
from homeserver.services.consent import Consent
from homeserver.services.policy import Policy
from homeserver.services.policy.index import RuleSet
from homeserver.services.policy.ports import Ports
from homeserver.services.policy.rates import Rates
from homeserver.services.policy.rules import compile_rules
from homeserver.services.policy.standing import SharedRoomsStanding
from homeserver.services.server_blocks import ServerBlocks
from homeserver.services.server_throttle import ServerThrottle
from homeserver.storage.database import Database
from homeserver.wiring.basics import clock_ms

logger = structlog.get_logger(__name__)


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
        self._config = config
        self._rates = Rates()
        self._reloading = asyncio.Lock()
        self.policy = Policy(
            server_name=config.server_name,
            database=database,
            rules=compile_rules(config.policy.rules, config.base, self._rates),
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

    async def reload(self) -> int:
        """Read the rules of the configuration file again; how many there are.

        Only the section ``policy`` takes effect.  Raises :class:`ConfigError`; the rules that were
        in force stay so.
        """
        async with self._reloading:
            rules = await asyncio.to_thread(self._read)
            self.policy.replace_rules(rules)
        logger.info("policy reloaded", rules=len(rules))
        return len(rules)

    def _read(self) -> RuleSet:
        source = self._config.source
        if source is None:
            raise ConfigError(["there is no configuration file to read again"])
        config = load_config(source)
        return RuleSet(compile_rules(config.policy.rules, config.base, self._rates))

    async def close(self) -> None:
        """Write what is not written yet."""
        await self.policy.close()
