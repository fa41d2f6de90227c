"""The moderators' queue, what they decide, and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.services.held_events import HeldEvents
from homeserver.services.moderation import Moderation
from homeserver.services.moderation_queue import ModerationQueue
from homeserver.services.reports import Reports
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.config import Config
    from homeserver.storage.database import Database
    from homeserver.wiring import Wiring


def moderation_queue(config: Config, database: Database) -> ModerationQueue:
    """The queue, which consent and policy add to."""
    return ModerationQueue(
        database=database,
        keep_flagged_days=config.moderation.keep_flagged_days,
        keep_decided_days=config.moderation.keep_decided_days,
        clock_ms=clock_ms,
    )


class ModerationParts:
    """What moderators do."""

    def __init__(self, wiring: Wiring) -> None:
        server_name = wiring.config.server_name
        self.moderation = Moderation(
            server_name=server_name,
            database=wiring.database,
            queue=wiring.moderation_queue,
            held=HeldEvents(
                log=wiring.log,
                rooms=wiring.rooms,
                arrivals=wiring.arrivals,
                store=wiring.store,
                unread=wiring.unread,
                policy_servers=wiring.policy_server_parts.policy_servers,
            ),
            store=wiring.store,
            clock_ms=clock_ms,
        )
        self.reports = Reports(
            server_name=server_name,
            queue=wiring.moderation_queue,
            rooms=wiring.rooms,
            timeline=wiring.reading.timeline,
            accounts=wiring.accounts,
            forwarder=wiring.consent_parts.notices,
        )
