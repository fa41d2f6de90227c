"""Rooms in an export: their state, members, and the messages that the user may see.

Read forwards, a page at a time, past the caches: what is exported is not what people read now.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

import orjson
from msgspec import Struct, field

from homeserver.errors import Forbidden
from homeserver.protocol.events import JsonObject, client_event
from homeserver.protocol.identifiers import UserId
from homeserver.protocol.media_uris import media_uris, parse_media_uri
from homeserver.protocol.message_ends import message_end
from homeserver.services.client_events import shown_event
from homeserver.services.exports import pages
from homeserver.services.exports.archive import Archive
from homeserver.services.exports.media import MediaPart
from homeserver.services.sync_state import BEFORE_ALL, MEMBER, StateIds
from homeserver.services.visibility import Reader
from homeserver.storage import events as event_storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.rooms import MembershipRow

EVENTS_AT_ONCE = 200
MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")
VIEW_ONCE = {"left_out": "a message to be seen once, in your client"}


class Readers(Protocol):
    """Who may read what."""

    async def reader(self, room_id: str, user_id: str) -> Reader:
        """A user's view of a room.  Raises :class:`Forbidden`."""

    async def any_reader(self, room_id: str, user_id: str) -> Reader:
        """The same, also of a room that they have forgotten."""

    def end(self, reader: Reader) -> int:
        """Where the timeline ends for a reader."""

    async def only_shown(self, events: Sequence[StoredEvent], reader: Reader) -> list[StoredEvent]:
        """Those of some events that a reader may see."""


class RoomStates(Protocol):
    """Rooms' state, as readers get it."""

    async def ids(self, room_id: str, reader: Reader) -> StateIds:
        """The IDs of all state events."""


class _Room(Struct):
    """A room on its way into the archive."""

    row: MembershipRow
    folder: str
    reader: Reader | None  # None: the user was never in it
    only_own: bool = False
    title: str = ""
    state: StateIds = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    events: int = 0

    def as_seen(self, stored: StoredEvent) -> StoredEvent:
        """An event as the user gets it: redacted, where its sender was erased before."""
        return self.reader.as_seen(stored) if self.reader is not None else stored


