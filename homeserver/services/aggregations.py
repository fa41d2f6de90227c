"""What relates to an event, in short, under ``m.relations`` of its ``unsigned``.

Edits, threads and references are aggregated.  The server never puts an edit in the place of the
original.  Spec: client-server API, aggregations of child events; event replacements, threading,
reference relations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from homeserver.protocol.events import JsonObject
from homeserver.protocol.relations import REFERENCE, REPLACE, THREAD, latest_replacement
from homeserver.services.client_events import Beside, ClientEvents
from homeserver.services.event_store import EventStore
from homeserver.services.reading_together import ReadingTogether
from homeserver.services.visibility import Reader, Withheld
from homeserver.storage import relations as storage
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

KINDS = (REPLACE, THREAD, REFERENCE)
MOST_REFERENCES = 50

Relations = dict[str, JsonObject]  # event ID -> what goes under `m.relations`


class _Asked(NamedTuple):
    """An event, for whom what relates to it is wanted, and which events do not count.

    ``without``: whose; ``ranges``: those outside of these parts of the timeline, if any.
    """

    event_id: str
    reader: str
    without: frozenset[str]
    ranges: tuple[tuple[int, int], ...] | None = None


class Aggregations:
    """Aggregates relations for a reader."""

    def __init__(self, *, database: Database, store: EventStore, events: ClientEvents) -> None:
        self._database = database
        self._kinds: ReadingTogether[str, set[str]] = ReadingTogether(
            lambda event_ids: storage.get_kinds(database, event_ids, KINDS)
        )
        self._newest_edits: ReadingTogether[tuple[str, str], list[str]] = ReadingTogether(
            self._read_edits
        )
        self._thread_rows: ReadingTogether[_Asked, storage.ThreadRow] = ReadingTogether(
            self._read_threads
        )
        self._references: ReadingTogether[_Asked, list[str]] = ReadingTogether(
            self._read_references
        )
        self._store = store
        self._events = events

    async def bundle(
        self, events: Iterable[StoredEvent], reader: Reader, withheld: Withheld
    ) -> Relations:
        """What relates to these events, for those to which anything does.

        State events get none.  What the reader may not see does not count.
        """
        by_id = {s.event.event_id: s for s in events if s.event.state_key is None}
        if not by_id:
            return {}
        read = await self._kinds.get_many(by_id)
        kinds = {event_id: read[event_id] for event_id in by_id if event_id in read}
        if not kinds:
            return {}
        found: Relations = {}
        roots = [event_id for event_id, names in kinds.items() if THREAD in names]
        for event_id, thread in (await self._threads(by_id, roots, reader, withheld)).items():
            found.setdefault(event_id, {})[THREAD] = thread
        edited = [by_id[event_id] for event_id, names in kinds.items() if REPLACE in names]
        for event_id, edit in (await self._edits(edited, reader, withheld)).items():
            found.setdefault(event_id, {})[REPLACE] = edit
        targets = [event_id for event_id, names in kinds.items() if REFERENCE in names]
        if targets:
            asked = [_Asked(target, "", withheld.peers) for target in targets]
            found_for = await self._references.get_many(asked)
            references = {a.event_id: found_for[a] for a in asked if a in found_for}
            for event_id, children in (await self._visible(references, reader)).items():
                chunk = [{"event_id": child} for child in children]
                found.setdefault(event_id, {})[REFERENCE] = {"chunk": chunk}
        return found

    async def _visible(
        self, references: Mapping[str, Sequence[str]], reader: Reader
    ) -> Mapping[str, Sequence[str]]:
        """Those of some references that the reader may see."""
        if reader.history.always_shared and reader.membership == "join":
            return references
        stored = await self._store.get_many(i for ids in references.values() for i in ids)
        seen = {event_id for event_id, found in stored.items() if reader.may_see(found)}
        left = {event_id: [i for i in ids if i in seen] for event_id, ids in references.items()}
        return {event_id: ids for event_id, ids in left.items() if ids}

    async def _edits(
        self, originals: Sequence[StoredEvent], reader: Reader, withheld: Withheld
    ) -> dict[str, orjson.Fragment]:
        """Event ID -> the edit that counts; redacted events have none."""
        kept = [s for s in originals if s.redacted_by is None and not reader.hides_erased(s)]
        if not kept:
            return {}
        asked = [(s.event.event_id, s.event.sender) for s in kept]
        newest = await self._newest_edits.get_many(asked)
        edits = {one[0]: newest[one] for one in asked if one in newest}
        stored_edits = await self._store.get_many(edit for ids in edits.values() for edit in ids)
        found: dict[str, orjson.Fragment] = {}
        for original in kept:
            candidates = [
                stored_edits[edit].event
                for edit in edits.get(original.event.event_id, ())
                if edit in stored_edits
                and reader.may_see(stored_edits[edit])
                and not withheld.hides(stored_edits[edit].event)
            ]
            edit = latest_replacement(original.event, candidates)
            if edit is not None:
                found[original.event.event_id] = self._json(stored_edits[edit.event_id], reader)
        return found

    async def _threads(
        self,
        by_id: Mapping[str, StoredEvent],
        roots: Sequence[str],
        reader: Reader,
        withheld: Withheld,
    ) -> dict[str, JsonObject]:
        """Event ID -> the thread that starts from it."""
        if not roots:
            return {}
        ranges = None
        if not (reader.history.always_shared and reader.membership == "join"):
            ranges = tuple(reader.visible_ranges())
        asked = [_Asked(root, reader.user_id, withheld.peers, ranges) for root in roots]
        found = await self._thread_rows.get_many(asked)
        rows = [found[one] for one in asked if one in found]
        stored = await self._store.get_many(row.latest for row in rows)
        latest = [s for s in stored.values() if reader.may_see(s)]
        edits = await self._edits(latest, reader, withheld)
        shown = {
            s.event.event_id: self._json(
                s,
                reader,
                {REPLACE: edits[s.event.event_id]} if s.event.event_id in edits else None,
            )
            for s in latest
        }
        return {
            row.root: {
                "latest_event": shown[row.latest],
                "count": row.replies,
                "current_user_participated": row.participated
                or by_id[row.root].event.sender == reader.user_id,
            }
            for row in rows
            if row.latest in shown
        }

    # ------------------------------------------------------------ reading

    async def _read_edits(
        self, originals: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], list[str]]:
        edits = await storage.get_edits(self._database, originals)
        return {original: edits[original[0]] for original in originals if original[0] in edits}

    async def _read_threads(self, asked: Sequence[_Asked]) -> dict[_Asked, storage.ThreadRow]:
        found: dict[_Asked, storage.ThreadRow] = {}
        for (reader, without, ranges), roots in _by_reader(asked).items():
            rows = await storage.get_threads(self._database, roots, reader, without, ranges)
            found.update((_Asked(row.root, reader, without, ranges), row) for row in rows)
        return found

    async def _read_references(self, asked: Sequence[_Asked]) -> dict[_Asked, list[str]]:
        found: dict[_Asked, list[str]] = {}
        for (reader, without, _), targets in _by_reader(asked).items():
            read = await storage.get_references(self._database, targets, without, MOST_REFERENCES)
            for event_id, children in read.items():
                found[_Asked(event_id, reader, without)] = children
        return found

    def _json(
        self, stored: StoredEvent, reader: Reader, relations: JsonObject | None = None
    ) -> orjson.Fragment:
        stored, beside = reader.as_seen(stored), Beside()
        if relations:
            beside.relations[stored.event.event_id] = relations
        return orjson.Fragment(
            self._events.serialise(
                stored,
                membership=reader.membership_at(stored),
                beside=beside,
                with_room_id=True,
            )
        )


_For = tuple[str, frozenset[str], tuple[tuple[int, int], ...] | None]


def _by_reader(asked: Iterable[_Asked]) -> dict[_For, list[str]]:
    found: dict[_For, list[str]] = {}
    for event_id, reader, without, ranges in asked:
        found.setdefault((reader, without, ranges), []).append(event_id)
    return found
