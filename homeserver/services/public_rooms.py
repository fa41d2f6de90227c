"""The published room directory: pages of it, searched, by network; those of other instances.

What is shown of each room is kept in memory until the room's state changes.

Spec: client-server API, listing rooms, third-party networks; server-server API, published room
directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from homeserver.errors import BadJson, InvalidParam
from homeserver.protocol.events import JsonObject
from homeserver.storage import room_listings as storage
from homeserver.storage.database import Database
from homeserver.storage.event_records import EventRecord
from homeserver.storage.log import Log, Notice

MAX_PAGE = 500
DEFAULT_PAGE = 100
READ_AT_ONCE = 100  # rooms
SEARCHED = ("name", "topic", "canonical_alias")


class DirectoryQuery(Struct, frozen=True):
    """A page of the directory: how many, from where, of which networks, and what to look for.

    ``limit`` 0: as many as a page may have.
    """

    limit: int = DEFAULT_PAGE
    since: str | None = None
    search_term: str | None = None
    room_types: frozenset[str | None] | None = None
    all_networks: bool = False
    network_id: str | None = None

    def __post_init__(self) -> None:
        """Raises :class:`InvalidParam` for what cannot be."""
        if self.limit < 0:
            raise InvalidParam("'limit' must not be negative")
        if self.all_networks and self.network_id is not None:
            raise InvalidParam(
                "'third_party_instance_id' cannot be used with 'include_all_networks'"
            )

    @classmethod
    def from_json(cls, body: JsonObject) -> DirectoryQuery:
        """The body of a search, by a client or another instance.

        Raises :class:`BadJson`, :class:`InvalidParam`.
        """
        search = body.get("filter") or {}
        limit, since = body.get("limit"), body.get("since")
        every, network = body.get("include_all_networks"), body.get("third_party_instance_id")
        if not isinstance(search, dict):
            raise BadJson("'filter' must be an object")
        term, types = search.get("generic_search_term"), search.get("room_types")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
            raise BadJson("'limit' must be an integer")
        if not all(value is None or isinstance(value, str) for value in (since, term, network)):
            raise BadJson(
                "'since', 'generic_search_term' and 'third_party_instance_id' must be strings"
            )
        if every is not None and not isinstance(every, bool):
            raise BadJson("'include_all_networks' must be true or false")
        if types is not None and not (
            isinstance(types, list) and all(t is None or isinstance(t, str) for t in types)
        ):
            raise BadJson("'room_types' must be an array of strings and nulls")
        return cls(
            limit=limit if limit is not None else DEFAULT_PAGE,
            since=since,
            search_term=term,
            room_types=frozenset(types) if types is not None else None,
            all_networks=every is True,
            network_id=network,
        )


class RemoteDirectories(Protocol):
    """What the directory needs of other instances; ``federation`` provides it."""

    async def public_rooms(self, server_name: str, query: DirectoryQuery) -> JsonObject:
        """A page of another instance's directory."""


class RoomDescriptions(Protocol):
    """What is said of a room."""

    async def summaries(self, room_ids: Sequence[str]) -> Mapping[str, JsonObject]:
        """Rooms as the directory shows them, those that we have."""


class PublicRooms:
    """Lists published rooms."""

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        log: Log,
        descriptions: RoomDescriptions,
        remote: RemoteDirectories,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._descriptions = descriptions
        self._remote = remote
        self._chunks: dict[str, JsonObject] = {}
        self._reading = asyncio.Lock()
        self._changed: set[str] = set()  # rooms that changed while others, or they, were read
        log.subscribe(self._on_notice)

    async def page(self, query: DirectoryQuery, server: str | None = None) -> JsonObject:
        """A page of our directory, or of another instance's.  Raises :class:`InvalidParam`."""
        if server is not None and server != self._server_name:
            return await self._remote.public_rooms(server, query)
        listed = await storage.get_listed_rooms(
            self._database, every_network=query.all_networks, network_id=query.network_id
        )
        chunks = [chunk for chunk in await self._described(listed) if matches(chunk, query)]
        chunks.sort(key=lambda chunk: (-chunk["num_joined_members"], chunk["room_id"]))
        return page_of(chunks, query)

    async def _described(self, room_ids: Iterable[str]) -> list[JsonObject]:
        """What is shown of rooms; of those that nobody is in any more, nothing."""
        found: dict[str, JsonObject] = {}
        unknown: list[str] = []
        for room_id in room_ids:
            chunk = self._chunks.get(room_id)
            if chunk is None:
                unknown.append(room_id)
            else:
                found[room_id] = chunk
        for start in range(0, len(unknown), READ_AT_ONCE):
            found |= await self._read(unknown[start : start + READ_AT_ONCE])
        return [chunk for chunk in found.values() if chunk["num_joined_members"] > 0]

    async def _read(self, room_ids: Sequence[str]) -> dict[str, JsonObject]:
        async with self._reading:  # a directory is read once, however many ask
            found = {
                room_id: self._chunks[room_id] for room_id in room_ids if room_id in self._chunks
            }
            missing = [room_id for room_id in room_ids if room_id not in found]
            if missing:
                self._changed.clear()
                read = await self._descriptions.summaries(missing)
                found |= read
                for room_id in read.keys() - self._changed:
                    self._chunks[room_id] = read[room_id]
        return found

    def _on_notice(self, notice: Notice) -> None:
        for _, record in notice.records:
            if isinstance(record, EventRecord) and (record.event.is_state or record.redacts):
                self._chunks.pop(record.event.room_id, None)
                if self._reading.locked():
                    self._changed.add(record.event.room_id)


def matches(chunk: JsonObject, query: DirectoryQuery) -> bool:
    """Whether a room is looked for: by name, topic or alias, and by room type."""
    if query.room_types is not None and chunk.get("room_type") not in query.room_types:
        return False
    if not query.search_term:
        return True
    term = query.search_term.casefold()
    return any(term in str(chunk.get(key, "")).casefold() for key in SEARCHED)


def page_of(chunks: list[JsonObject], query: DirectoryQuery) -> JsonObject:
    """One page; batch tokens are offsets.  Raises :class:`InvalidParam`."""
    since = query.since or "0"
    if not since.isascii() or not since.isdigit() or len(since) > 9:
        raise InvalidParam("'since' is not a token of this server")
    start, limit = int(since), min(query.limit or MAX_PAGE, MAX_PAGE)
    body: JsonObject = {
        "chunk": chunks[start : start + limit],
        "total_room_count_estimate": len(chunks),
    }
    if start + limit < len(chunks):
        body["next_batch"] = str(start + limit)
    if start > 0:
        body["prev_batch"] = str(max(0, start - limit))
    return body
