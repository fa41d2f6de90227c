"""What users reported: the reports in the moderators' queue."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from client_api.admin.api import AdminApi, AdminCall
from client_api.admin.lists import ListQuery, page
from homeserver.app_keys import MODERATION, MODERATION_QUEUE
from homeserver.errors import NotFound
from homeserver.protocol.events import client_event
from homeserver.services.conversations.shapes.base import Input
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.moderation import RESOLVE
from homeserver.services.moderation_queue import MAX_NOTE_LENGTH, REPORT
from homeserver.storage.moderation_queue import QueueItem

api = AdminApi("Reports", "What users reported; they are items of the moderators' queue.")


class ReportQuery(ListQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which reports are wanted."""

    state: Literal["open", "resolved"] | None = None


class Report(msgspec.Struct, kw_only=True, frozen=True):
    """A report.  ``times``: how often this reporter said so; ``sender``: who is reported."""

    report_id: int
    about: Literal["event", "user", "room"]
    reporter: str | None
    sender: str | None
    room_id: str | None
    event_id: str | None
    reason: str | None
    times: int
    created_at: int
    state: str
    resolved_by: str | None
    resolved_at: int | None
    resolution: str | None


class ReportDetails(msgspec.Struct, kw_only=True, frozen=True):
    """A report, and the event as it was sent, if this server has it."""

    report: Report
    event: dict[str, Any] | None
    redacted: bool


class Resolution(Input, kw_only=True, frozen=True):
    """What became of a report."""

    note: Annotated[str, Meta(max_length=MAX_NOTE_LENGTH)] | None = None


@api.get("/reports")
async def list_reports(call: AdminCall[None, ReportQuery]) -> Page[Report]:
    """Reports of events, users and rooms, the oldest first."""
    query = call.query
    items = await call.app[MODERATION_QUEUE].page(
        kind=REPORT,
        state=query.state,
        after=parse_cursor(query.cursor, int)[0] if query.cursor is not None else 0,
        limit=query.limit,
    )
    return page([_report(item) for item in items], query.limit, lambda r: make_cursor(r.report_id))


@api.get("/reports/{report_id}")
async def get_report(call: AdminCall) -> ReportDetails:
    """A report, and what was reported."""
    item, stored = await call.app[MODERATION].item(await _known(call))
    return ReportDetails(
        report=_report(item),
        event=client_event(stored.event) if stored is not None else None,
        redacted=stored is not None and stored.redacted_by is not None,
    )


@api.post("/reports/{report_id}/resolve")
async def resolve_report(call: AdminCall[Resolution]) -> Report:
    """Close a report."""
    item = await call.app[MODERATION].decide(
        await _known(call), RESOLVE, by=call.actor, note=call.body.note
    )
    return _report(item)


async def _known(call: AdminCall[Any, Any]) -> int:
    """The ID of a report, and of nothing else in the queue."""
    report_id = call.number("report_id")
    item = await call.app[MODERATION_QUEUE].get(report_id)
    if item is None or item.kind != REPORT:
        raise NotFound("There is no such report")
    return report_id


def _report(item: QueueItem) -> Report:
    return Report(
        report_id=item.item_id,
        about="event" if item.event_id else "user" if item.sender else "room",
        reporter=item.reporter,
        sender=item.sender,
        room_id=item.room_id,
        event_id=item.event_id,
        reason=item.note,
        times=item.times,
        created_at=item.created_at,
        state=item.state,
        resolved_by=item.resolved_by,
        resolved_at=item.resolved_at,
        resolution=item.resolution,
    )