class RoomsPart:
    """Writes ``rooms/``."""

    def __init__(self, *, database: Database, readers: Readers, states: RoomStates) -> None:
        self._database = database
        self._readers = readers
        self._states = states

    async def write(
        self, archive: Archive, media: MediaPart, user_id: UserId, directory: Path
    ) -> list[tuple[str, str, int]]:
        """Write all rooms; of each its folder, its name and how many events are in it.

        ``directory``: where temporary files may lie.
        """
        written = []
        rows = await room_storage.get_user_rooms(self._database, user_id, MEMBERSHIPS)
        for number, row in enumerate(sorted(rows, key=lambda row: row.room_id), 1):
            room = await self._room(row, f"rooms/{number:05}", user_id)
            about = await self._about(room)
            room.title = str(about["name"] or row.room_id)
            await archive.add_json(f"{room.folder}/room.json", about)
            if room.state:
                await self._write_state(archive, room)
            if room.reader is not None:
                await self._write_events(archive, media, room, directory)
                written.append((room.folder, room.title, room.events))
            await archive.breathe()
        return written

    async def _room(self, row: MembershipRow, folder: str, user_id: UserId) -> _Room:
        try:
            reader = await self._readers.reader(row.room_id, user_id)
        except Forbidden:
            past = await self._readers.any_reader(row.room_id, user_id)
            return _Room(row, folder, past if past.ever_joined else None, only_own=True)
        return _Room(row, folder, reader, state=await self._states.ids(row.room_id, reader))

    async def _about(self, room: _Room) -> JsonObject:
        row = room.row
        wanted = [("m.room.name", ""), ("m.room.topic", ""), ("m.room.canonical_alias", "")]
        ids = [room.state[key] for key in wanted if key in room.state]
        found = await event_storage.get_events(self._database, ids)
        content = {s.event.type: shown_event(s).content for s in found.values()}
        alias = content.get("m.room.canonical_alias", {}).get("alias")
        return {
            "room_id": row.room_id,
            "your_membership": row.membership,
            "forgotten": row.forgotten,
            "name": content.get("m.room.name", {}).get("name") or alias,
            "topic": content.get("m.room.topic", {}).get("topic"),
            "seen_before_joining": row.stripped_state,
            "messages": "your own" if room.only_own else "all that you may see",
        }

    # ------------------------------------------------------------ state

    async def _write_state(self, archive: Archive, room: _Room) -> None:
        others = [event_id for key, event_id in room.state.items() if key[0] != MEMBER]
        members = [event_id for key, event_id in room.state.items() if key[0] == MEMBER]
        for name, ids in (("state", others), ("members", members)):
            async with archive.entry(f"{room.folder}/{name}.jsonl") as entry:
                for start in range(0, len(ids), EVENTS_AT_ONCE):
                    page = ids[start : start + EVENTS_AT_ONCE]
                    found = await event_storage.get_events(self._database, page)
                    for stored in map(room.as_seen, found.values()):
                        await entry.write_line(client_event(shown_event(stored)))
                    await archive.breathe()

    # ------------------------------------------------------------ messages

    async def _write_events(
        self, archive: Archive, media: MediaPart, room: _Room, directory: Path
    ) -> None:
        """The messages twice: as JSON, and to read.  Files in them go in on the way."""
        assert room.reader is not None
        with (
            tempfile.TemporaryFile(dir=directory) as lines,
            tempfile.TemporaryFile(dir=directory) as page,
        ):
            page.write(pages.head(room.title).encode() + b"<ol>\n")
            after, upto = BEFORE_ALL, self._readers.end(room.reader)
            while rows := await event_storage.get_timeline_forwards(
                self._database, room.row.room_id, after=after, upto=upto, limit=EVENTS_AT_ONCE
            ):
                after = rows[-1].order
                shown = await self._readers.only_shown(rows, room.reader)
                if room.only_own:
                    shown = [s for s in shown if s.event.sender == room.reader.user_id]
                await self._load_names(room, shown)
                await self._write_shown(media, room, shown, lines, page)
                await archive.breathe()
            page.write(b"</ol>\n" + pages.FOOT.encode())
            await archive.add_spooled(f"{room.folder}/messages.jsonl", lines)
            await archive.add_spooled(f"{room.folder}/index.html", page)

    async def _write_shown(
        self,
        media: MediaPart,
        room: _Room,
        shown: Sequence[StoredEvent],
        lines: IO[bytes],
        page: IO[bytes],
    ) -> None:
        def place(uri: str) -> str | None:
            parsed = parse_media_uri(uri)
            return media.place(*parsed) if parsed is not None else None

        json_parts, html_parts = [], []
        for stored in shown:
            event = shown_event(stored)
            gone = stored.redacted_by is not None or stored.erased is not None
            once = message_end(event.content)
            if once is not None and once.view_once and event.sender != media.user_id:
                line, gone = {**client_event(event), "content": VIEW_ONCE}, True
            else:
                line = client_event(event)
                for uri in media_uris(event.content):
                    await media.add(*uri)
            name = room.names.get(event.sender, event.sender)
            json_parts.append(orjson.dumps(line) + b"\n")
            html_parts.append(pages.message(event, name=name, gone=gone, place=place))
        room.events += len(shown)
        await asyncio.to_thread(lines.write, b"".join(json_parts))
        await asyncio.to_thread(page.write, "".join(html_parts).encode())

    async def _load_names(self, room: _Room, shown: Sequence[StoredEvent]) -> None:
        """The display names of those who sent these, as they are now."""
        senders = {stored.event.sender for stored in shown} - room.names.keys()
        ids = {room.state.get((MEMBER, sender)): sender for sender in senders}
        found = await event_storage.get_events(self._database, [i for i in ids if i is not None])
        for stored in found.values():
            name = shown_event(room.as_seen(stored)).content.get("displayname")
            if isinstance(name, str) and name:
                sender = ids[stored.event.event_id] or ""
                room.names[sender] = f"{name} ({sender})"
        for sender in senders:
            room.names.setdefault(sender, sender)
