"""Previews of what links lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from federation.connections import Connections
from federation.ip_ranges import AddressGuard
from federation.resolver import Resolver
from homeserver import app_keys
from homeserver.services.url_previews.fetching import Fetcher, Slots
from homeserver.services.url_previews.keeping import Bounds, PreviewCache
from homeserver.services.url_previews.service import Limits, UrlPreviews
from homeserver.services.url_previews.urls import UrlRules
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class PreviewParts:
    """What fetches, with connections of its own that lead to no private network, and what keeps."""

    def __init__(self, wiring: Wiring) -> None:
        config, federation = wiring.config.url_previews, wiring.config.federation
        guard = AddressGuard(
            allow_private_networks=False, allow=config.allow_networks, deny=config.deny_networks
        )
        self._connections = Connections(
            resolver=Resolver(private_zones=federation.private_zones, guard=guard),
            guard=guard,
            extra_ca_file=federation.extra_ca_file,
        )
        rules = UrlRules(
            ports=config.ports, allow_hosts=config.allow_hosts, deny_hosts=config.deny_hosts
        )
        # also where previews are off: what was kept before is forgotten in time
        self.cache = PreviewCache(
            server_name=wiring.config.server_name,
            database=wiring.database,
            files=wiring.ends.media_deletion,
            bounds=Bounds(config.cache_for_ms, config.max_cached, config.max_cached_bytes),
            wake=wiring.ends.media_caretaker.wake,
            clock_ms=clock_ms,
        )
        wiring.ends.media_caretaker.add(self.cache)
        self.previews = UrlPreviews(
            enabled=config.enabled,
            rules=rules,
            fetcher=Fetcher(
                session=lambda: self._connections.session,
                rules=rules,
                slots=Slots(config.max_concurrent, config.max_per_host),
                user_agent=config.user_agent,
                languages=config.languages,
            ),
            cache=self.cache,
            store=wiring.device_parts.media,
            rates=wiring.rate_limits,
            limits=Limits(
                page_bytes=config.max_page_bytes,
                image_bytes=config.max_image_bytes,
                timeout_ms=config.timeout_ms,
                refresh_after_ms=config.refresh_after_ms,
            ),
            clock_ms=clock_ms,
        )

    def provide(self, app: web.Application) -> None:
        """Put them under their keys."""
        app[app_keys.URL_PREVIEWS] = self.previews

    async def close(self) -> None:
        """Stop fetching."""
        await self.previews.close()
        await self._connections.close()
