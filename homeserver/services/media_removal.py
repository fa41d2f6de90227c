"""Deleting files by an admin's order: one, or many by a job."""

from __future__ import annotations

from typing import Protocol

from homeserver.protocol.media_uris import MediaUri
from homeserver.services.admin_jobs import AdminJobs, Progress
from homeserver.storage import admin_media as storage
from homeserver.storage.admin_jobs import Job
from homeserver.storage.admin_media import MediaChoice
from homeserver.storage.database import Database

DELETE_MEDIA, PURGE_CACHE = "delete_media", "purge_media_cache"
LOOKED_AT_AT_ONCE = 100
FIRST = ("", "")


class Files(Protocol):
    """Deletion of files."""

    async def delete_whatever_needs_it(self, uri: MediaUri) -> bool:
        """Delete a file; False if there is none, or it is quarantined."""


class MediaRemoval:
    """Starts such jobs, and does their steps.  What is quarantined stays."""

    def __init__(
        self, *, server_name: str, database: Database, jobs: AdminJobs, files: Files
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._jobs = jobs
        self._files = files
        jobs.register(DELETE_MEDIA, self._step)
        jobs.register(PURGE_CACHE, self._step)

    async def delete_uploads(self, *, user_id: str | None, before_ms: int, by: str) -> Job:
        """Delete what was uploaded here before a time, by a user or by all.

        Raises 409 if that is under way.
        """
        return await self._jobs.add(
            DELETE_MEDIA, user_id or "", {"user_id": user_id, "before_ms": before_ms}, by=by
        )

    async def purge_cache(self, *, before_ms: int, by: str) -> Job:
        """Delete copies of other servers' files that nobody used since, nor is to judge."""
        return await self._jobs.add(PURGE_CACHE, "", {"before_ms": before_ms}, by=by)

    async def delete(self, uri: MediaUri) -> bool:
        """Delete one file; False if there is none, or it is quarantined."""
        return await self._files.delete_whatever_needs_it(uri)

    async def _step(self, job: Job) -> Progress:
        choice = MediaChoice(
            job.parameters.get("user_id"),
            self._server_name if job.kind == PURGE_CACHE else None,
            job.parameters["before_ms"],
        )
        found = await storage.get_next(
            self._database, choice, MediaUri(*(job.cursor or FIRST)), LOOKED_AT_AT_ONCE
        )
        done = 0
        for uri, wanted in found:
            if wanted:
                done += await self.delete(uri)
        if len(found) < LOOKED_AT_AT_ONCE:
            return Progress(done, finished=True)
        return Progress(done, "files", list(found[-1][0]))
