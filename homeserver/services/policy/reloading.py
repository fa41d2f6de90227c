"""Reading the rules again while the server runs."""

from __future__ import annotations

import asyncio

import structlog

from homeserver.config import Config, ConfigError, load_config
from homeserver.services.policy.engine import Policy
from homeserver.services.policy.index import RuleSet
from homeserver.services.policy.rates import Rates
from homeserver.services.policy.rules import compile_rules

logger = structlog.get_logger(__name__)


class RuleFile:
    """The section ``policy`` of the configuration file; nothing else of it takes effect."""

    def __init__(self, config: Config, policy: Policy, rates: Rates) -> None:
        """``rates``: those that the present rules count with."""
        self._config = config
        self._policy = policy
        self._rates = rates
        self._reloading = asyncio.Lock()

    async def reload(self) -> int:
        """Judge by what the file says now; how many rules that is.

        Raises :class:`ConfigError` for a file that cannot be used; the rules stay as they were.
        """
        async with self._reloading:
            try:
                rules = await asyncio.to_thread(self._read)
            except ConfigError as error:
                logger.error("rules not reloaded", problems=error.problems)
                raise
            self._policy.replace_rules(rules)
        logger.info("rules reloaded", count=len(rules))
        return len(rules)

    def _read(self) -> RuleSet:
        source = self._config.source
        if source is None:
            raise ConfigError(["the server was started without a configuration file"])
        config = load_config(source)
        return RuleSet(compile_rules(config.policy.rules, config.base, self._rates))
