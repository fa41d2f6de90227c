"""Consent: its rows, message requests, and what other instances say of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client_api.web.consent import ConsentLinks
from federation.comity import ComityPeers
from homeserver.config import ConsentConfig
from homeserver.services.consent import Consent, Defaults, parse_answers
from homeserver.services.consent.abuse import RequestAbuse
from homeserver.services.consent.access import ConsentAccess
from homeserver.services.consent.notices import ConsentNotices
from homeserver.services.consent.peers import PeerConsent
from homeserver.services.consent.requests import DAY_MS, MessageRequests, RequestLimits
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class ConsentParts:
    """Who may contact whom, and who waits for an answer."""

    def __init__(self, wiring: Wiring) -> None:
        config, database, log = wiring.config, wiring.database, wiring.log
        self.links = ConsentLinks(
            base_url=config.public_base_url, secret=bytes(wiring.signing_key.seed)
        )
        self.consent = Consent(
            server_name=config.server_name,
            database=database,
            log=log,
            defaults=consent_defaults(config.consent),
            consent_uri=self.links.make,
            account_data=wiring.account_data,
            clock_ms=clock_ms,
        )
        log.subscribe(self.consent.on_notice)
        self.requests = MessageRequests(
            database=database,
            log=log,
            consent=self.consent,
            limits=request_limits(config.consent),
            clock_ms=clock_ms,
            rates_enabled=config.rate_limits.enabled,
        )
        log.subscribe(self.requests.on_notice)
        self.access = ConsentAccess(
            database=database, consent=self.consent, base_url=config.public_base_url
        )
        self.peers = PeerConsent(database=database, clock_ms=clock_ms)
        self.comity_peers = ComityPeers(client=wiring.transport.client, clock_ms=clock_ms)
        self.peers.queries = self.comity_peers
        self.notices = ConsentNotices(
            server_name=config.server_name,
            database=database,
            log=log,
            edus=wiring.transport.outbox,
            peers=self.comity_peers,
            peer_consent=self.peers,
            moderators=wiring.moderation_queue,
            knows=self.consent.is_known,
            rate_limits=wiring.rate_limits,
            clock_ms=clock_ms,
        )
        self.requests.abuse = RequestAbuse(queue=wiring.moderation_queue, forwarder=self.notices)
        self.requests.blocked_servers = wiring.server_blocks

    async def start(self) -> None:
        """Read what is asked for on every request."""
        await self.consent.start()
        await self.peers.start()
        await self.requests.start()
        await self.notices.start()

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self.notices.close()
        await self.requests.close()


def consent_defaults(config: ConsentConfig) -> Defaults:
    """The instance's answers."""
    return Defaults(
        answers={scope: parse_answers(value) for scope, value in config.defaults.items()},
        cross_instance_opt_in=config.cross_instance == "opt_in",
        user_may_change=frozenset(config.user_may_change),
    )


def request_limits(config: ConsentConfig) -> RequestLimits:
    """The limits on message requests."""
    requests = config.requests
    return RequestLimits(
        expire_after_ms=requests.expire_after_days * DAY_MS,
        declined_for_ms=requests.declined_for_days * DAY_MS,
        max_pending=requests.max_pending,
        per_sender=requests.per_sender,
        per_instance=requests.per_instance,
    )
