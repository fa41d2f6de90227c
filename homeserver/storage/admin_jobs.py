"""Work of admins that takes long, and how far it is."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from homeserver.storage.database import Queryable

_COLUMNS = """job_id, kind, subject, parameters, state, phase, cursor, done, attempts, error,
    created_by, created_at, due_at, finished_at"""
INSERT = f"""
INSERT INTO admin_jobs (kind, subject, parameters, created_by, created_at, due_at)
VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (kind, subject) WHERE finished_at IS NULL DO NOTHING RETURNING {_COLUMNS}
"""
SELECT = f"SELECT {_COLUMNS} FROM admin_jobs WHERE job_id = $1"
SELECT_NEXT = f"""
SELECT {_COLUMNS} FROM admin_jobs WHERE finished_at IS NULL AND due_at <= $1
ORDER BY due_at, job_id LIMIT 1
"""
SELECT_DUE = "SELECT min(due_at) FROM admin_jobs WHERE finished_at IS NULL"
SELECT_PAGE = f"""
SELECT {_COLUMNS} FROM admin_jobs
WHERE job_id < $1 AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR kind = $3)
ORDER BY job_id DESC LIMIT $4
"""
# What was cancelled meanwhile stays so.
ADVANCE = """
UPDATE admin_jobs SET state = $2, phase = $3, cursor = $4, done = $5, attempts = $6, error = $7,
    due_at = $8, finished_at = $9
WHERE job_id = $1 AND finished_at IS NULL
"""
CANCEL = """
UPDATE admin_jobs SET state = 'cancelled', finished_at = $2
WHERE job_id = $1 AND finished_at IS NULL RETURNING job_id
"""
DELETE_OLD = "DELETE FROM admin_jobs WHERE finished_at < $1"


class Job(Struct, frozen=True):
    """A job.  ``done``: how many things were dealt with; ``error``: why its last step failed."""

    job_id: int
    kind: str
    subject: str
    parameters: dict[str, Any]
    state: str  # waiting, running, done, failed, cancelled
    phase: str
    cursor: Any
    done: int
    attempts: int
    error: str | None
    created_by: str
    created_at: int  # ms
    due_at: int  # ms
    finished_at: int | None  # ms


async def insert_job(
    db: Queryable, kind: str, subject: str, parameters: dict[str, Any], *, by: str, now_ms: int
) -> Job | None:
    """Add a job; None if one of the kind is under way for the subject."""
    row = await db.fetchrow(INSERT, kind, subject, parameters, by, now_ms)
    return Job(**row) if row is not None else None


async def get_job(db: Queryable, job_id: int) -> Job | None:
    """One job."""
    row = await db.fetchrow(SELECT, job_id)
    return Job(**row) if row is not None else None


async def get_next(db: Queryable, now_ms: int) -> Job | None:
    """The job that has waited longest for its next step."""
    row = await db.fetchrow(SELECT_NEXT, now_ms)
    return Job(**row) if row is not None else None


async def get_next_due(db: Queryable) -> int | None:
    """When the next step of a job is due (ms)."""
    due: int | None = await db.fetchval(SELECT_DUE)
    return due


async def get_jobs(
    db: Queryable, *, before: int, state: str | None, kind: str | None, limit: int
) -> list[Job]:
    """Jobs with a lower ID, the newest first."""
    return [Job(**row) for row in await db.fetch(SELECT_PAGE, before, state, kind, limit)]


async def save_progress(db: Queryable, job: Job) -> None:
    """Write down how far a job is."""
    await db.execute(
        ADVANCE,
        job.job_id,
        job.state,
        job.phase,
        job.cursor,
        job.done,
        job.attempts,
        job.error,
        job.due_at,
        job.finished_at,
    )


async def cancel_job(db: Queryable, job_id: int, now_ms: int) -> bool:
    """Stop a job before its next step; False if it has ended."""
    return await db.fetchval(CANCEL, job_id, now_ms) is not None


async def delete_old_jobs(db: Queryable, before: int) -> None:
    """Forget what ended before a time (ms)."""
    await db.execute(DELETE_OLD, before)
