"""Jobs in the background: what admins have ordered that takes long."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import ListQuery, Text, page
from homeserver.app_keys import ADMIN_JOBS
from homeserver.services.conversations.shapes.pages import (
    MOST_INTEGER,
    Page,
    make_cursor,
    parse_cursor,
)
from homeserver.storage.admin_jobs import Job

api = AdminApi(
    "Jobs",
    "What takes long is done in small steps in the background, and gone on with after a restart.",
)


class JobQuery(ListQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which jobs are wanted."""

    state: Literal["waiting", "running", "done", "failed", "cancelled"] | None = None
    kind: Annotated[Text, Meta(description="Such as purge_history")] | None = None


@api.get("/jobs")
async def list_jobs(call: AdminCall[None, JobQuery]) -> Page[Job]:
    """Jobs, the newest first; those that ended more than 90 days ago are forgotten."""
    query = call.query
    before = parse_cursor(query.cursor, int)[0] if query.cursor is not None else MOST_INTEGER
    found = await call.app[ADMIN_JOBS].page(
        before=before, state=query.state, kind=query.kind, limit=query.limit
    )
    return page(found, query.limit, lambda job: make_cursor(job.job_id))


@api.get("/jobs/{job_id}")
async def get_job(call: AdminCall) -> Job:
    """How far a job is."""
    return await call.app[ADMIN_JOBS].get(call.number("job_id"))


@api.post("/jobs/{job_id}/cancel")
async def cancel_job(call: AdminCall) -> Job:
    """Stop a job; what it has done stays done."""
    return await call.app[ADMIN_JOBS].cancel(call.number("job_id"))
