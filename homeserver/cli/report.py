"""``comity report``: what users reported; needs the running server."""

from __future__ import annotations

import json
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, ask_for_all
from homeserver.cli.loading import load
from homeserver.cli.tables import table
from homeserver.cli.times import shown_time


@click.group()
def report() -> None:
    """See and close what users reported; needs the running server."""


@report.command("list")
@click.option("--all", "all_", is_flag=True, help="Those that are closed, too.")
@click.option("--most", type=click.IntRange(min=1), default=100, show_default=True)
@config_option
def list_reports(all_: bool, most: int, config_path: Path | None) -> None:
    """Show reports, the oldest first."""
    query = {"state": None if all_ else "open"}
    rows = [
        (
            str(one["report_id"]),
            shown_time(one["created_at"]),
            one["reporter"] or "",
            one["event_id"] or one["sender"] or one["room_id"] or "",
            one["reason"] or "",
            one["state"],
        )
        for one in ask_for_all(load(config_path), "/reports", query, most)
    ]
    click.echo(table(("report", "when", "by", "about", "reason", "state"), rows))


@report.command()
@click.argument("report_id", type=int)
@config_option
def show(report_id: int, config_path: Path | None) -> None:
    """Show the report REPORT_ID with the event, as JSON."""
    click.echo(json.dumps(ask(load(config_path), "GET", f"/reports/{report_id}"), indent=2))


@report.command()
@click.argument("report_id", type=int)
@click.option("--note", help="What became of it.")
@config_option
def resolve(report_id: int, note: str | None, config_path: Path | None) -> None:
    """Close the report REPORT_ID."""
    ask(load(config_path), "POST", f"/reports/{report_id}/resolve", {"note": note})
    click.echo("resolved")
