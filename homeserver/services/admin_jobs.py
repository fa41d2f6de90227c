"""Jobs that admins start: done by the caretaker in small steps, gone on with after a restart.

A step does a little and says where it has come to; that is on disk before the next one.  A step
that is cut off is done again, so it must bear that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from homeserver.errors import MatrixError, NotFound
from homeserver.storage import admin_jobs as storage
from homeserver.storage.admin_jobs import Job
from homeserver.storage.database import Database

logger = structlog.get_logger(__name__)

MOST_ATTEMPTS = 10
FIRST_PAUSE_MS = 1_000
MAX_ERROR_LENGTH = 500


class Progress(Struct, frozen=True):
    """What a step has done, and where the next one begins."""

    done: int
    phase: str = ""
    cursor: Any = None
    finished: bool = False


Step = Callable[[Job], Awaitable[Progress]]


class AdminJobs:
    """A job of the caretaker's: works off those of the admins, one step at a time."""

    def __init__(
        self, *, database: Database, wake: Callable[[], None], clock_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._wake = wake
        self._clock_ms = clock_ms
        self._steps: dict[str, Step] = {}

    def register(self, kind: str, step: Step) -> None:
        """How a step of jobs of a kind is done."""
        self._steps[kind] = step

    async def add(self, kind: str, subject: str, parameters: dict[str, Any], *, by: str) -> Job:
        """Start a job.  Raises ``M_UNKNOWN`` (409) if the same is under way."""
        job = await storage.insert_job(
            self._database, kind, subject, parameters, by=by, now_ms=self._clock_ms()
        )
        if job is None:
            raise MatrixError("That is under way already", status=409)
        self._wake()
        return job

    async def get(self, job_id: int) -> Job:
        """One job.  Raises :class:`NotFound`."""
        job = await storage.get_job(self._database, job_id)
        if job is None:
            raise NotFound("There is no such job")
        return job

    async def page(
        self, *, before: int, state: str | None, kind: str | None, limit: int
    ) -> list[Job]:
        """Jobs with a lower ID, the newest first."""
        return await storage.get_jobs(
            self._database, before=before, state=state, kind=kind, limit=limit
        )

    async def cancel(self, job_id: int) -> Job:
        """Stop a job; what it has done stays done.  Raises :class:`NotFound`, or 409."""
        await self.get(job_id)
        if not await storage.cancel_job(self._database, job_id, self._clock_ms()):
            raise MatrixError("That job has ended already", status=409)
        return await self.get(job_id)

    # ------------------------------------------------------------ the caretaker's

    async def next_due(self) -> int | None:
        """When there is a step to do (ms)."""
        return await storage.get_next_due(self._database)

    async def step(self) -> bool:
        """Do one step of the job that has waited longest."""
        job = await storage.get_next(self._database, self._clock_ms())
        if job is None:
            return False
        try:
            progress = await self._steps[job.kind](job)
        except Exception as error:
            logger.warning("a step of a job failed", job=job.job_id, kind=job.kind, exc_info=error)
            await storage.save_progress(self._database, self._failed(job, error))
            return True
        now = self._clock_ms()
        await storage.save_progress(
            self._database,
            replace(
                job,
                state="done" if progress.finished else "running",
                phase=progress.phase,
                cursor=progress.cursor,
                done=job.done + progress.done,
                attempts=0,
                error=None,
                due_at=now,
                finished_at=now if progress.finished else None,
            ),
        )
        if progress.finished:
            logger.info("job done", job=job.job_id, kind=job.kind, subject=job.subject)
        return True

    def _failed(self, job: Job, error: Exception) -> Job:
        attempts, now = job.attempts + 1, self._clock_ms()
        last = attempts >= MOST_ATTEMPTS
        text = error.text if isinstance(error, MatrixError) else type(error).__name__
        return replace(
            job,
            state="failed" if last else "running",
            attempts=attempts,
            error=text[:MAX_ERROR_LENGTH],
            due_at=now + FIRST_PAUSE_MS * 2**attempts,
            finished_at=now if last else None,
        )
