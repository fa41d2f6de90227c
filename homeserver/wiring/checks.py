"""Content policy for files, and the external checks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from homeserver.services.external_checks.links import CheckLinks
from homeserver.services.external_checks.matching import CheckMatch, compile_checks
from homeserver.services.external_checks.service import ExternalChecks
from homeserver.services.media_gate import MediaGate
from homeserver.services.media_stores import StorageUnavailable
from homeserver.services.media_threads import in_media_thread
from homeserver.wiring.basics import clock_ms
from homeserver.wiring.media_files import media_files

logger = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from homeserver.services.media_files import MediaFiles
    from homeserver.wiring import Wiring


class CheckParts:
    """Built after content policy and before the content repository."""

    def __init__(self, wiring: Wiring) -> None:
        """Raises :class:`~homeserver.config.ConfigError` for checks that cannot be used."""
        config, policy = wiring.config, wiring.policy
        self.files: MediaFiles = media_files(config)
        self.links = CheckLinks(
            base_url=config.public_base_url,
            secret=bytes(wiring.signing_key.seed),
            find_file=self.files.named,
            clock_ms=clock_ms,
        )
        self.checks = ExternalChecks(
            checks=[
                (definition, CheckMatch(rule, policy.ports) if rule is not None else None)
                for definition, rule in compile_checks(config.policy, config.base)
            ],
            server_name=config.server_name,
            note=policy.trail.add,
            download_url=self.links.make,
            clock_ms=clock_ms,
            clock_seconds=time.monotonic,
        )
        self.gate: MediaGate = MediaGate(
            server_name=config.server_name,
            database=wiring.database,
            policy=policy,
            checks=self.checks,
            find_file=self.files.blob,
            clock_ms=clock_ms,
        )
        self._looking: asyncio.Task[None] | None = None
        policy.ports.media = self.gate
        if self.checks.for_events:
            policy.ports.checks = self.checks

    async def start(self) -> None:
        """Learn what is withheld; say in the log whether media can be stored."""
        self._looking = asyncio.create_task(self._look_at_storage(), name="look at media storage")
        await self.gate.start()

    async def _look_at_storage(self) -> None:
        try:
            where = await in_media_thread(self.files.store.check)
        except (StorageUnavailable, OSError) as error:
            reason = error.reason if isinstance(error, StorageUnavailable) else str(error)
            logger.error("media cannot be stored or read", reason=reason)
        else:
            logger.info("media can be stored and read", where=where)

    async def close(self) -> None:
        """Stop judging, and close the connections to checks."""
        if self._looking is not None:
            self._looking.cancel()
        await self.gate.close()
        await self.checks.close()
