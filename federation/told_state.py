"""What other instances tell of rooms that we are not in, with an invite or after a knock.

Spec: server-server API, ``PUT /invite`` and ``PUT /send_knock``: from v1.16 the entries are PDUs
of the room, its create event among them.  Room versions before 12 have older servers, which send
stripped events: these are shown as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import structlog

from federation.errors import FederationFailure
from federation.pdus import PduChecker
from homeserver.errors import InvalidParam
from homeserver.protocol.events import BadEvent, Event, JsonObject, parse_event
from homeserver.protocol.identifiers import server_name_of
from homeserver.protocol.room_versions import RoomVersion

logger = structlog.get_logger(__name__)

MAX_STRIPPED_EVENTS, MAX_STRIPPED_BYTES = 50, 65_536
KEY_SECONDS = 5.0  # for the key of one entry's sender; the inviting server waits meanwhile
MAX_SERVERS = 10  # whose keys are asked for, for one invite or knock


def stripped_events(entries: Any) -> list[JsonObject]:
    """What another instance tells of a room, PDUs or stripped, cut to what clients get.

    Invited users get it with every full sync, so there is a limit to how much it may be.
    """
    events: list[JsonObject] = []
    size = 0
    for entry in _entries(entries):
        if isinstance(entry, dict) and isinstance(entry.get("content"), dict):
            stripped = {key: entry.get(key) for key in ("type", "sender", "state_key", "content")}
            if not all(isinstance(stripped[key], str) for key in ("type", "sender", "state_key")):
                continue
            length = len(orjson.dumps(stripped))
            if size + length <= MAX_STRIPPED_BYTES:
                size += length
                events.append(stripped)
    return events


async def told_with_invite(
    checker: PduChecker, version: RoomVersion, room_id: str, entries: Any
) -> list[JsonObject]:
    """What is told of a room with an invite, as the invited user may see it.

    From room version 12 :class:`InvalidParam` is raised unless all are well signed state events of
    the room, and the create event is there; of those whose sender's key cannot be had, nothing is
    shown.  Before, the log has what is wrong.
    """
    strict = version.room_id_is_create_hash
    try:
        events = [_state_of(entry, version, room_id) for entry in _entries(entries)]
        if not any(event.key == ("m.room.create", "") for event in events):
            raise BadEvent("the create event is not among them")
        if strict:
            checked = await asyncio.gather(*(_verified(checker, e) for e in _checkable(events)))
            return stripped_events([event.pdu for event in checked if event is not None])
    except BadEvent as error:
        if strict:
            raise InvalidParam(f"'invite_room_state' is not valid: {error}") from error
        logger.info("invite state is not as it must be", room_id=room_id, reason=str(error))
    return stripped_events(entries)


async def told_after_knock(
    checker: PduChecker, version: RoomVersion, room_id: str, entries: Any
) -> list[JsonObject]:
    """What is told of a room on which one of ours knocked, without what is not well signed."""
    if not version.room_id_is_create_hash and not any(map(_is_pdu, _entries(entries))):
        return stripped_events(entries)
    events: list[Event] = []
    for entry in _entries(entries):
        try:
            events.append(_state_of(entry, version, room_id))
        except BadEvent as error:
            logger.info("left out of knock state", room_id=room_id, reason=str(error))
    checked = await asyncio.gather(
        *(_verified(checker, event) for event in _checkable(events)), return_exceptions=True
    )
    return stripped_events([event.pdu for event in checked if isinstance(event, Event)])


def _is_pdu(entry: Any) -> bool:
    return isinstance(entry, dict) and "signatures" in entry


def _checkable(events: Sequence[Event]) -> list[Event]:
    """Those of so many servers: nobody makes us ask all the world for keys."""
    servers = list(dict.fromkeys(server_name_of(event.sender) for event in events))[:MAX_SERVERS]
    return [event for event in events if server_name_of(event.sender) in servers]


def _entries(entries: Any) -> list[Any]:
    return entries[:MAX_STRIPPED_EVENTS] if isinstance(entries, list) else []


def _state_of(entry: Any, version: RoomVersion, room_id: str) -> Event:
    """An entry as a state event of the room.  Raises :class:`BadEvent`."""
    event = parse_event(entry, version)
    if event.room_id != room_id:
        raise BadEvent("an event is of another room")
    if not event.is_state:
        raise BadEvent("an event is no state event")
    return event


async def _verified(checker: PduChecker, event: Event) -> Event | None:
    """The event, if it is well signed; None if that cannot be found out now.

    Raises :class:`BadEvent`.
    """
    try:
        async with asyncio.timeout(KEY_SECONDS):
            return await checker.check(event.pdu, event.room_version)
    except (FederationFailure, TimeoutError) as error:
        logger.info("told event not verified", event_id=event.event_id, reason=str(error))
        return None
