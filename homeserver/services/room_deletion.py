"""Purging a room's history, and deleting rooms: jobs of the admins.

What a purge takes is deleted as by retention: it leaves the timeline, the search index, relations
and unread counts, and its media goes.  State events stay, with the auth chains; of messages, the
redacted form, and whole the newest ones, upon which the next events build.  The room stays valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.identifiers import UserId
from homeserver.services.admin_jobs import AdminJobs, Progress
from homeserver.storage import admin_rooms as storage
from homeserver.storage import retention as retention_storage
from homeserver.storage import rooms as room_storage
from homeserver.storage.admin_jobs import Job
from homeserver.storage.database import Database
from homeserver.storage.erasures import ERASURE, RETENTION
from homeserver.storage.events import StoredEvent

PURGE_HISTORY, DELETE_ROOM = "purge_history", "delete_room"
EVENTS_AT_ONCE = 100
MEMBERS_AT_ONCE = 20
PATIENT_ATTEMPTS = 4
FIRST_PLACE, LAST_PLACE = -(2**63), 2**63 - 1
FAR_FUTURE_MS = 2**53


class Contents(Protocol):
    """Deletion of what events say."""

    async def delete_event_content(
        self, event_ids: Iterable[str], *, why: str = ERASURE, tell: bool = True
    ) -> int:
        """Delete it for good; each event keeps its place in the graph."""


class Departures(Protocol):
    """What a deletion needs of membership."""

    async def take_out(self, user_id: UserId, room_id: str, reason: str | None) -> None:
        """Have a local user leave, whatever they may do themselves."""


class KnownEvents(Protocol):
    """Where to look up an event."""

    async def get(self, event_id: str) -> StoredEvent | None:
        """An event, if we have it."""


class RoomDeletion:
    """Starts such jobs, and does their steps."""

    def __init__(
        self,
        *,
        database: Database,
        jobs: AdminJobs,
        contents: Contents,
        departures: Departures,
        events: KnownEvents,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._contents = contents
        self._departures = departures
        self._events = events
        self._clock_ms = clock_ms
        jobs.register(PURGE_HISTORY, self._purge_step)
        jobs.register(DELETE_ROOM, self._delete_step)

    # ------------------------------------------------------------ starting

    async def purge(
        self, room_id: str, *, before_ms: int | None, event_id: str | None, by: str
    ) -> Job:
        """Delete the messages from before a time, or before an event (which stays).

        Raises :class:`NotFound`, :class:`InvalidParam`; 409 if the room is being purged.
        """
        await self._require_room(room_id)
        parameters: dict[str, Any] = {}
        if event_id is not None:
            stored = await self._events.get(event_id)
            if stored is None or stored.event.room_id != room_id or stored.timeline_order is None:
                raise NotFound("The room's timeline has no such event")
            parameters = {
                "event_id": event_id,
                "before_order": stored.timeline_order,
                "before_ms": stored.event.origin_server_ts,
            }
        elif before_ms is not None:
            if before_ms > self._clock_ms():
                raise InvalidParam("'before' lies in the future")
            parameters = {"before_ms": before_ms}
        return await self._jobs.add(PURGE_HISTORY, room_id, parameters, by=by)

    async def delete(self, room_id: str, *, reason: str | None, by: str) -> Job:
        """Take local members out, then delete all messages.  Raises as :meth:`purge`."""
        await self._require_room(room_id)
        return await self._jobs.add(DELETE_ROOM, room_id, {"reason": reason}, by=by)

    async def _require_room(self, room_id: str) -> None:
        if await room_storage.get_room(self._database, room_id) is None:
            raise NotFound("This server does not know that room")

    # ------------------------------------------------------------ history

    async def _purge_step(self, job: Job) -> Progress:
        before_ms = job.parameters["before_ms"]
        before_order = job.parameters.get("before_order")
        if before_order is None:
            return await self._purge_by_time(job, before_ms)
        return await self._purge_timeline(job, before_order, before_ms)

    async def _purge_by_time(self, job: Job, before_ms: int) -> Progress:
        room = retention_storage.RetentionRoom(
            job.subject, None, await self._newest(job.subject), has_policy=False
        )
        old = await retention_storage.get_old_events(
            self._database,
            room,
            since=job.cursor or 0,
            before=before_ms,
            limit=EVENTS_AT_ONCE,
        )
        await self._erase(event.event_id for event in old)
        if len(old) < EVENTS_AT_ONCE:
            return await self._end(job, len(old))
        return Progress(len(old), "messages", old[-1].origin_server_ts)

    async def _purge_timeline(self, job: Job, before_order: int, before_ms: int) -> Progress:
        """First what is shown, in its order, then what is not."""
        room_id, newest = job.subject, await self._newest(job.subject)
        if job.phase != "unshown":
            after = job.cursor if job.cursor is not None else FIRST_PLACE
            found = await storage.get_timeline(
                self._database,
                room_id,
                after=after,
                before=before_order,
                but=newest,
                limit=EVENTS_AT_ONCE,
            )
            await self._erase(event.event_id for event in found)
            if len(found) < EVENTS_AT_ONCE:
                return Progress(len(found), "unshown")
            return Progress(len(found), "messages", found[-1].timeline_order)
        unshown = await storage.get_unshown(
            self._database, room_id, before_ms=before_ms, but=newest, limit=EVENTS_AT_ONCE
        )
        await self._erase(unshown)
        if len(unshown) < EVENTS_AT_ONCE:
            return await self._end(job, len(unshown))
        return Progress(len(unshown), "unshown")

    async def _newest(self, room_id: str) -> Sequence[str]:
        """Events upon which the next ones build."""
        room = await room_storage.get_room(self._database, room_id)
        return room.forward_extremities if room is not None else ()

    async def _erase(self, event_ids: Iterable[str]) -> None:
        await self._contents.delete_event_content(event_ids, why=RETENTION, tell=False)

    async def _end(self, job: Job, done: int) -> Progress:
        await retention_storage.delete_purged_notifications(self._database, job.subject)
        await storage.forget_figures(self._database, job.subject)
        return Progress(done, "", None, finished=True)

    # ------------------------------------------------------------ rooms

    async def _delete_step(self, job: Job) -> Progress:
        if job.phase in ("", "members"):
            return await self._take_out(job)
        progress = await self._purge_timeline(job, LAST_PLACE, FAR_FUTURE_MS)
        if progress.finished:
            await self._contents.delete_event_content(
                await self._newest_messages(job.subject), tell=False
            )
        return progress

    async def _newest_messages(self, room_id: str) -> list[str]:
        """The newest events that are no state: they keep their place, but say nothing."""
        found = [await self._events.get(event_id) for event_id in await self._newest(room_id)]
        return [one.event.event_id for one in found if one and one.event.state_key is None]

    async def _take_out(self, job: Job) -> Progress:
        """Have some local members leave; in the end the room is in no list any more.

        Whoever cannot be taken out, such as somebody whose inviter does not answer, is left in
        the end.
        """
        room_id, failure = job.subject, None
        joined, user_id = job.cursor or (False, "")
        present = await storage.get_present(
            self._database, room_id, (joined, user_id), MEMBERS_AT_ONCE
        )
        for _, user_id in present:
            try:
                await self._departures.take_out(
                    UserId(user_id), room_id, job.parameters.get("reason")
                )
            except MatrixError as error:
                failure = error
        if failure is not None and job.attempts < PATIENT_ATTEMPTS:
            raise failure
        if len(present) == MEMBERS_AT_ONCE:
            return Progress(len(present), "members", present[-1])
        await storage.unlist(self._database, room_id)
        await storage.forget_for_all(self._database, room_id)
        return Progress(len(present), "messages")
