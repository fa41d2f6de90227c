"""Applications: who they are, and how they are told what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from federation.connections import Connections
from federation.ip_ranges import AddressGuard
from federation.resolver import Resolver
from homeserver.services.conversations.access import Access
from homeserver.services.conversations.api_tokens import ApiTokens
from homeserver.services.conversations.applications import Applications
from homeserver.services.conversations.incoming import IncomingWebhooks
from homeserver.services.conversations.sending import Sending
from homeserver.services.conversations.shapes.people import address
from homeserver.services.conversations.webhooks.audience import LogAudience
from homeserver.services.conversations.webhooks.event_types import (
    ACCOUNT_CREATED,
    ACCOUNT_DELETED,
)
from homeserver.services.conversations.webhooks.registry import Registry
from homeserver.services.conversations.webhooks.sending import Sender
from homeserver.services.conversations.webhooks.service import Limits, Webhooks
from homeserver.services.conversations.webhooks.source import LogSource
from homeserver.storage import webhook_source
from homeserver.storage.database import Connection
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring
    from homeserver.wiring.feed import FeedParts


class ApplicationParts:
    """Applications, API tokens, webhooks in both directions."""

    def __init__(self, wiring: Wiring, feed: FeedParts, access: Access, sending: Sending) -> None:
        caretaker = wiring.ends.caretaker
        self._make_applications(wiring)
        self._make_webhooks(wiring, feed)
        self.incoming = IncomingWebhooks(
            database=wiring.database,
            access=access,
            sending=sending,
            rate_limits=wiring.rate_limits,
            wake=caretaker.wake,
            clock_ms=clock_ms,
        )
        wiring.accounts.on_ended.append(self.incoming.account_ended)
        self.applications.changed.append(self.incoming.forget)
        caretaker.add(self.tokens, self.webhooks, self.incoming)

    def _make_applications(self, wiring: Wiring) -> None:
        self.tokens = ApiTokens(
            database=wiring.database, wake=wiring.ends.caretaker.wake, clock_ms=clock_ms
        )
        self.applications: Applications = Applications(
            server_name=wiring.config.server_name,
            database=wiring.database,
            accounts=wiring.accounts,
            profiles=wiring.profiles,
            tokens=self.tokens,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        wiring.registration.reserve(self.applications)
        wiring.accounts.on_ended.append(self.tokens.account_ended)
        wiring.sessions.on_all_revoked.append(lambda user_id: self.tokens.forget(user_id=user_id))
        wiring.accounts.after_ended += (self.applications.forget_user, self._forget_tokens)

    def on_tokens_changed(self, listener: Callable[[], None]) -> None:
        """Tell when API tokens became void, or good for less."""
        self.tokens.on_void.append(listener)
        self.applications.changed.append(listener)

    def _forget_tokens(self, user_id: str) -> None:
        self.tokens.forget(user_id=user_id)
        self.incoming.forget()

    def _make_webhooks(self, wiring: Wiring, feed: FeedParts) -> None:
        config, database = wiring.config, wiring.database
        may_be_private = config.webhooks.allow_private_networks
        guard = AddressGuard(allow_private_networks=may_be_private)
        self._connections = Connections(
            resolver=Resolver(private_zones=config.federation.private_zones, guard=guard),
            guard=guard,
            extra_ca_file=config.federation.extra_ca_file,
        )
        audience = LogAudience(
            ownership=self.applications,
            members_at=partial(webhook_source.get_members_at, database),
            judge=feed.judge,
        )
        self.registry = Registry(
            database=database,
            source=LogSource(
                database=database, log=wiring.log, store=wiring.store, looking=feed.looking
            ),
            audience=audience,
            sender=Sender(session=lambda: self._connections.session, clock_ms=clock_ms),
            clock_ms=clock_ms,
        )
        self.webhooks: Webhooks = Webhooks(
            database=database,
            registry=self.registry,
            position=lambda: wiring.log.position,
            rate_limits=wiring.rate_limits,
            limits=Limits(allow_http=may_be_private, keep_log_ms=config.webhooks.keep_log_ms),
            clock_ms=clock_ms,
        )
        wiring.log.subscribe(lambda _notice: self.registry.wake())
        self.applications.changed += (audience.forget_owners, self._applications_changed)
        self.applications.on_made.append(self._account_made)
        wiring.accounts.on_created.append(self._account_created)
        wiring.accounts.on_ended += (self.webhooks.account_ended, self._account_ended)

    # ------------------------------------------------------------ accounts come and go

    async def _account_created(self, connection: Connection, user_id: str) -> None:
        if self.registry.any_active:
            owners = await self.applications.owners_of(connection, user_id)
            data = {"person": address(user_id)}
            await self.registry.announce(connection, owners, ACCOUNT_CREATED, data)

    async def _account_made(
        self, connection: Connection, user_id: str, application_id: str
    ) -> None:
        data = {"person": address(user_id)}
        await self.registry.announce(connection, [application_id], ACCOUNT_CREATED, data)

    async def _account_ended(self, connection: Connection, user_id: str) -> None:
        if self.registry.any_active:
            owners = await self.applications.owners_of(connection, user_id)
            data = {"person": address(user_id)}
            await self.registry.announce(connection, owners, ACCOUNT_DELETED, data)

    def _applications_changed(self) -> None:
        """Those of a deleted application are gone."""
        self._refreshing = asyncio.create_task(self.registry.refresh())

    # ------------------------------------------------------------ running

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.API_TOKENS] = self.tokens
        app[keys.APPLICATIONS] = self.applications
        app[keys.WEBHOOKS] = self.webhooks
        app[keys.INCOMING_WEBHOOKS] = self.incoming

    async def start(self) -> None:
        """Read which applications there are, and tell those what they missed."""
        await self.applications.start()
        await self.registry.start()

    async def close(self) -> None:
        """Stop telling them."""
        await self.registry.close()
        await self._connections.close()
