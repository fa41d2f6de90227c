"""Devices, and what they send beside events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from federation.media import RemoteMediaClient
from federation.remote_keys import RemoteKeysClient
from homeserver import app_keys
from homeserver.services.activity import Activity
from homeserver.services.cross_signing import CrossSigningService
from homeserver.services.dehydrated_devices import DehydratedDevices
from homeserver.services.delivery.notices import DeliveryNotices
from homeserver.services.delivery.progress import DeviceProgress
from homeserver.services.device_sharing import DeviceSharing
from homeserver.services.end_to_end_keys import EndToEndKeyService
from homeserver.services.key_backup import KeyBackupService
from homeserver.services.media import MediaService, PendingLimits
from homeserver.services.media_files import MediaFiles
from homeserver.services.media_limits import Allowance, MediaLimits
from homeserver.services.media_strays import MediaStrays
from homeserver.services.people_index import PeopleIndex
from homeserver.services.people_search import PeopleSearch
from homeserver.services.presence import PresenceService
from homeserver.services.receipts import ReceiptService
from homeserver.services.remote_devices import RemoteDevices
from homeserver.services.thumbnails import Thumbnails
from homeserver.services.to_device import ToDeviceService
from homeserver.services.typing import TypingService
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class DeviceParts:
    """Keys, messages and signs of life of devices; media."""

    def __init__(self, wiring: Wiring) -> None:
        config, database, outbox = wiring.config, wiring.database, wiring.transport.outbox
        remote_keys = RemoteKeysClient(wiring.transport.client)
        self.remote_devices = RemoteDevices(
            database=database, log=wiring.log, remote=remote_keys, clock_ms=clock_ms
        )
        self.end_to_end_keys = EndToEndKeyService(
            server_name=config.server_name,
            database=database,
            device_lists=wiring.device_lists,
            remote_devices=self.remote_devices,
            remote=remote_keys,
        )
        self.cross_signing = CrossSigningService(
            database=database, device_lists=wiring.device_lists, keys=self.end_to_end_keys
        )
        self.key_backup = KeyBackupService(database=database)
        self.dehydrated_devices = DehydratedDevices(
            database=database, devices=wiring.devices, keys=self.end_to_end_keys, clock_ms=clock_ms
        )
        self.to_device = ToDeviceService(
            server_name=config.server_name,
            database=database,
            log=wiring.log,
            edus=outbox,
            clock_ms=clock_ms,
        )
        self._delivery(wiring)
        self.receipts: ReceiptService = ReceiptService(
            database=database,
            log=wiring.log,
            rooms=wiring.facts,
            edus=outbox,
            clock_ms=clock_ms,
            audience=wiring.consent,
        )
        self.typing: TypingService = TypingService(
            rooms=wiring.facts,
            edus=outbox,
            clock_ms=clock_ms,
            audience=wiring.consent,
        )
        self.presence: PresenceService = PresenceService(
            server_name=config.server_name,
            database=database,
            edus=outbox,
            clock_ms=clock_ms,
            enabled=config.presence.enabled,
            audience=wiring.consent,
        )
        self._follow(wiring)
        self.people_index = PeopleIndex(database=database)
        wiring.log.subscribe(self.people_index.on_notice)
        self.people_search: PeopleSearch = PeopleSearch(
            database=database, look_ups=wiring.consent_parts.access
        )
        self.device_sharing = DeviceSharing(
            database=database,
            log=wiring.log,
            device_lists=wiring.device_lists,
            remote_devices=self.remote_devices,
        )
        wiring.transport.health.subscribe(self.remote_devices.peer_alive)
        self._media(wiring)

    def _follow(self, wiring: Wiring) -> None:
        """Who types and who is online follows from what happens, too."""
        activity = Activity(
            server_name=wiring.config.server_name, typing=self.typing, presence=self.presence
        )
        wiring.log.subscribe(activity.on_notice)
        wiring.log.subscribe(self.presence.on_notice)
        wiring.profiles.on_changed = self.presence.profile_changed
        health = wiring.transport.health
        health.subscribe(
            lambda peer: None if health.is_failing(peer) else self.presence.peers.is_back(peer)
        )

    def provide(self, app: web.Application) -> None:
        """Have handlers find the parts that are about keys kept for clients."""
        app[app_keys.DEHYDRATED_DEVICES] = self.dehydrated_devices
        app[app_keys.KEY_BACKUP] = self.key_backup

    def _delivery(self, wiring: Wiring) -> None:
        self.progress: DeviceProgress = DeviceProgress(database=wiring.database, clock_ms=clock_ms)
        self.delivery_notices: DeliveryNotices = DeliveryNotices(
            server_name=wiring.config.server_name,
            database=wiring.database,
            log=wiring.log,
            live_rooms=wiring.live_rooms,
            progress=self.progress,
            edus=wiring.transport.outbox,
            peers=wiring.consent_parts.comity_peers,
            audience=wiring.consent,
            clock_ms=clock_ms,
        )

    def _media(self, wiring: Wiring) -> None:
        config = wiring.config
        self.media_files: MediaFiles = wiring.check_parts.files
        self.media_strays = MediaStrays(
            database=wiring.database,
            files=self.media_files,
            wake=lambda: wiring.ends.media_caretaker.wake(),  # noqa: PLW0108 - it is made later
            clock_ms=clock_ms,
        )
        self.thumbnails = Thumbnails(self.media_files)
        limits = MediaLimits(
            database=wiring.database,
            default=Allowance(
                config.media.quota_bytes, config.media.max_files, config.media.max_upload_bytes
            ),
            standing=wiring.standing,
            rates=wiring.rate_limits,
            info_uri=config.media.limits_info_uri,
        )
        self.media = MediaService(
            server_name=config.server_name,
            database=wiring.database,
            files=self.media_files,
            strays=self.media_strays,
            thumbnails=self.thumbnails,
            remote=RemoteMediaClient(wiring.transport.client, wiring.transport.connections),
            max_upload_bytes=config.media.max_upload_bytes,
            unauthenticated_downloads=config.media.unauthenticated_downloads,
            clock_ms=clock_ms,
            gate=wiring.check_parts.gate,
            limits=limits,
            pending=PendingLimits(
                config.media.create.expire_after_ms, config.media.create.max_pending
            ),
        )
