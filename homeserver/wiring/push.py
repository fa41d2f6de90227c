"""Push: pushers, and what follows the log for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from aiohttp import web

from federation.connections import Connections
from federation.ip_ranges import AddressGuard
from federation.resolver import Resolver
from homeserver import app_keys
from homeserver.services.push.addresses import AccountAddresses, UnsubscribeLinks
from homeserver.services.push.audience import PushAudience
from homeserver.services.push.badges import Badges
from homeserver.services.push.following import PushFollowing
from homeserver.services.push.gateway import HttpGateway
from homeserver.services.push.mailing import MailPushers, MailSettings
from homeserver.services.push.names import Names
from homeserver.services.push.notification_list import NotificationList
from homeserver.services.push.payloads import Payloads, PushableEvents
from homeserver.services.push.pruning import NotificationPruning
from homeserver.services.push.pushers import Pushers
from homeserver.services.push.sending import PushSending
from homeserver.storage.pushers import EMAIL, Pusher
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class PushParts:
    """Built after what people read with."""

    def __init__(self, wiring: Wiring) -> None:
        database, reading = wiring.database, wiring.reading
        self.mailing: MailPushers | None = None
        addresses = AccountAddresses(database) if wiring.mailer.enabled else None
        self.pushers: Pushers = Pushers(
            database=database,
            log=wiring.log,
            rooms=reading.rooms_of_users,
            clock_ms=clock_ms,
            plain_http=wiring.config.push.allow_private_networks,
            addresses=addresses,
        )
        self.names = Names(
            rooms=wiring.live_rooms,
            store=wiring.store,
            summaries=reading.summaries,
            users=reading.rooms_of_users,
        )
        self.notifications = NotificationList(
            database=database,
            store=wiring.store,
            rulesets=wiring.push_rules,
            rooms_of=reading.rooms_of_users,
            rooms=wiring.live_rooms,
            readers=reading.visibility,
            timeline=reading.timeline,
        )
        self._make_sending(wiring)
        self._make_following(wiring)
        self.links = UnsubscribeLinks(
            base_url=wiring.config.public_base_url,
            secret=bytes(wiring.signing_key.seed),
            pushers=self.pushers,
        )
        self._caretaker = wiring.ends.caretaker
        self.pruning = NotificationPruning(
            database=database, kept_ms=wiring.config.push.keep_read_ms, clock_ms=clock_ms
        )
        self._caretaker.add(self.pruning)
        if addresses is not None:
            self.mailing = self._mail_pushers(wiring, addresses)
            self._caretaker.add(self.mailing)
        self.pushers.on_changed = self._changed
        wiring.devices.on_removed.append(self.pushers.refresh)
        wiring.accounts.on_logged_out.append(self.pushers.remove_unbound)
        wiring.account_deletion.also(self.pushers.forget)
        wiring.account_access.third_party_ids.on_removed.append(self.pushers.address_removed)

    def _make_sending(self, wiring: Wiring) -> None:
        config, reading = wiring.config, wiring.reading
        guard = AddressGuard(allow_private_networks=config.push.allow_private_networks)
        self._connections = Connections(
            resolver=Resolver(private_zones=config.federation.private_zones, guard=guard),
            guard=guard,
            extra_ca_file=config.federation.extra_ca_file,
        )
        self.badges = Badges(
            database=wiring.database,
            log=wiring.log,
            counts=reading.unread_counts,
            rooms=reading.rooms_of_users,
            clock_ms=clock_ms,
        )
        self.events = PushableEvents(
            database=wiring.database,
            store=wiring.store,
            rulesets=wiring.push_rules,
            readers=reading.visibility,
            reader_filter=reading.hidden_events,
            invites=wiring.consent_parts.requests,
            is_locked=wiring.standing.is_locked,
        )
        self.sending: PushSending = PushSending(
            database=wiring.database,
            pushers=self.pushers,
            events=self.events,
            payloads=Payloads(names=self.names),
            badges=self.badges,
            gateway=HttpGateway(session=lambda: self._connections.session),
            give_up_after_ms=config.push.give_up_after_ms,
            clock_ms=clock_ms,
        )

    def _mail_pushers(self, wiring: Wiring, addresses: AccountAddresses) -> MailPushers:
        push = wiring.config.push
        return MailPushers(
            server_name=wiring.config.server_name,
            database=wiring.database,
            pushers=self.pushers,
            addresses=addresses,
            events=self.events,
            names=self.names,
            badges=self.badges,
            mailer=wiring.mailer,
            links=self.links,
            settings=MailSettings(push.email_after_ms, push.email_every_ms, push.email_text),
            clock_ms=clock_ms,
        )

    def _make_following(self, wiring: Wiring) -> None:
        reading = wiring.reading
        audience = PushAudience(
            rulesets=wiring.push_rules,
            members=reading.rooms_of_users,
            rooms=wiring.live_rooms,
            readers=reading.visibility,
            reader_filter=reading.hidden_events,
            invites=wiring.consent_parts.requests,
            load=lambda room, keys: room.load_events(wiring.store, keys),
        )
        self.following: PushFollowing = PushFollowing(
            database=wiring.database,
            log=wiring.log,
            store=wiring.store,
            pushers=self.pushers,
            audience=audience,
            rooms=reading.rooms_of_users,
            badges=self.badges,
            queued=self._queued,
            clock_ms=clock_ms,
        )

    def _queued(self, pusher_ids: Collection[int]) -> None:
        self.sending.wake(pusher_ids)
        pushers = map(self.pushers.get, pusher_ids)
        mailed = [p.pusher_id for p in pushers if p is not None and p.kind == EMAIL]
        if mailed and self.mailing is not None and self.mailing.queued(mailed):
            self._caretaker.wake()

    def _changed(self, pushers: Collection[Pusher]) -> None:
        pusher_ids = [pusher.pusher_id for pusher in pushers]
        if self.mailing is not None:
            self.mailing.changed(pusher_ids)
        self._queued(pusher_ids)

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.PUSHERS] = self.pushers
        app[app_keys.UNSUBSCRIBE_LINKS] = self.links
        app[app_keys.NOTIFICATIONS] = self.notifications

    async def start(self) -> None:
        """Go on where it was left."""
        await self.pushers.start()
        await self.following.start()
        await self.sending.start()

    async def close(self) -> None:
        """Stop; what is under way is sent again."""
        await self.following.close()
        await self.sending.close()
        await self._connections.close()
