"""``comity statistics`` and ``comity audit``: the server as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask, ask_for_all
from homeserver.cli.loading import load
from homeserver.cli.tables import table
from homeserver.cli.times import shown_time


@click.command()
@config_option
def statistics(config_path: Path | None) -> None:
    """Show how many users, rooms, events and files there are; needs the running server."""
    for family, figures in ask(load(config_path), "GET", "/statistics").items():
        if isinstance(figures, dict):
            for name, value in figures.items():
                click.echo(f"{family}.{name}: {value}")


@click.command()
@click.option("--actor", help="Whose deeds: a user ID, or 'command line'.")
@click.option("--action", help="Which, such as change_user.")
@click.option("--target", help="A part of the path, such as a user ID.")
@click.option("--most", type=click.IntRange(min=1), default=50, show_default=True)
@config_option
def audit(
    actor: str | None, action: str | None, target: str | None, most: int, config_path: Path | None
) -> None:
    """Show what admins changed, the newest first; needs the running server."""
    query = {"actor": actor, "action": action, "target": target}
    rows = [
        (
            shown_time(entry["created_at"]),
            entry["actor"],
            entry["action"],
            entry["target"],
            json.dumps(entry["details"]),
            str(entry["status"] or "unfinished"),
        )
        for entry in ask_for_all(load(config_path), "/audit", query, most)
    ]
    click.echo(table(("when", "who", "what", "on", "how", "status"), rows))
