"""``comity room`` and ``comity job``: rooms as admins see them; all need the running server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, ask_for_all, part
from homeserver.cli.loading import load
from homeserver.cli.tables import table
from homeserver.cli.times import shown_time

DAY_MS = 86_400_000
MOST = click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)


@click.group()
def room() -> None:
    """List, inspect, block, purge and delete rooms; needs the running server."""


@room.command("list")
@click.argument("text", required=False)
@click.option("--by", type=click.Choice(["name", "members", "events"]), default="name")
@click.option("--blocked", is_flag=True, default=None, help="Only blocked ones.")
@MOST
@config_option
def list_rooms(
    text: str | None, by: str, blocked: bool | None, most: int, config_path: Path | None
) -> None:
    """Show rooms with TEXT in their name or ID."""
    query = {"search": text, "order": by, "blocked": blocked}
    rows = [
        (r["room_id"], r["name"], str(r["members"]), str(r["local_members"]), str(r["events"]))
        for r in ask_for_all(load(config_path), "/rooms", query, most)
    ]
    click.echo(table(("room", "name", "members", "of ours", "events"), rows))


@room.command()
@click.argument("room_id")
@click.option("--state", is_flag=True, help="The state events, too, as JSON.")
@config_option
def show(room_id: str, state: bool, config_path: Path | None) -> None:
    """Show the room ROOM_ID."""
    config, path = load(config_path), f"/rooms/{part(room_id)}"
    for key, value in ask(config, "GET", path).items():
        if value not in (None, [], False):
            click.echo(f"{key}: {json.dumps(value) if isinstance(value, (dict, list)) else value}")
    if state:
        for event in ask_for_all(config, f"{path}/state", {}, 10**9):
            click.echo(json.dumps(event))


@room.command()
@click.argument("room_id")
@click.option("--membership", type=click.Choice(["join", "invite", "knock", "leave", "ban"]))
@MOST
@config_option
def members(room_id: str, membership: str | None, most: int, config_path: Path | None) -> None:
    """Show who is in the room ROOM_ID."""
    path = f"/rooms/{part(room_id)}/members"
    query = {"membership": membership}
    for member in ask_for_all(load(config_path), path, query, most):
        click.echo(f"{member['user_id']} {member['membership']}")


@room.command()
@click.argument("room_id")
@click.option("--reason", default="", help="Why; for other admins.")
@config_option
def block(room_id: str, reason: str, config_path: Path | None) -> None:
    """Let nobody of this server come to the room ROOM_ID."""
    ask(load(config_path), "PUT", f"/blocked_rooms/{part(room_id)}", {"reason": reason})
    click.echo("blocked")


@room.command()
@click.argument("room_id")
@config_option
def unblock(room_id: str, config_path: Path | None) -> None:
    """Lift the block of the room ROOM_ID."""
    ask(load(config_path), "DELETE", f"/blocked_rooms/{part(room_id)}")
    click.echo("unblocked")


@room.command()
@click.argument("room_id")
@click.option("--days", type=click.IntRange(min=0), help="Messages that are older than that.")
@click.option("--before-event", help="Messages from before this event.")
@click.confirmation_option(prompt="The messages will be gone for good. Go on?")
@config_option
def purge(
    room_id: str, days: int | None, before_event: str | None, config_path: Path | None
) -> None:
    """Delete old messages of the room ROOM_ID."""
    if (days is None) == (before_event is None):
        raise click.ClickException("Say --days or --before-event")
    now = time.time_ns() // 1_000_000
    body: dict[str, Any] = (
        {"before": now - days * DAY_MS} if days is not None else {"before_event": before_event}
    )
    _begun(ask(load(config_path), "POST", f"/rooms/{part(room_id)}/purge", body))


@room.command()
@click.argument("room_id")
@click.option("--reason", help="What members are told.")
@click.option("--block", "block_", is_flag=True, help="Nobody can come back.")
@click.confirmation_option(prompt="All messages will be gone for good. Go on?")
@config_option
def delete(room_id: str, reason: str | None, block_: bool, config_path: Path | None) -> None:
    """Take everybody of this server out of the room ROOM_ID, and delete its messages."""
    body = {"reason": reason, "block": block_}
    _begun(ask(load(config_path), "POST", f"/rooms/{part(room_id)}/delete", body))


def _begun(begun: dict[str, Any]) -> None:
    click.echo(f"job {begun['job_id']} has begun: comity job show {begun['job_id']}")


@click.group()
def job() -> None:
    """See and cancel work in the background; needs the running server."""


@job.command("list")
@click.option("--state", type=click.Choice(["waiting", "running", "done", "failed", "cancelled"]))
@MOST
@config_option
def list_jobs(state: str | None, most: int, config_path: Path | None) -> None:
    """Show jobs, the newest first."""
    rows = [
        (str(j["job_id"]), j["kind"], j["subject"], j["state"], str(j["done"]), j["error"] or "")
        for j in ask_for_all(load(config_path), "/jobs", {"state": state}, most)
    ]
    click.echo(table(("job", "kind", "of", "state", "done", "error"), rows))


@job.command("show")
@click.argument("job_id", type=int)
@config_option
def show_job(job_id: int, config_path: Path | None) -> None:
    """Show how far the job JOB_ID is."""
    for key, value in ask(load(config_path), "GET", f"/jobs/{job_id}").items():
        if value is not None:
            click.echo(f"{key}: {shown_time(value) if key.endswith('_at') else value}")


@job.command()
@click.argument("job_id", type=int)
@config_option
def cancel(job_id: int, config_path: Path | None) -> None:
    """Stop the job JOB_ID; what it has done stays done."""
    ask(load(config_path), "POST", f"/jobs/{job_id}/cancel")
    click.echo("cancelled")
