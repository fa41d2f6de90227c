"""Spaces, summaries, rooms that people have in common, events by their dates: all that other
instances are asked for when we do not know it ourselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from federation.dates import RemoteTimes
from federation.spaces import RemoteHierarchies
from homeserver import app_keys
from homeserver.services.public_rooms import PublicRooms
from homeserver.services.relation_rules import RelationRules
from homeserver.services.spaces.hierarchy import Hierarchies
from homeserver.services.spaces.local import LocalRooms
from homeserver.services.spaces.mutual import MutualRooms
from homeserver.services.spaces.summaries import Summaries
from homeserver.services.timeline_dates import TimelineDates

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class SpaceParts:
    """What is told of rooms to those who may not be in them."""

    def __init__(self, wiring: Wiring) -> None:
        local = LocalRooms(
            database=wiring.database,
            rooms=wiring.rooms,
            store=wiring.store,
            descriptions=wiring.directory,
            invites=wiring.consent_parts.requests,
        )
        remote = RemoteHierarchies(wiring.transport.client)
        self.hierarchies = Hierarchies(database=wiring.database, local=local, remote=remote)
        self.summaries = Summaries(
            database=wiring.database, local=local, remote=remote, hierarchies=self.hierarchies
        )
        self.mutual_rooms = MutualRooms(wiring.database)
        self.public_rooms = PublicRooms(
            server_name=wiring.config.server_name,
            database=wiring.database,
            log=wiring.log,
            descriptions=wiring.directory,
            remote=wiring.queries,
        )
        self.relation_rules = RelationRules(
            database=wiring.database, rooms=wiring.rooms, store=wiring.store
        )
        self.dates = TimelineDates(
            database=wiring.database,
            store=wiring.store,
            timeline=wiring.reading.timeline,
            remote=RemoteTimes(wiring.transport.client, wiring.rooms),
        )

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[app_keys.HIERARCHIES] = self.hierarchies
        app[app_keys.ROOM_SUMMARIES] = self.summaries
        app[app_keys.MUTUAL_ROOMS] = self.mutual_rooms
        app[app_keys.PUBLIC_ROOMS] = self.public_rooms
        app[app_keys.RELATION_RULES] = self.relation_rules
        app[app_keys.TIMELINE_DATES] = self.dates
